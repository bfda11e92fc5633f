//! How to reach a server, and how long to wait for it.

use std::time::Duration;

use ftpish_transport::{Deadline, Endpoint, Interrupt};

use crate::{Jobs, Login, Trust};

/// For how long at most a server may take nothing of a body and say that it is alive.
const STALL: Duration = Duration::from_secs(60 * 60);

/// How many bytes must move within [`Timeouts::pace`].
const PACE_BYTES: u64 = 16 * 1024;

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whether to encrypt, and whose key to trust.
    pub security: Security,
    /// How long to wait for it.
    pub timeouts: Timeouts,
    /// Ends every wait, and every transfer between two blocks.
    pub interrupt: Interrupt,
    /// Who to log in as; nobody where absent.
    pub login: Option<Login>,
    /// How many connections a transfer may use, this one among them: more than one for many files, or a large one.
    pub jobs: Jobs,
}

impl Options {
    /// Options with the default time-outs.
    pub fn new(endpoint: Endpoint, security: Security) -> Self {
        Self {
            endpoint,
            security,
            timeouts: Timeouts::default(),
            interrupt: Interrupt::default(),
            login: None,
            jobs: Jobs::ONE,
        }
    }
}

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// In the clear: anybody on the way can read and change what is sent.
    Plaintext,
    /// TLS 1.3, with a server whose key is trusted so.
    Tls(Trust),
}

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To accept the connection, and to do its part of the TLS handshake.
    pub connect: Duration,
    /// To answer a request, or to say that it is at work on it.
    pub reply: Duration,
    /// While a body moves: so much waiting for 16 KiB at the most.
    pub pace: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            reply: Duration::from_secs(60),
            pace: Duration::from_secs(30),
        }
    }
}

impl Timeouts {
    pub(crate) fn moving(&self) -> Deadline {
        Deadline::Pace { bytes: PACE_BYTES, window: self.pace, stall: STALL }
    }
}
