//! What an ftpish server does, and for whom: apart from sockets, frames and threads, so that more than one front can offer it.
//!
//! A front (the ftpish wire, in `ftpish-server`) authenticates a peer, which makes it a [`Caller`]. It decodes a request,
//! has the caller's rights to it [checked](Caller::permit), and runs the operation of its verb in [`operations`]. An operation
//! takes the caller and typed arguments, and returns a typed reply; the front encodes it. What an operation needs meanwhile
//! (the bytes of a body, time on a thread) it asks of the front, through [`Front`] and [`BodySource`].
//!
//! [`accounts`] are the users, their rights and how they log in. [`upload`] is the way of a file from a request to its name.
//! Only the `ftpish-storage` crate touches the disk.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at the disk"))]

pub mod accounts;
mod caller;
mod front;
mod network;
pub mod operations;
mod policy;
pub mod upload;

pub use accounts::{Accounts, Right, Rights, User, Users, UsersError, UsersFile};
pub use caller::{Caller, Peer, Service};
pub use front::{BodySource, Front};
pub use network::Network;
pub use policy::{Access, Policy, Rule};
