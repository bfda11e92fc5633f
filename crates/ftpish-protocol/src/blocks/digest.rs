//! Digests of blocks, and how they merge: BLAKE3's chaining values. Besides the crate's `digest.rs`, this is the only
//! file that names a hash crate.

use std::ops::Range;

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use super::layout::Blocks;
use crate::Digest;

/// The length of one block's digest on the wire, in bytes.
pub const BLOCK_DIGEST: usize = 32;

/// BLAKE3's chunk in bytes: the smallest subtree.
const CHUNK: u64 = blake3::CHUNK_LEN as u64;

/// The digest of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDigest(ChainingValue);

impl BlockDigest {
    /// The digest with these bytes.
    pub fn from_bytes(bytes: [u8; BLOCK_DIGEST]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; BLOCK_DIGEST] {
        &self.0
    }
}

/// Computes the digests of consecutive blocks while their bytes pass.
pub struct BlockHasher {
    blocks: Blocks,
    /// The offset of the next byte.
    at: u64,
    hasher: Box<blake3::Hasher>,
}

impl BlockHasher {
    /// Begins at block `index`.
    pub fn new(blocks: Blocks, index: usize) -> Self {
        Self { blocks, at: index as u64 * blocks.block(), hasher: Box::default() }
    }

    /// Continues at `offset`, where a block begins.
    pub(super) fn seek(&mut self, offset: u64) {
        self.at = offset;
    }

    /// Hashes the next bytes, and passes each block that they complete to `done`. Bytes beyond the file's end are
    /// ignored.
    pub fn update(&mut self, mut bytes: &[u8], done: &mut impl FnMut(usize, BlockDigest)) {
        while !bytes.is_empty() && self.at < self.blocks.size() {
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

/// Whether `range` is a subtree of the BLAKE3 tree over a file of `size` bytes, and not the whole tree.
pub fn is_subtree(range: &Range<u64>, size: u64) -> bool {
    let Some(length) = range.end.checked_sub(range.start).filter(|length| (1..size).contains(length)) else {
        return false;
    };
    let Some(full) = length.max(CHUNK).checked_next_power_of_two() else { return false };
    range.start.is_multiple_of(full) && (range.end == size || (range.end < size && length == full))
}

/// The ordinary digest of the whole file, whose blocks have these digests.
pub(super) fn file_of(digests: &[BlockDigest], blocks: Blocks) -> Digest {
    let (left, right) = halves(digests, blocks.size(), blocks.block());
    Digest::blake3(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

/// The chaining value of the subtree that these blocks make up. Together they have `length` bytes.
pub(crate) fn subtree_of(digests: &[(usize, BlockDigest)], length: u64, blocks: Blocks) -> Digest {
    let digests: Vec<BlockDigest> = digests.iter().map(|(_, digest)| *digest).collect();
    Digest::blake3(subtree(&digests, length, blocks.block()))
}

fn subtree(digests: &[BlockDigest], length: u64, block: u64) -> ChainingValue {
    if length <= block {
        return digests[0].0;
    }
    let (left, right) = halves(digests, length, block);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// The chaining values of the two children of the node over `length` bytes, which are more than one block.
fn halves(digests: &[BlockDigest], length: u64, block: u64) -> (ChainingValue, ChainingValue) {
    let left = left_subtree_len(length);
    let (first, second) = digests.split_at(usize::try_from(left / block).expect("at most MAX_BLOCKS"));
    (subtree(first, left, block), subtree(second, length - left, block))
}
