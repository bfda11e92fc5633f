//! Ranges of a file as one stream of bytes: gathered from the file by the sender, scattered into it by the receiver.
//! Both compute the digests of the blocks that pass; what these prove is for `assembly`.

use std::io::{self, Read, Write};
use std::ops::Range;

use super::digest::{BlockDigest, BlockHasher};
use super::layout::Blocks;

/// Something that takes bytes at any offset: a partial file.
pub trait WriteAt {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

/// Takes the bytes of several ranges as one stream, digests their blocks, and writes each byte at its place in the
/// file.
pub(crate) struct Scatter<'a, W> {
    sink: &'a mut W,
    places: Places,
}

impl<'a, W: WriteAt> Scatter<'a, W> {
    pub(crate) fn new(sink: &'a mut W, blocks: Blocks, ranges: Vec<Range<u64>>) -> Self {
        Self { sink, places: Places::new(blocks, ranges) }
    }

    /// The digests of the blocks that have arrived.
    pub(crate) fn digests(&self) -> &[(usize, BlockDigest)] {
        &self.places.done
    }

    pub(crate) fn take_digests(&mut self) -> Vec<(usize, BlockDigest)> {
        std::mem::take(&mut self.places.done)
    }
}

impl<W: WriteAt> Write for Scatter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((at, now)) = self.places.take(bytes) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than the ranges have"));
        };
        self.sink.write_at(&bytes[..now], at)?;
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Yields the bytes of several ranges as one stream, and digests their blocks.
pub struct Gather<R> {
    source: R,
    places: Places,
}

impl<R: Read> Gather<R> {
    /// `source` yields the bytes of `ranges`, one after the other.
    pub fn new(source: R, blocks: Blocks, ranges: Vec<Range<u64>>) -> Self {
        Self { source, places: Places::new(blocks, ranges) }
    }

    pub(crate) fn into_digests(self) -> Vec<(usize, BlockDigest)> {
        self.places.done
    }
}

impl<R: Read> Read for Gather<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let mut bytes = &buffer[..read];
        while let Some((_, now)) = self.places.take(bytes).filter(|_| !bytes.is_empty()) {
            bytes = &bytes[now..];
        }
        Ok(read)
    }
}

/// Ranges of a file in order, and the digests of the blocks that have passed.
struct Places {
    ranges: std::vec::IntoIter<Range<u64>>,
    /// What is left of the range that is passing.
    current: Range<u64>,
    hasher: BlockHasher,
    done: Vec<(usize, BlockDigest)>,
}

impl Places {
    fn new(blocks: Blocks, ranges: Vec<Range<u64>>) -> Self {
        let hasher = BlockHasher::new(blocks, 0);
        Self { ranges: ranges.into_iter(), current: 0..0, hasher, done: Vec::new() }
    }

    /// Digests the next bytes, up to the end of the current range. Returns their offset in the file, and how many they
    /// are; `None` behind the last range.
    fn take(&mut self, bytes: &[u8]) -> Option<(u64, usize)> {
        if self.current.is_empty() {
            self.current = self.ranges.next()?;
            self.hasher.seek(self.current.start);
        }
        let (at, left) = (self.current.start, self.current.end - self.current.start);
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.hasher.update(&bytes[..now], &mut |index, digest| self.done.push((index, digest)));
        self.current.start += now as u64;
        Some((at, now))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "the ranges of a file may be one")]

    use super::super::assembly::Assembly;
    use super::super::layout::MIN_BLOCK;
    use super::*;

    struct Sink(Vec<u8>);

    impl WriteAt for Sink {
        fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
            let at = usize::try_from(offset).unwrap();
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    #[test]
    fn ranges_are_scattered_and_gathered_with_their_digests() {
        let bytes: Vec<u8> = (0..3 * MIN_BLOCK as usize + 9).map(|i| (i / 1024 % 251) as u8).collect();
        let blocks = Blocks::of(bytes.len() as u64).unwrap();
        let ranges = vec![0..MIN_BLOCK, 2 * MIN_BLOCK..bytes.len() as u64];
        let stream: Vec<u8> =
            ranges.iter().flat_map(|r| bytes[r.start as usize..r.end as usize].to_vec()).collect();
        let (mut sent, mut received) = (Assembly::new(blocks), Assembly::new(blocks));
        let mut gather = Gather::new(&stream[..], blocks, ranges.clone());
        let mut sink = Sink(vec![0; bytes.len()]);
        let mut scatter = Scatter::new(&mut sink, blocks, ranges);
        io::copy(&mut gather, &mut scatter).unwrap();
        assert!(scatter.write_all(b"x").is_err(), "one byte too many");
        gather.into_digests().into_iter().for_each(|(index, digest)| sent.note(index, digest));
        scatter.take_digests().into_iter().for_each(|(index, digest)| received.receive(index, digest));
        assert_eq!(sent.missing(), [MIN_BLOCK..2 * MIN_BLOCK]);
        assert_eq!(received.missing(), sent.missing());
        assert_eq!(&sink.0[2 * MIN_BLOCK as usize..], &bytes[2 * MIN_BLOCK as usize..]);
    }
}
