//! Requests that belong together: one file can take several. A draining server serves them to the end.

use std::time::{Duration, Instant};

use ftpish_protocol::message::Command;

use ftpish_service::upload::Offered;

use crate::connections::Activity;

/// How long after a request for a range of a file a draining server waits for the next: a few round trips.
const BETWEEN_RANGES: Duration = Duration::from_secs(3);

/// What the next request may continue.
pub(super) enum Continuation {
    Nothing,
    /// A file that is sent range by range.
    Ranges,
    /// A file that a `resume` announced.
    Upload(Box<Offered>),
}

impl Continuation {
    /// What may follow `command`.
    pub(super) fn of(command: &Command) -> Self {
        let has_more = match command {
            Command::Get(args) => args.offset > 0 || args.length.is_some(),
            Command::Part(_) | Command::Blocks(_) => true,
            _ => false,
        };
        if has_more { Self::Ranges } else { Self::Nothing }
    }

    /// The upload that waits for the next request.
    pub(super) fn upload(&self) -> Option<&Offered> {
        match self {
            Self::Upload(offered) => Some(offered),
            Self::Nothing | Self::Ranges => None,
        }
    }

    /// Takes that upload. Something else continues as before.
    pub(super) fn take_upload(&mut self) -> Option<Box<Offered>> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Upload(offered) => Some(offered),
            other => {
                *self = other;
                None
            }
        }
    }

    /// What a connection is doing that has been waiting for a request since `idle_since`. A drain takes `drain` at most.
    pub(super) fn activity(&self, idle_since: Instant, drain: Duration) -> Activity {
        match self {
            // Its parts may arrive over other connections until the drain is over.
            Self::Upload(_) => Activity::Between(Instant::now() + drain),
            Self::Ranges => Activity::Between(idle_since + BETWEEN_RANGES),
            Self::Nothing => Activity::Idle,
        }
    }
}

/// Whether `command` continues a file whose transfer has begun. A draining server still serves it.
pub(super) fn continues(command: &Command) -> bool {
    match command {
        Command::Get(args) => args.offset > 0,
        Command::Put(args) => args.ranges.is_some(),
        Command::Part(_) => true,
        _ => false,
    }
}
