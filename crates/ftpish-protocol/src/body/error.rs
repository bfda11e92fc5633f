//! Why a body was not sent, or not received, and which of these the peer is to be told.

use std::io;

use crate::{Code, Digest, Error, Refusal};

/// Why a body was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] Error),
    /// The source could not be read. The peer was told in-band; the connection is in step.
    #[error("{0}")]
    Source(io::Error),
    /// `watch` stopped the body. The peer was told in-band; the connection is in step.
    #[error("stopped")]
    Stopped,
}

/// Why a body was not received and verified.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] Error),
    /// The sender gave up. The connection is in step.
    #[error("{0}")]
    Aborted(Refusal),
    /// The sink failed. The rest of the body is not yet read: drain it, or drop the connection.
    #[error("{0}")]
    Sink(io::Error),
    /// `watch` stopped the body. The rest of the body is not yet read.
    #[error("stopped")]
    Stopped,
    /// More bytes arrived than were announced. The rest of the body is not yet read.
    #[error("more than the announced {announced} bytes arrived")]
    TooLong {
        /// The length in the header.
        announced: u64,
    },
    /// Fewer bytes arrived than were announced. The connection is in step.
    #[error("{received} bytes arrived, {announced} were announced")]
    TooShort {
        /// The length in the header.
        announced: u64,
        /// How many bytes arrived.
        received: u64,
    },
    /// The trailer describes other bytes than those that arrived. The connection is in step.
    #[error("the sender's {sent} is not the {received} of what arrived")]
    Mismatch {
        /// The digest in the trailer.
        sent: Digest,
        /// The digest of the bytes that arrived.
        received: Digest,
    },
    /// The message before the body, or the request that it answers, is not the one that was sent. The connection is in
    /// step.
    #[error("the message in front of what arrived is not the one that was sent")]
    Head,
}

impl BodyError {
    /// The refusal to send to the peer. `None` where the connection is broken, or the sender knows already.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Connection(_) | Self::Aborted(_) => None,
            Self::Sink(error) => Some(Refusal::from_io(error)),
            Self::Stopped => Some(Refusal::new(Code::Cancelled, "stopped")),
            Self::TooLong { .. } | Self::TooShort { .. } | Self::Mismatch { .. } | Self::Head => {
                Some(Refusal::new(Code::Mismatch, self.to_string()))
            }
        }
    }
}
