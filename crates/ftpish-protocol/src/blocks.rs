//! Files by the block: which parts of a file are known to be right, so that a resume keeps them and a repair moves
//! only the others.
//!
//! A block is a subtree of BLAKE3's tree (section 2.1 of the BLAKE3 paper): its digest is the subtree's chaining
//! value, and the blocks' digests merge into the ordinary digest of the whole file without a second read. Beside
//! `digest.rs` the only file that names a hash crate.

use std::io::{self, Read, Write};
use std::ops::Range;

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::digest::read_through;
use crate::{Digest, Meter, Verified};

/// The bytes of one block's digest on the wire.
pub const BLOCK_DIGEST: usize = 32;

/// The smallest block in bytes: what one bad byte costs to mend. The digests of a 1 GiB file then take 32 KiB.
pub const MIN_BLOCK: u64 = 1 << 20;

/// The most blocks a file is cut into; larger files have larger blocks. Bounds what either end holds of a file's
/// digests to 2 MiB.
pub const MAX_BLOCKS: u64 = 1 << 16;

/// BLAKE3's chunk in bytes: what the smallest subtree has.
const CHUNK: u64 = blake3::CHUNK_LEN as u64;

/// How a file is cut into blocks: all of one size but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    size: u64,
    block: u64,
}

impl Blocks {
    /// Cuts a file of `size` bytes; `None` where it is no more than one block, and so has no subtrees.
    pub fn of(size: u64) -> Option<Self> {
        let block = size.div_ceil(MAX_BLOCKS).checked_next_power_of_two()?.max(MIN_BLOCK);
        Self::new(size, block)
    }

    /// Cuts a file of `size` bytes into blocks of `block` bytes, as a peer says; `None` where that is no power of
    /// two, too small, too large to make two, or small enough to make more than [`MAX_BLOCKS`].
    pub fn new(size: u64, block: u64) -> Option<Self> {
        let right = block.is_power_of_two() && block >= MIN_BLOCK && size > block;
        (right && size.div_ceil(block) <= MAX_BLOCKS).then_some(Self { size, block })
    }

    /// The file's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A block's size in bytes.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// How many blocks there are: at least two.
    pub fn count(&self) -> usize {
        usize::try_from(self.size.div_ceil(self.block)).expect("at most MAX_BLOCKS")
    }

    /// How many blocks lie wholly within the file's first `length` bytes.
    pub fn within(&self, length: u64) -> usize {
        if length >= self.size {
            return self.count();
        }
        usize::try_from(length / self.block).expect("at most MAX_BLOCKS")
    }

    /// The bytes of block `index`.
    pub fn range(&self, index: usize) -> Range<u64> {
        let start = index as u64 * self.block;
        // A peer may say that a file ends where numbers do.
        start..start.saturating_add(self.block).min(self.size)
    }

    /// Whether `range` begins at a block and ends at one, and is not empty.
    pub fn is_aligned(&self, range: &Range<u64>) -> bool {
        range.start < range.end
            && range.start.is_multiple_of(self.block)
            && (range.end == self.size || (range.end < self.size && range.end.is_multiple_of(self.block)))
    }

    /// Cuts an aligned `range` into subtrees of at most `most` bytes, a power of two that is at least a block and less
    /// than the file.
    pub fn subtrees(&self, range: &Range<u64>, most: u64) -> Vec<Range<u64>> {
        debug_assert!(most.is_power_of_two() && most >= self.block && most < self.size);
        let (mut subtrees, mut start) = (Vec::new(), range.start);
        while start < range.end {
            let mut length = most;
            while !start.is_multiple_of(length) || (length > range.end - start && range.end < self.size) {
                length /= 2;
            }
            let end = start.saturating_add(length).min(range.end);
            subtrees.push(start..end);
            start = end;
        }
        subtrees
    }

    fn index(&self, offset: u64) -> usize {
        usize::try_from(offset / self.block).expect("at most MAX_BLOCKS")
    }
}

/// Whether `range` is a subtree of the BLAKE3 tree over a file of `size` bytes, and not all of it.
pub fn is_subtree(range: &Range<u64>, size: u64) -> bool {
    let Some(length) = range.end.checked_sub(range.start).filter(|length| (1..size).contains(length)) else {
        return false;
    };
    let Some(full) = length.max(CHUNK).checked_next_power_of_two() else { return false };
    range.start.is_multiple_of(full) && (range.end == size || (range.end < size && length == full))
}

/// The digest of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDigest(ChainingValue);

impl BlockDigest {
    /// The digest that these bytes are.
    pub fn from_bytes(bytes: [u8; BLOCK_DIGEST]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; BLOCK_DIGEST] {
        &self.0
    }
}

/// Digests blocks as their bytes come by, in order from some block on.
pub struct BlockHasher {
    blocks: Blocks,
    at: u64,
    hasher: Box<blake3::Hasher>,
}

impl BlockHasher {
    /// Begins at block `index`.
    pub fn new(blocks: Blocks, index: usize) -> Self {
        Self { blocks, at: index as u64 * blocks.block, hasher: Box::default() }
    }

    /// Takes in the next bytes, and gives each block that they complete to `done`. Bytes beyond the file's end are
    /// not taken in.
    pub fn update(&mut self, mut bytes: &[u8], done: &mut impl FnMut(usize, BlockDigest)) {
        while !bytes.is_empty() && self.at < self.blocks.size {
            let index = self.blocks.index(self.at);
            let Range { start, end } = self.blocks.range(index);
            if self.at == start {
                *self.hasher = blake3::Hasher::new();
                self.hasher.set_input_offset(start);
            }
            let now = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(bytes.len());
            self.hasher.update(&bytes[..now]);
            self.at += now as u64;
            bytes = &bytes[now..];
            if self.at == end {
                done(index, BlockDigest(self.hasher.finalize_non_root()));
            }
        }
    }
}

/// What is known of a file's blocks on its way to be whole: the digest of each that is here, and whether the sender
/// has confirmed it. The second maker of [`Verified`].
#[derive(Clone, Debug)]
pub struct Assembly {
    blocks: Blocks,
    /// As far as any block was ever here: how many there are to be is the peer's word alone, and takes no memory.
    here: Vec<Option<Here>>,
}

#[derive(Clone, Copy, Debug)]
struct Here {
    digest: BlockDigest,
    proven: bool,
}

impl Assembly {
    /// A file of which nothing is here yet.
    pub fn new(blocks: Blocks) -> Self {
        Self { blocks, here: Vec::new() }
    }

    /// Digests what `source` yields of a file that is cut so, as far as it has whole blocks; `meter` counts the
    /// bytes, and may stop it.
    pub fn of(source: &mut impl Read, blocks: Blocks, meter: &Meter) -> io::Result<Self> {
        let mut assembler = Assembler::new(blocks);
        read_through(&mut source.take(blocks.size), meter, |bytes| assembler.update(bytes))?;
        Ok(assembler.finish())
    }

    /// The digests of the blocks that are here, up to the first that is not: as they travel.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.here.iter().map_while(|here| here.as_ref()).flat_map(|here| here.digest.0).collect()
    }

    /// Keeps the blocks that the sender has too, and forgets all others. `sender` holds its blocks' digests, from
    /// the first on.
    pub fn prove_all(&mut self, sender: &[u8]) {
        for (index, digest) in sender.as_chunks().0.iter().enumerate().take(self.here.len()) {
            self.prove(index, BlockDigest(*digest));
        }
        for here in &mut self.here {
            *here = here.filter(|here| here.proven);
        }
    }

    /// How the file is cut.
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// Notes the digest of a block that is here, of which the sender has said nothing.
    pub fn note(&mut self, index: usize, digest: BlockDigest) {
        *self.at(index) = Some(Here { digest, proven: false });
    }

    /// Keeps block `index` if its digest is what the sender has; forgets it otherwise.
    pub fn prove(&mut self, index: usize, sender: BlockDigest) {
        let Some(here) = self.here.get_mut(index) else { return };
        *here = here.filter(|here| here.digest == sender).map(|here| Here { proven: true, ..here });
    }

    /// Forgets the blocks of an aligned range: they are to come.
    pub fn forget(&mut self, range: &Range<u64>) {
        let (first, end) = (self.blocks.index(range.start), self.blocks.within(range.end));
        let known = self.here.len();
        self.here[first.min(known)..end.min(known)].fill(None);
    }

    /// Whether the sender has confirmed every block of an aligned range.
    pub fn has_proven(&self, range: &Range<u64>) -> bool {
        let here = self.here.get(self.blocks.index(range.start)..self.blocks.within(range.end));
        here.is_some_and(|here| here.iter().all(|here| here.is_some_and(|here| here.proven)))
    }

    /// The ranges of bytes that are not here, in order, each as long as it can be.
    pub fn missing(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for index in (0..self.blocks.count()).filter(|index| !self.has(*index)) {
            let range = self.blocks.range(index);
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges
    }

    /// How many bytes are here.
    pub fn present(&self) -> u64 {
        self.blocks.size - self.missing().iter().map(|range| range.end - range.start).sum::<u64>()
    }

    /// The digest of the whole file; `None` while a block is missing.
    pub fn digest(&self) -> Option<Digest> {
        if self.here.len() < self.blocks.count() {
            return None;
        }
        let digests: Option<Vec<ChainingValue>> =
            self.here.iter().map(|here| Some(here.as_ref()?.digest.0)).collect();
        Some(Digest::blake3(*root(&digests?, self.blocks).as_bytes()))
    }

    /// Proof of the whole file, where the sender has confirmed every block of it.
    pub fn verified(&self) -> Option<Verified> {
        let proven = self.here.iter().all(|here| here.is_some_and(|here| here.proven));
        proven.then(|| self.digest()).flatten().map(|digest| Verified::new(self.blocks.size, digest))
    }

    /// Proof of the whole file, where its digest is what the sender says.
    pub fn verified_as(&self, sender: Digest) -> Option<Verified> {
        self.digest().filter(|digest| *digest == sender).map(|digest| Verified::new(self.blocks.size, digest))
    }

    /// Keeps the blocks of a part that came apart from others.
    pub fn join(&mut self, part: Part) {
        assert_eq!(part.blocks, self.blocks, "parts of one file");
        part.digests.into_iter().for_each(|(index, digest)| self.receive(index, digest));
    }

    pub(crate) fn receive(&mut self, index: usize, digest: BlockDigest) {
        *self.at(index) = Some(Here { digest, proven: true });
    }

    fn has(&self, index: usize) -> bool {
        self.here.get(index).is_some_and(Option::is_some)
    }

    /// Where what is known of block `index` stands.
    fn at(&mut self, index: usize) -> &mut Option<Here> {
        assert!(index < self.blocks.count(), "a file has no other blocks than its own");
        if index >= self.here.len() {
            self.here.resize(index + 1, None);
        }
        &mut self.here[index]
    }
}

/// An [`Assembly`] in the making, of the bytes of a file from its beginning on.
pub struct Assembler {
    assembly: Assembly,
    hasher: BlockHasher,
}

impl Assembler {
    /// Of a file that is cut so.
    pub fn new(blocks: Blocks) -> Self {
        Self { assembly: Assembly::new(blocks), hasher: BlockHasher::new(blocks, 0) }
    }

    /// Takes in the next bytes. Those beyond the file's end are not taken in.
    pub fn update(&mut self, bytes: &[u8]) {
        let Self { assembly, hasher } = self;
        hasher.update(bytes, &mut |index, digest| assembly.note(index, digest));
    }

    /// What was taken in, as far as it has whole blocks.
    pub fn finish(self) -> Assembly {
        self.assembly
    }
}

/// Blocks that arrived as one body, which was verified: for an [`Assembly`].
#[derive(Debug)]
#[must_use = "what was verified is worth nothing until it is joined with the rest"]
pub struct Part {
    blocks: Blocks,
    digests: Vec<(usize, BlockDigest)>,
}

impl Part {
    pub(crate) fn new(blocks: Blocks, digests: Vec<(usize, BlockDigest)>) -> Self {
        Self { blocks, digests }
    }
}

/// The chaining value of the subtree that these blocks are, of `length` bytes together.
pub(crate) fn subtree_of(digests: &[(usize, BlockDigest)], length: u64, blocks: Blocks) -> Digest {
    let digests: Vec<ChainingValue> = digests.iter().map(|(_, digest)| digest.0).collect();
    Digest::blake3(subtree(&digests, length, blocks.block))
}

fn root(digests: &[ChainingValue], blocks: Blocks) -> blake3::Hash {
    let (left, right) = halves(digests, blocks.size, blocks.block);
    merge_subtrees_root(&left, &right, Mode::Hash)
}

fn subtree(digests: &[ChainingValue], length: u64, block: u64) -> ChainingValue {
    if length <= block {
        return digests[0];
    }
    let (left, right) = halves(digests, length, block);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// The chaining values below the node over `length` bytes, which are more than one block.
fn halves(digests: &[ChainingValue], length: u64, block: u64) -> (ChainingValue, ChainingValue) {
    let left = left_subtree_len(length);
    let (first, second) = digests.split_at(usize::try_from(left / block).expect("at most MAX_BLOCKS"));
    (subtree(first, left, block), subtree(second, length - left, block))
}

/// Something that takes bytes at any offset: a partial file.
pub trait WriteAt {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

/// Bytes that come in as one stream and belong to ranges of a file: digests their blocks, and writes them where they
/// belong.
pub(crate) struct Scatter<'a, W> {
    sink: &'a mut W,
    places: Places,
}

/// Bytes that leave as one stream and come from ranges of a file: digests their blocks on the way.
pub struct Gather<R> {
    source: R,
    places: Places,
}

/// Ranges of a file in order, and the digests of the blocks that have gone by.
struct Places {
    ranges: std::vec::IntoIter<Range<u64>>,
    current: Range<u64>,
    hasher: BlockHasher,
    done: Vec<(usize, BlockDigest)>,
}

impl Places {
    fn new(blocks: Blocks, ranges: Vec<Range<u64>>) -> Self {
        let hasher = BlockHasher::new(blocks, 0);
        Self { ranges: ranges.into_iter(), current: 0..0, hasher, done: Vec::new() }
    }

    /// Takes the next bytes as far as they belong together: where they belong, and how many they are.
    fn take(&mut self, bytes: &[u8]) -> Option<(u64, usize)> {
        if self.current.is_empty() {
            self.current = self.ranges.next()?;
            self.hasher.at = self.current.start;
        }
        let (at, left) = (self.current.start, self.current.end - self.current.start);
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.hasher.update(&bytes[..now], &mut |index, digest| self.done.push((index, digest)));
        self.current.start += now as u64;
        Some((at, now))
    }
}

impl<'a, W: WriteAt> Scatter<'a, W> {
    pub(crate) fn new(sink: &'a mut W, blocks: Blocks, ranges: Vec<Range<u64>>) -> Self {
        Self { sink, places: Places::new(blocks, ranges) }
    }

    /// The digests of the blocks that came.
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

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "the ranges of a file may be one")]
#[allow(clippy::reversed_empty_ranges, reason = "a peer may send any")]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn data(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i / 1024 % 251) as u8).collect()
    }

    fn assemble(bytes: &[u8], blocks: Blocks) -> Assembly {
        let mut assembly = Assembly::new(blocks);
        let mut hasher = BlockHasher::new(blocks, 0);
        for piece in bytes.chunks(300_001) {
            hasher.update(piece, &mut |index, digest| assembly.note(index, digest));
        }
        assembly
    }

    #[test]
    fn what_a_peer_says_of_a_files_size_takes_no_memory() {
        let mut vast = Assembly::new(Blocks::of(u64::MAX).unwrap());
        vast.forget(&(0..u64::MAX));
        vast.prove_all(&[0; 64]);
        assert_eq!(vast.here.capacity(), 0);
        assert_eq!((vast.present(), vast.digest(), vast.missing()), (0, None, vec![0..u64::MAX]));
    }

    #[test]
    fn blocks_merge_into_the_ordinary_digest() {
        let block = MIN_BLOCK as usize;
        for size in
            [block + 1, 2 * block - 1, 2 * block, 2 * block + 1, 3 * block, 5 * block + 1024, 7 * block + 5]
        {
            let bytes = data(size);
            let assembly = assemble(&bytes, Blocks::of(size as u64).unwrap());
            assert_eq!(assembly.digest(), Some(Algorithm::Blake3.digest(&bytes)), "{size}");
        }
    }

    #[test]
    fn files_are_cut_into_no_more_blocks_than_are_allowed() {
        assert_eq!(Blocks::of(0), None);
        assert_eq!(Blocks::of(MIN_BLOCK), None);
        assert_eq!(Blocks::of(MIN_BLOCK + 1).unwrap().count(), 2);
        assert_eq!(Blocks::of(MIN_BLOCK * MAX_BLOCKS).unwrap().block(), MIN_BLOCK);
        assert_eq!(Blocks::of(MIN_BLOCK * MAX_BLOCKS + 1).unwrap().block(), 2 * MIN_BLOCK);
        let largest = Blocks::of(u64::MAX).unwrap();
        assert_eq!(largest.count() as u64, MAX_BLOCKS);
        assert_eq!(Assembly::new(largest).missing(), [0..u64::MAX]);
    }

    #[test]
    fn a_peers_blocks_are_checked() {
        for (size, block) in [
            (10, 0),
            (10, 1),
            (MIN_BLOCK * 2, MIN_BLOCK / 2),
            (MIN_BLOCK * 2, MIN_BLOCK + 1),
            (MIN_BLOCK, MIN_BLOCK),
            (u64::MAX, MIN_BLOCK),
        ] {
            assert_eq!(Blocks::new(size, block), None, "{size} {block}");
        }
        let blocks = Blocks::new(3 * MIN_BLOCK + 5, MIN_BLOCK).unwrap();
        assert!(blocks.is_aligned(&(MIN_BLOCK..3 * MIN_BLOCK + 5)));
        for bad in [0..0, 1..MIN_BLOCK, 0..MIN_BLOCK + 1, 0..4 * MIN_BLOCK, 2 * MIN_BLOCK..MIN_BLOCK] {
            assert!(!blocks.is_aligned(&bad), "{bad:?}");
        }
    }

    #[test]
    fn only_what_the_sender_has_too_is_kept() {
        let bytes = data(4 * MIN_BLOCK as usize + 7);
        let blocks = Blocks::of(bytes.len() as u64).unwrap();
        let sender = assemble(&bytes, blocks);
        let mut damaged = bytes.clone();
        damaged[MIN_BLOCK as usize + 3] ^= 1;
        let mut receiver = assemble(&damaged, blocks);
        assert!(receiver.verified_as(sender.digest().unwrap()).is_none());
        for (index, here) in sender.here.iter().enumerate() {
            receiver.prove(index, here.unwrap().digest);
        }
        assert_eq!(receiver.missing(), [MIN_BLOCK..2 * MIN_BLOCK]);
        assert_eq!(receiver.present(), blocks.size() - MIN_BLOCK);
        assert!(receiver.verified().is_none() && receiver.digest().is_none());
        receiver.receive(1, sender.here[1].unwrap().digest);
        assert_eq!(receiver.verified().unwrap().digest(), sender.digest().unwrap());
    }

    #[test]
    fn ranges_are_scattered_and_gathered_with_their_digests() {
        struct Sink(Vec<u8>);
        impl WriteAt for Sink {
            fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
                let at = usize::try_from(offset).unwrap();
                self.0[at..at + bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
        }
        let bytes = data(3 * MIN_BLOCK as usize + 9);
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
