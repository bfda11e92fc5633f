//! The ftpish server: bound listeners in, a directory served, threads and no async runtime.
//!
//! The life of a request, file by file. [`server`] accepts a connection and `connections` caps their number. `session`
//! receives a request, checks it against the phase of the connection and the `policy`, and runs the file of its verb in
//! `commands`. The command answers through its `exchange`. `upload` is the way of a file from `put`, `resume` and `part` to
//! its name. Only the `ftpish-storage` crate touches the disk.
//!
//! Threads are shared. A session is a future, a `task`. `workers` run it, by kinds of work and in turns, until it waits: for
//! its client (`channel`), for work on the disk (`job`), or for its next `turn`. Meanwhile it rests in the `poller`.
//!
//! Out of scope: arguments, signals and where logs go. The binary decides these. Logging is through `tracing`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod accounts;
mod channel;
mod commands;
mod connections;
mod exchange;
mod fair;
mod group;
mod identity;
mod job;
pub mod limits;
mod memory;
mod network;
mod policy;
mod poller;
mod quota_check;
pub mod server;
mod session;
mod task;
mod turn;
mod upload;
mod workers;

pub use accounts::{Accounts, Right, Rights, User, Users, UsersError, UsersFile, hash, random_password};
pub use identity::{Identity, IdentityError};
pub use limits::Limits;
pub use policy::Policy;
pub use server::{Config, Server, Shutdown};

/// What this server calls itself in `hello`.
pub const AGENT: &str = concat!("ftpish/", env!("CARGO_PKG_VERSION"));
