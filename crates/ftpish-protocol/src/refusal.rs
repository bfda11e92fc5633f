//! What a request is refused with: a code from a closed list, and one line for a person.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::text::brief;

/// Why a request was refused, or a body aborted. The wire form is the name in kebab-case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The message is not a JSON object of the documented form.
    Malformed,
    /// The message is longer than [`MAX_HEADER`](crate::MAX_HEADER); the connection closes.
    TooLarge,
    /// The command, the digest or the protocol version is not known here.
    Unsupported,
    /// The first request was not `hello`.
    HelloFirst,
    /// A login is needed before this request.
    LoginRequired,
    /// The login failed; it is not said why.
    LoginFailed,
    /// The ticket is none of this server's, or none any more: the client logs in by what it got the ticket for.
    TicketRefused,
    /// Too many logins failed from this address: it has to wait.
    LockedOut,
    /// A path is not in the canonical form that [`RemotePath`](crate::RemotePath) documents.
    BadPath,
    /// There is too much to do already. Where it is connections that there are too many of, the connection closes.
    Busy,
    /// The server is going down; the connection closes.
    ShuttingDown,
    /// The peer took longer than it may; the connection closes.
    Timeout,
    /// The server's policy forbids it: for example, it serves read-only.
    Forbidden,
    /// The server's operating system denied it.
    PermissionDenied,
    /// No such file or directory.
    NotFound,
    /// The name exists already, and the request said not to replace it.
    Exists,
    /// The existing file is at least as new, and the request said to replace older ones only.
    NotNewer,
    /// It is a directory where a file is needed.
    IsDirectory,
    /// It is a file where a directory is needed.
    NotDirectory,
    /// The directory has entries, and the request was not recursive.
    NotEmpty,
    /// It is a fifo, a device or a socket.
    NotRegular,
    /// No space left, or a disk quota is used up.
    NoSpace,
    /// The range begins or ends beyond the end of the file.
    BadRange,
    /// Something of the file is here already, or has its name, or that takes time to know: `resume` tells, to a client
    /// that waits for it.
    AskFirst,
    /// The received bytes have another digest or length than the trailer says; nothing was stored.
    Mismatch,
    /// The file is not, or no longer, what it was: it changed while it was read, or since the digest was taken that
    /// the request expects.
    Changed,
    /// The sender gave up its body: the user interrupted it, or the refusal was seen before its end.
    Cancelled,
    /// Any other error of the operating system.
    Io,
    /// A defect of the sender.
    Internal,
    /// A code that this version does not know. Never sent.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The code that tells of an error of the operating system.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::PermissionDenied,
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::IsADirectory => Self::IsDirectory,
            io::ErrorKind::NotADirectory => Self::NotDirectory,
            io::ErrorKind::DirectoryNotEmpty => Self::NotEmpty,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::InvalidFilename => Self::BadPath,
            _ => Self::Io,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The wire form is the one name of a code; serde holds the only list of them.
        self.serialize(out)
    }
}

/// What is said where a process has as many files open as it may.
const OUT_OF_DESCRIPTORS: &str = "too many files are open at the same time: try again later";

/// A request refused, or a body aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: one line, without the server's own paths. Shown escaped, since a peer wrote it.
    pub message: String,
}

impl Refusal {
    /// A refusal with this code and line.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The refusal that tells of `error`: the one it carries (see [`Refusal::into_io`]), or the code of its
    /// kind with the operating system's words.
    pub fn from_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            Some(refusal) => refusal.clone(),
            // ENFILE and EMFILE of open(2), which have these numbers on every Unix.
            None if matches!(error.raw_os_error(), Some(23 | 24)) => {
                Self::new(Code::Busy, OUT_OF_DESCRIPTORS)
            }
            None => Self::new(Code::of(error), describe(error)),
        }
    }

    /// Whether it was file descriptors that there were not enough of: it may go better in a moment.
    pub fn is_out_of_descriptors(&self) -> bool {
        self.code == Code::Busy && self.message == OUT_OF_DESCRIPTORS
    }

    /// An `io::Error` that carries this refusal through `Read` and `Write`.
    pub fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        brief(&self.message).fmt(out)
    }
}

impl std::error::Error for Refusal {}

/// The operating system's words for an error, without Rust's "(os error 2)", in lower case.
pub(crate) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_show_as_they_travel() {
        assert_eq!(Code::HelloFirst.to_string(), "hello-first");
        assert_eq!(serde_json::to_string(&Code::NoSpace).unwrap(), r#""no-space""#);
        assert_eq!(serde_json::from_str::<Code>(r#""from-the-future""#).unwrap(), Code::Unknown);
    }

    #[test]
    fn operating_system_errors_become_codes_and_plain_words() {
        let refusal = Refusal::from_io(&io::Error::from_raw_os_error(2));
        assert_eq!(refusal, Refusal::new(Code::NotFound, "no such file or directory"));
        assert_eq!(Code::of(&io::Error::from_raw_os_error(28)), Code::NoSpace);
    }

    #[test]
    fn a_refusal_survives_the_way_through_io() {
        let refusal = Refusal::new(Code::Changed, "grew while it was read");
        assert_eq!(Refusal::from_io(&refusal.clone().into_io()), refusal);
    }

    #[test]
    fn a_hostile_message_is_shown_escaped() {
        assert_eq!(Refusal::new(Code::Io, "\x1b]52;c;x\x07").to_string(), "\\x1b]52;c;x\\x07");
    }
}
