//! What all sessions of a server share.

use std::sync::Arc;

use ftpish_storage::Root;

use crate::accounts::Accounts;
use crate::exchange::Bodies;
use crate::memory::Memory;
use crate::upload::Uploads;
use crate::{Limits, Policy};

/// A server's root, rules and shared state.
pub(crate) struct Service {
    /// The root of anonymous users, and of users without one of their own.
    pub(crate) served: Root,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    /// Files that arrive in parts, over several connections.
    pub(crate) uploads: Uploads,
    /// Bodies in flight.
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) memory: Memory,
    /// The users. Without them, every client may do what the policy permits.
    pub(crate) accounts: Option<Accounts>,
}
