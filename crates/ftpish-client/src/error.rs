//! Why something was not done: whose fault it is, and whether the connection is still of use.

use std::io;
use std::path::PathBuf;

use ftpish_protocol::{BodyError, Code, Digest, Refusal};
use ftpish_transport::{Endpoint, Fingerprint};

/// Anything that can go wrong with a client. What was tried, and on which file, the caller knows best.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("cannot connect to {endpoint}: {error}")]
    Connect {
        /// Where.
        endpoint: Endpoint,
        /// Why not.
        error: io::Error,
    },
    /// Somebody answers there, but the TLS handshake came to nothing.
    #[error("no TLS with {endpoint}: {error}")]
    Handshake {
        /// Where.
        endpoint: Endpoint,
        /// Why not.
        error: io::Error,
    },
    /// The server's key was never seen before, and nobody said to trust it.
    #[error("the host key of {endpoint} is not known: {fingerprint}")]
    UnknownHostKey {
        /// Where.
        endpoint: Endpoint,
        /// The key that the server has.
        fingerprint: Fingerprint,
    },
    /// The server's key is not the one that is expected of it.
    #[error("the host key of {endpoint} is {offered}, but {expected} is expected")]
    WrongHostKey {
        /// Where.
        endpoint: Endpoint,
        /// The key that is known or pinned.
        expected: Fingerprint,
        /// The key that the server has.
        offered: Fingerprint,
    },
    /// The server said no. The connection goes on.
    #[error("{0}")]
    Refused(Refusal),
    /// This machine said no: about a local file. The connection goes on, unless it was in the middle of a body.
    #[error("`{}`: {refusal}", ftpish_protocol::text::escape(path.as_os_str().as_encoded_bytes()))]
    Local {
        /// The file.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// What arrived is not what was sent. Nothing was stored.
    #[error("verification failed: {sent} was sent, {received} arrived; nothing was written")]
    Mismatch {
        /// The sender's digest.
        sent: Digest,
        /// The receiver's digest.
        received: Digest,
    },
    /// More or fewer bytes came than were announced, or the server found what arrived there to be other bytes than
    /// those sent. Nothing was stored.
    #[error("verification failed: {0}; nothing was written")]
    Unverified(String),
    /// The connection broke. It may work to connect once more.
    #[error(transparent)]
    Connection(#[from] ftpish_protocol::Error),
    /// The server's answer makes no sense.
    #[error("the server does not speak the protocol: {0}")]
    Protocol(String),
    /// Somebody on this side interrupted it.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Whether the same request may be granted on another connection, or a little later.
    pub fn may_pass(&self) -> bool {
        use ftpish_protocol::Error::{Closed, Io};
        match self {
            Self::Connect { .. } | Self::Connection(Io(_) | Closed) => true,
            Self::Refused(refusal) => matches!(refusal.code, Code::Busy | Code::ShuttingDown | Code::Timeout),
            _ => false,
        }
    }

    /// Why this side, or the server, refused what was asked; none where it is no refusal.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) | Self::Local { refusal, .. } => Some(refusal.code),
            _ => None,
        }
    }

    pub(crate) fn local(path: impl Into<PathBuf>, error: impl Into<io::Error>) -> Self {
        Self::Local { path: path.into(), refusal: Refusal::from_io(&error.into()) }
    }

    pub(crate) fn of_body(error: BodyError, local: &std::path::Path) -> Self {
        match error {
            BodyError::Connection(error) => Self::Connection(error),
            BodyError::Aborted(refusal) => Self::Refused(refusal),
            BodyError::Sink(error) => Self::local(local, error),
            BodyError::Stopped => Self::Interrupted,
            BodyError::Mismatch { sent, received } => Self::Mismatch { sent, received },
            error @ (BodyError::TooLong { .. } | BodyError::TooShort { .. } | BodyError::Head) => {
                Self::Unverified(error.to_string())
            }
        }
    }
}
