//! What all sessions of a server share.

use std::sync::Arc;

use ftpish_service::Service;

use crate::Limits;
use crate::exchange::Bodies;
use crate::memory::Memory;

/// What a server serves, and the state of its threads.
pub(crate) struct Shared {
    pub(crate) service: Arc<Service>,
    pub(crate) limits: Limits,
    /// Bodies in flight.
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) memory: Memory,
}
