//! The ftpish server: bound listeners in, a directory served, threads and no async runtime.
//!
//! The life of a request, file by file. [`server`] accepts a connection and `connections` caps their number. `session`
//! receives a request, checks it against the phase of the connection, and runs the operation of its verb, which is
//! `ftpish-service`'s, as are users, rights and uploads. It answers through an `exchange`. Small requests that come one behind
//! the other are answered together, as a `group`.
//!
//! Threads are shared. A session is a future, a `task`. `workers` run it, by kinds of work and in turns, until it waits: for
//! its client (`channel`), for work on the disk (`job`), or for its next `turn`. Meanwhile it rests in the `poller`.
//!
//! Out of scope: arguments, signals and where logs go. The binary decides these. Logging is through `tracing`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod channel;
mod connections;
mod exchange;
mod fair;
mod group;
mod identity;
mod job;
pub mod limits;
mod memory;
mod poller;
pub mod server;
mod session;
mod task;
mod turn;
mod workers;

pub use ftpish_service::accounts::{hash, random_password};
pub use ftpish_service::{Access, Accounts, Policy, Right, Rights, Rule, User, Users, UsersError, UsersFile};
pub use identity::{Identity, IdentityError};
pub use limits::Limits;
pub use server::{Config, Server, Shutdown};

/// What this server calls itself in `hello`.
pub const AGENT: &str = concat!("ftpish/", env!("CARGO_PKG_VERSION"));
