//! The two directions of one mechanism.

/// Which way files move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the server to this machine.
    Get,
    /// From this machine to the server.
    Put,
}
