//! What a person is told when something was not done: what was tried, on what, why not, and what to do next.

use std::fmt::{self, Display};
use std::io;

use ftpish_client::{Error, KnownHostsError};
use ftpish_protocol::text::escape;
use ftpish_protocol::{Code, Refusal};
use ftpish_transport::Endpoint;

use crate::exit::Exit;

/// The other side, in a message.
const ON_SERVER: &str = "on the server";

/// One line of what was tried and why it was not done, perhaps a hint, and an exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
    pub hint: Option<String>,
    /// Whether the next file of several can still be tried.
    pub goes_on: bool,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, goes_on: true }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The words make no sense, whatever the server would say.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Standard output cannot be written to. A reader that has seen enough is no failure.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self { goes_on: false, ..Self::new(Exit::Other, String::new()) }
        } else {
            Self::new(Exit::Other, format!("cannot write to standard output: {error}"))
        }
    }

    /// Whether this is nothing but a reader of our output that has seen enough, as `| head` has.
    pub fn is_broken_pipe(&self) -> bool {
        self.message.is_empty()
    }

    /// Whether the server may be there a little later.
    pub fn may_pass(&self) -> bool {
        matches!(self.exit, Exit::Connect | Exit::Connection | Exit::Busy)
    }

    /// Whether what went wrong with one of several files goes wrong with the next: of the connection, of the login, or because
    /// there is no room.
    pub fn ends_all(error: &Error) -> bool {
        match error {
            Error::Connect { .. }
            | Error::Handshake { .. }
            | Error::UnknownHostKey { .. }
            | Error::WrongHostKey { .. }
            | Error::Connection(_)
            | Error::Protocol(_)
            | Error::Interrupted => true,
            Error::Refused(why) => matches!(Exit::of(why.code), Exit::Login | Exit::NoSpace),
            Error::Local { refusal, .. } => Exit::of(refusal.code) == Exit::NoSpace,
            Error::Mismatch { .. } | Error::Unverified(_) => false,
        }
    }

    /// `tried` was not done, because of a client's `error`.
    pub fn client(tried: impl Display, error: Error) -> Self {
        let goes_on = !Self::ends_all(&error);
        let failure = match error {
            Error::Refused(refusal) => Self::refused(tried, &refusal, ON_SERVER),
            Error::Local { path, refusal } => {
                let local = escape(path.as_os_str().as_encoded_bytes());
                if refusal.message.is_empty() {
                    Self::refused(tried, &refusal, "here")
                } else {
                    Self::refused(format!("{tried}: `{local}`"), &refusal, "here")
                }
            }
            Error::Interrupted => Self::new(Exit::Interrupted, "interrupted"),
            Error::Connect { ref endpoint, error: ref why } => {
                let failure = Self::new(Exit::Connect, error.to_string());
                let is_nobody_there = matches!(
                    why.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::TimedOut
                );
                match is_nobody_there {
                    true => failure.hint(format!(
                        "is `ftpish serve` running there? name another server with --server, not {endpoint}"
                    )),
                    // The system's own errors tell nothing of the server.
                    false => failure,
                }
            }
            Error::Handshake { error: ref why, .. } => {
                let failure = Self::new(Exit::Connect, error.to_string());
                // The system's own errors, such as too few descriptors, tell nothing of the server.
                match why.raw_os_error().is_none() || why.kind() == io::ErrorKind::ConnectionReset {
                    true => failure
                        .hint("a server that was started with --plaintext wants clients that say so too"),
                    false => failure,
                }
            }
            Error::UnknownHostKey { ref endpoint, fingerprint } => {
                Self::new(Exit::HostKey, error.to_string()).hint(format!(
                    "compare it with what {endpoint} printed when it started; then --host-key {fingerprint}, \
                     or --accept-new"
                ))
            }
            Error::WrongHostKey { .. } => Self::new(Exit::HostKey, error.to_string()),
            Error::Mismatch { .. } | Error::Unverified(_) => {
                Self::new(Exit::Verification, format!("{tried}: {error}"))
                    .hint("try again; if it happens again, suspect the network or a disk")
            }
            Error::Connection(ref broken) => {
                let too_slow = broken.is_timeout();
                let failure = Self::new(Exit::Connection, format!("{tried}: {error}"));
                match broken {
                    ftpish_protocol::Error::HeaderTooLarge { .. } => {
                        failure.hint("if the server speaks TLS, leave --plaintext out")
                    }
                    _ if too_slow => failure.hint("--timeout waits longer"),
                    _ => failure,
                }
            }
            Error::Protocol(_) => Self::new(Exit::Protocol, format!("{tried}: {error}")),
        };
        Self { goes_on, ..failure }
    }

    fn refused(tried: impl Display, refusal: &Refusal, side: &str) -> Self {
        let message = match refusal.code {
            // On which side is all that can be known: it may be a right, a mode or the whole file system.
            Code::NotFound | Code::PermissionDenied => format!("{tried}: {refusal} {side}"),
            _ => format!("{tried}: {refusal}"),
        };
        let failure = Self::new(Exit::of(refusal.code), message);
        match refusal.code {
            Code::NotFound if side == ON_SERVER => failure.hint("`ls` shows what is there"),
            Code::NoSpace => failure.hint(format!("nothing was changed; make room {side}, and try again")),
            Code::NotEmpty => failure.hint("rm -r removes a directory with all it holds"),
            Code::IsDirectory => failure
                .hint("name a file in it; `get -r` and `put -r` move a directory with all that it holds"),
            Code::LoginRequired => failure.hint("--login NAME says who you are"),
            Code::Busy | Code::ShuttingDown => failure.hint("try again later"),
            _ => failure,
        }
    }

    /// A changed key is either a new server or somebody in between; only a person can know.
    pub fn changed_key(error: &Error, endpoint: &Endpoint, known_hosts: &std::path::Path) -> Self {
        Self::new(
            Exit::HostKey,
            format!("{error}\nTHE HOST KEY HAS CHANGED: somebody may be in between and read what you send"),
        )
        .hint(format!(
            "if the server was set up anew, remove the line of {endpoint} from {} and connect again",
            known_hosts.display()
        ))
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl From<KnownHostsError> for Failure {
    fn from(error: KnownHostsError) -> Self {
        Self::new(Exit::HostKey, error.to_string())
    }
}
