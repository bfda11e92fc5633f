//! How a session ends before its client does: the last reply says why.

use std::time::Duration;

use ftpish_protocol::message::{Envelope, Refused};
use ftpish_protocol::{Code, Error, Refusal};
use ftpish_transport::Deadline;

use super::{SHORT_OF_MEMORY, Session};
use crate::connections::Full;

/// How long to send the last reply to a client that broke the protocol or was too slow.
const LAST_REPLY: Duration = Duration::from_secs(1);

/// How long, and how many bytes, to read from a client after the last reply. Closing a socket with bytes unread resets the
/// connection, and the client loses the reply (RFC 1122, section 4.2.2.13).
const LAST_WORDS: Duration = Duration::from_secs(1);
const LAST_BYTES: usize = 16 * 1024 * 1024;

impl Session {
    /// Ends a connection that waits for a request while the server drains.
    pub(super) async fn shut_down(&mut self) -> Result<(), Error> {
        self.refuse(None, Refusal::new(Code::ShuttingDown, "the server is going down")).await
    }

    /// Refuses the first request, because a limit was reached.
    pub(super) async fn turn_away(&mut self, full: Full) -> Result<(), Error> {
        let id = match self.channel.connection().receive()? {
            None => return Ok(()),
            Some(header) => header.decode::<Envelope>().ok().map(|envelope| envelope.id),
        };
        let line = match full {
            Full::Total => "the server has as many connections as it takes: try again later",
            Full::Address => {
                "this address has as many connections as one may: close some, or try again later"
            }
            Full::Unauthenticated => "as many are about to log in as may at a time: try again later",
            Full::Memory => SHORT_OF_MEMORY,
        };
        self.refuse(id, Refusal::new(Code::Busy, line)).await
    }

    /// Ends a connection whose client broke the protocol or was too slow. Always returns `error`.
    pub(super) async fn give_up<T>(&mut self, error: Error) -> Result<T, Error> {
        let code = match &error {
            Error::HeaderTooLarge { .. } | Error::ChunkTooLarge { .. } => Code::TooLarge,
            Error::Malformed(_) => Code::Malformed,
            error if error.is_timeout() => Code::Timeout,
            Error::Io(_) | Error::Closed => return Err(error),
        };
        // While a slow client was waited for, other clients may have stored newer files. Its own must not replace them.
        if code != Code::Timeout {
            self.settle().await?;
        }
        self.channel.set_deadline(Deadline::after(LAST_REPLY));
        let _ = self.refuse(None, Refusal::new(code, error.to_string())).await;
        Err(error)
    }

    /// Sends the last reply.
    pub(super) async fn refuse(&mut self, id: Option<u64>, error: Refusal) -> Result<(), Error> {
        if !self.channel.connection().stream().is_set_up() {
            // A reply cannot be sent before the handshake is over, and that may never be.
            return Ok(());
        }
        self.channel.queue(&Refused { id, error });
        self.channel.flush().await?;
        if !self.slot.is_draining() {
            self.channel.hear_out(LAST_WORDS, LAST_BYTES).await;
        }
        Ok(())
    }
}
