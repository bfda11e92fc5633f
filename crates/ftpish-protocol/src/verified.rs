//! The proof that bytes arrived. `body` and `blocks` alone make it.

use crate::Digest;

/// Proof that a body arrived whole: its length and digest were computed from the received bytes, and the
/// sender's trailer says the same. What stores a file takes one of these, so nobody can store what was not
/// verified.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was verified is worth nothing until it is committed"]
pub struct Verified {
    length: u64,
    digest: Digest,
}

impl Verified {
    pub(crate) fn new(length: u64, digest: Digest) -> Self {
        Self { length, digest }
    }

    /// How many bytes arrived.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}
