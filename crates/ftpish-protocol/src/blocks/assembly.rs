//! A file that is put together from blocks: which blocks are present, which of them the sender has confirmed, and the
//! proof that the whole file is right. The bytes themselves are in the caller's file.

use std::io::{self, Read};
use std::ops::Range;

use super::digest::{BlockDigest, BlockHasher, file_of};
use super::layout::Blocks;
use crate::digest::read_through;
use crate::{Digest, Meter, Verified};

/// A file that is not yet complete: the digest of each block that is present, and whether the sender has confirmed it.
/// [`Verified`] comes from here, or from the body of a whole file.
#[derive(Clone, Debug)]
pub struct Assembly {
    blocks: Blocks,
    /// One for each block, up to the last that was ever present. The number of blocks comes from a peer, and must not
    /// size an allocation.
    known: Vec<Option<Known>>,
}

/// A block that is present.
#[derive(Clone, Copy, Debug)]
struct Known {
    digest: BlockDigest,
    /// Whether the sender has confirmed the digest.
    proven: bool,
}

impl Assembly {
    /// A file of which no block is present yet.
    pub fn new(blocks: Blocks) -> Self {
        Self { blocks, known: Vec::new() }
    }

    /// Digests the whole blocks that `source` yields of a file that is cut into `blocks`. `meter` counts the bytes, and
    /// can stop the work.
    pub fn of(source: &mut impl Read, blocks: Blocks, meter: &Meter) -> io::Result<Self> {
        let mut assembler = Assembler::new(blocks);
        read_through(&mut source.take(blocks.size()), meter, |bytes| assembler.update(bytes))?;
        Ok(assembler.finish())
    }

    /// The digests of the blocks before the first missing one, as they travel on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.known.iter().map_while(Option::as_ref).flat_map(|known| *known.digest.as_bytes()).collect()
    }

    /// Keeps the blocks that have the same digest at the sender, and forgets all others. `sender` holds the digests of
    /// the sender's blocks, from the first on.
    pub fn prove_all(&mut self, sender: &[u8]) {
        for (index, digest) in sender.as_chunks().0.iter().enumerate().take(self.known.len()) {
            self.prove(index, BlockDigest::from_bytes(*digest));
        }
        for known in &mut self.known {
            *known = known.filter(|known| known.proven);
        }
    }

    /// How the file is cut.
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// Records the digest of a block that is present, and that the sender has not confirmed.
    pub fn note(&mut self, index: usize, digest: BlockDigest) {
        *self.at(index) = Some(Known { digest, proven: false });
    }

    /// Keeps block `index` if its digest is the sender's, and forgets it otherwise.
    pub fn prove(&mut self, index: usize, sender: BlockDigest) {
        let Some(known) = self.known.get_mut(index) else { return };
        *known = known.filter(|known| known.digest == sender).map(|known| Known { proven: true, ..known });
    }

    /// Forgets the blocks of an aligned range, because they will be sent again.
    pub fn forget(&mut self, range: &Range<u64>) {
        let (first, end) = (self.blocks.index(range.start), self.blocks.within(range.end));
        let length = self.known.len();
        self.known[first.min(length)..end.min(length)].fill(None);
    }

    /// Whether the sender has confirmed every block of an aligned range.
    pub fn has_proven(&self, range: &Range<u64>) -> bool {
        let known = self.known.get(self.blocks.index(range.start)..self.blocks.within(range.end));
        known.is_some_and(|known| known.iter().all(|known| known.is_some_and(|known| known.proven)))
    }

    /// The ranges of bytes that are missing, in order. Adjacent blocks are joined into one range.
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

    /// How many bytes are present.
    pub fn present(&self) -> u64 {
        self.blocks.size() - self.missing().iter().map(|range| range.end - range.start).sum::<u64>()
    }

    /// The digest of the whole file; `None` while a block is missing.
    pub fn digest(&self) -> Option<Digest> {
        if self.known.len() < self.blocks.count() {
            return None;
        }
        let digests: Option<Vec<BlockDigest>> =
            self.known.iter().map(|known| Some(known.as_ref()?.digest)).collect();
        Some(file_of(&digests?, self.blocks))
    }

    /// Proof of the whole file, if the sender has confirmed every block of it.
    pub fn verified(&self) -> Option<Verified> {
        let proven = self.known.iter().all(|known| known.is_some_and(|known| known.proven));
        proven.then(|| self.digest()).flatten().map(|digest| Verified::new(self.blocks.size(), digest))
    }

    /// Proof of the whole file, if its digest is the sender's.
    pub fn verified_as(&self, sender: Digest) -> Option<Verified> {
        let digest = self.digest().filter(|digest| *digest == sender)?;
        Some(Verified::new(self.blocks.size(), digest))
    }

    /// Adds the blocks of a part that was received on its own.
    pub fn join(&mut self, part: Part) {
        assert_eq!(part.blocks, self.blocks, "parts of one file");
        part.digests.into_iter().for_each(|(index, digest)| self.receive(index, digest));
    }

    /// Records the digest of a block that is part of a verified body.
    pub(crate) fn receive(&mut self, index: usize, digest: BlockDigest) {
        *self.at(index) = Some(Known { digest, proven: true });
    }

    fn has(&self, index: usize) -> bool {
        self.known.get(index).is_some_and(Option::is_some)
    }

    /// The slot of block `index`.
    fn at(&mut self, index: usize) -> &mut Option<Known> {
        assert!(index < self.blocks.count(), "a file has no other blocks than its own");
        if index >= self.known.len() {
            self.known.resize(index + 1, None);
        }
        &mut self.known[index]
    }
}

/// Builds an [`Assembly`] from the bytes of a file, from its beginning on.
pub struct Assembler {
    assembly: Assembly,
    hasher: BlockHasher,
}

impl Assembler {
    /// For a file that is cut into `blocks`.
    pub fn new(blocks: Blocks) -> Self {
        Self { assembly: Assembly::new(blocks), hasher: BlockHasher::new(blocks, 0) }
    }

    /// Hashes the next bytes. Bytes beyond the file's end are ignored.
    pub fn update(&mut self, bytes: &[u8]) {
        let Self { assembly, hasher } = self;
        hasher.update(bytes, &mut |index, digest| assembly.note(index, digest));
    }

    /// The whole blocks among the bytes so far.
    pub fn finish(self) -> Assembly {
        self.assembly
    }
}

/// Blocks that arrived as one verified body. [`Assembly::join`] adds them to the rest of the file.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, reason = "the ranges of a file may be one")]

    use super::super::layout::MIN_BLOCK;
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
        assert_eq!(vast.known.capacity(), 0);
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
    fn only_what_the_sender_has_too_is_kept() {
        let bytes = data(4 * MIN_BLOCK as usize + 7);
        let blocks = Blocks::of(bytes.len() as u64).unwrap();
        let sender = assemble(&bytes, blocks);
        let mut damaged = bytes.clone();
        damaged[MIN_BLOCK as usize + 3] ^= 1;
        let mut receiver = assemble(&damaged, blocks);
        assert!(receiver.verified_as(sender.digest().unwrap()).is_none());
        for (index, known) in sender.known.iter().enumerate() {
            receiver.prove(index, known.unwrap().digest);
        }
        assert_eq!(receiver.missing(), [MIN_BLOCK..2 * MIN_BLOCK]);
        assert_eq!(receiver.present(), blocks.size() - MIN_BLOCK);
        assert!(receiver.verified().is_none() && receiver.digest().is_none());
        receiver.receive(1, sender.known[1].unwrap().digest);
        assert_eq!(receiver.verified().unwrap().digest(), sender.digest().unwrap());
    }
}
