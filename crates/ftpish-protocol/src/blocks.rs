//! Files by the block: which blocks of a file are known to be right. A resume keeps those blocks, and a repair moves
//! only the others.
//!
//! A block is a subtree of BLAKE3's tree (section 2.1 of the BLAKE3 paper). Its digest is the subtree's chaining value,
//! so the blocks' digests merge into the ordinary digest of the whole file without a second read.
//!
//! Deliberately elsewhere: how parts and ranges of a file travel (`body`).

mod assembly;
mod digest;
mod layout;
mod scatter;

pub use assembly::{Assembler, Assembly, Part};
pub(crate) use digest::subtree_of;
pub use digest::{BLOCK_DIGEST, BlockDigest, BlockHasher, is_subtree};
pub use layout::{Blocks, MAX_BLOCKS, MIN_BLOCK};
pub(crate) use scatter::Scatter;
pub use scatter::{Gather, WriteAt};
