//! How far a client has come on its connection. What it may ask for then is its [`Caller`](ftpish_service::Caller)'s.
//!
//! ```text
//!  New ──hello──▶ Greeted
//!
//!  TurnedAway ──any request──▶ closed
//! ```

use ftpish_protocol::message::Command;
use ftpish_protocol::{Code, Refusal};

use crate::connections::Full;

/// The phase of a connection.
pub(super) enum Phase {
    /// A limit was reached. The first request is refused, and the connection ends.
    TurnedAway(Full),
    /// The client has not sent a valid `hello` yet.
    New,
    /// `hello` was answered.
    Greeted,
}

impl Phase {
    /// The phase of a new connection. `full` says which limit it exceeds.
    pub(super) fn new(full: Option<Full>) -> Self {
        full.map_or(Self::New, Self::TurnedAway)
    }

    /// `hello` was answered. A second `hello` changes nothing.
    pub(super) fn greet(&mut self) {
        if matches!(self, Self::New) {
            *self = Self::Greeted;
        }
    }

    /// Whether `hello` was answered.
    pub(super) fn is_greeted(&self) -> bool {
        matches!(self, Self::Greeted)
    }

    /// Refuses what comes before `hello`.
    pub(super) fn require_hello(&self, command: &Command) -> Result<(), Refusal> {
        if self.is_greeted() || matches!(command, Command::Hello(_)) {
            return Ok(());
        }
        Err(Refusal::new(Code::HelloFirst, "the first request is `hello`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_before_hello() {
        let code = |phase: &Phase| phase.require_hello(&Command::Unknown).err().map(|refusal| refusal.code);
        let mut phase = Phase::New;
        for phase in [&phase, &Phase::TurnedAway(Full::Total)] {
            assert_eq!(code(phase), Some(Code::HelloFirst));
        }
        phase.greet();
        assert_eq!(code(&phase), None);
    }
}
