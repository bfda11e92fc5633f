//! A part of a large file, and what is known of it while it is on its way to the server.

use std::ops::Range;

use ftpish_protocol::blocks::BlockDigest;

use crate::Error;

/// A range of a file, and how often it was given back.
pub(crate) struct Part {
    pub(crate) range: Range<u64>,
    pub(crate) attempt: u64,
}

/// A part that was sent, and of which the server has said nothing yet.
pub(crate) struct Leaves {
    pub(crate) id: u64,
    pub(crate) part: Part,
    /// The digests of its blocks; or why it was not sent to its end.
    pub(crate) digests: Result<Digests, Error>,
}

impl Leaves {
    pub(crate) fn length(&self) -> u64 {
        self.part.range.end - self.part.range.start
    }
}

/// The digests of blocks, by their numbers.
pub(crate) type Digests = Vec<(usize, BlockDigest)>;
