//! What ends a connection: the stream broke, or the peer broke the rules so that the two are out of step.

use std::io;

/// The connection is of no use after any of these; what leaves it usable is a [`Refusal`](crate::Refusal).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream failed; a time that ran out is `TimedOut` or `WouldBlock`.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The peer closed in the middle of a message or a body.
    #[error("the peer closed the connection in the middle of a message")]
    Closed,
    /// A message's length is over the limit. Nothing of it was read.
    #[error("a message of {length} bytes is over the limit of {limit}")]
    HeaderTooLarge {
        /// What the peer announced.
        length: usize,
        /// What it may announce.
        limit: usize,
    },
    /// A chunk's length is over [`MAX_CHUNK`](crate::MAX_CHUNK). Nothing of it was read.
    #[error("a chunk of {length} bytes is over the limit of {limit}")]
    ChunkTooLarge {
        /// What the peer announced.
        length: usize,
        /// What it may announce.
        limit: usize,
    },
    /// A message is not what the protocol allows at this place, and what follows it cannot be known.
    #[error("the peer does not speak the protocol: {0}")]
    Malformed(String),
}

impl Error {
    /// Whether the peer was too slow, rather than gone or wrong.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(e) if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock))
    }
}
