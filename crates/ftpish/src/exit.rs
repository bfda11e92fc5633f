//! The exit codes: one table, which the manual prints and scripts may rely on.

use ftpish_protocol::Code;

/// What a process ends with. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// An error that has no code of its own.
    Other = 1,
    /// The command line makes no sense. (clap's own code.)
    Usage = 2,
    /// Nobody answers at the server's address.
    Connect = 3,
    /// The login failed, or one is needed.
    Login = 4,
    /// The server's key is not known, or not the one that is expected.
    HostKey = 5,
    /// No such file or directory, on either side.
    NotFound = 6,
    /// Not permitted, by either side.
    Denied = 7,
    /// The name exists already.
    Exists = 8,
    /// A file where a directory is needed, or the other way round; a full directory, a fifo, a device.
    WrongKind = 9,
    /// No space left, on either side.
    NoSpace = 10,
    /// What arrived is not what was sent.
    Verification = 11,
    /// Of several files, some were not done.
    Partial = 12,
    /// The connection broke, or the peer was too slow.
    Connection = 13,
    /// The peer does not speak the protocol, or not this version.
    Protocol = 14,
    /// The server has no free connection, or is going down.
    Busy = 15,
    /// The file changed while it was read.
    Changed = 16,
    /// Interrupted by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

/// The table, as `--help` shows it.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done                          9  wrong kind: file, directory, special
  1  any other error              10  no space left
  2  usage                        11  verification failed, nothing written
  3  cannot connect               12  partial: some of several files failed
  4  login failed, or needed
  5  host key unknown or changed  13  connection lost, or too slow
  6  not found                    14  protocol error
  7  denied                       15  server busy or going down
  8  exists already               16  changed while it was read
                                 130  interrupted";

impl Exit {
    /// The exit code that tells of a refusal.
    pub fn of(code: Code) -> Self {
        match code {
            Code::NotFound => Self::NotFound,
            Code::Forbidden | Code::PermissionDenied => Self::Denied,
            Code::LoginRequired | Code::LoginFailed | Code::TicketRefused | Code::LockedOut => Self::Login,
            Code::Exists | Code::NotNewer => Self::Exists,
            Code::IsDirectory | Code::NotDirectory | Code::NotEmpty | Code::NotRegular => Self::WrongKind,
            Code::NoSpace => Self::NoSpace,
            Code::Mismatch => Self::Verification,
            Code::Timeout => Self::Connection,
            Code::Busy | Code::ShuttingDown => Self::Busy,
            Code::Changed => Self::Changed,
            Code::Malformed | Code::TooLarge | Code::Unsupported | Code::HelloFirst => Self::Protocol,
            Code::BadPath
            | Code::BadRange
            | Code::AskFirst
            | Code::Cancelled
            | Code::Io
            | Code::Internal
            | Code::Unknown => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_code() {
        use Exit::*;
        let codes = [
            Other,
            Usage,
            Connect,
            Login,
            HostKey,
            NotFound,
            Denied,
            Exists,
            WrongKind,
            NoSpace,
            Verification,
            Partial,
            Connection,
            Protocol,
            Busy,
            Changed,
            Interrupted,
        ];
        for code in codes {
            let number = format!(" {}  ", code as u8);
            assert!(EXIT_CODES.contains(&number), "{code:?}");
        }
    }
}
