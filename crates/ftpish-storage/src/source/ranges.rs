//! Reading several ranges of a source file, one after the other.

use std::io::{self, Read};
use std::ops::Range;

use super::SourceFile;

/// Reads ranges of a file, one after the other. Where the file changes meanwhile, the end of the last range is an error,
/// as with [`SourceReader`](super::SourceReader).
#[derive(Debug)]
pub struct RangesReader<'a> {
    source: &'a SourceFile,
    ranges: std::vec::IntoIter<Range<u64>>,
    /// What is left of the current range. Behind the last range it is empty, and stands at that range's end.
    current: Range<u64>,
}

impl<'a> RangesReader<'a> {
    /// Reads `ranges`, which lie within the size of `source`.
    pub(super) fn new(source: &'a SourceFile, ranges: Vec<Range<u64>>) -> Self {
        Self { source, ranges: ranges.into_iter(), current: 0..0 }
    }
}

impl Read for RangesReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.ranges.next() {
                Some(range) => self.current = range,
                None => return self.source.check_end(self.current.end).map(|()| 0),
            }
        }
        let left = self.current.end - self.current.start;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.source.read_at(&mut buffer[..wanted], self.current.start)?;
        self.current.start += read as u64;
        Ok(read)
    }
}
