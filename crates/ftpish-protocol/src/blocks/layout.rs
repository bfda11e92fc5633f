//! How a file is cut into blocks. This is arithmetic on offsets alone: the blocks' digests are in `digest`.

use std::ops::Range;

/// The smallest block in bytes: what one wrong byte costs to repair. The digests of a 1 GiB file then take 32 KiB.
pub const MIN_BLOCK: u64 = 1 << 20;

/// The most blocks that a file is cut into. Larger files have larger blocks, so that neither end holds more than 2 MiB
/// of one file's digests.
pub const MAX_BLOCKS: u64 = 1 << 16;

/// How a file is cut into blocks. All blocks have the same size, except that the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    size: u64,
    block: u64,
}

impl Blocks {
    /// Cuts a file of `size` bytes. `None` where the file is not larger than one block, and so has no subtrees.
    pub fn of(size: u64) -> Option<Self> {
        let block = size.div_ceil(MAX_BLOCKS).checked_next_power_of_two()?.max(MIN_BLOCK);
        Self::new(size, block)
    }

    /// Cuts a file of `size` bytes into blocks of `block` bytes, as a peer says. `None` where `block` is not a power of
    /// two, is below [`MIN_BLOCK`], leaves the file with fewer than two blocks, or with more than [`MAX_BLOCKS`].
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
        // The size comes from a peer and may be as large as `u64::MAX`, so the sum could overflow.
        start..start.saturating_add(self.block).min(self.size)
    }

    /// Whether `range` begins and ends at block boundaries, and is not empty.
    pub fn is_aligned(&self, range: &Range<u64>) -> bool {
        range.start < range.end
            && range.start.is_multiple_of(self.block)
            && (range.end == self.size || (range.end < self.size && range.end.is_multiple_of(self.block)))
    }

    /// Cuts an aligned `range` into subtrees of at most `most` bytes. `most` is a power of two, at least a block, and
    /// less than the file.
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

    /// The block that the byte at `offset` belongs to.
    pub(super) fn index(&self, offset: u64) -> usize {
        usize::try_from(offset / self.block).expect("at most MAX_BLOCKS")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::reversed_empty_ranges, reason = "a peer may send any")]

    use super::*;

    #[test]
    fn files_are_cut_into_no_more_blocks_than_are_allowed() {
        assert_eq!(Blocks::of(0), None);
        assert_eq!(Blocks::of(MIN_BLOCK), None);
        assert_eq!(Blocks::of(MIN_BLOCK + 1).unwrap().count(), 2);
        assert_eq!(Blocks::of(MIN_BLOCK * MAX_BLOCKS).unwrap().block(), MIN_BLOCK);
        assert_eq!(Blocks::of(MIN_BLOCK * MAX_BLOCKS + 1).unwrap().block(), 2 * MIN_BLOCK);
        assert_eq!(Blocks::of(u64::MAX).unwrap().count() as u64, MAX_BLOCKS);
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
}
