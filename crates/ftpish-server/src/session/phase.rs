//! How far a client has come. What it may ask for depends on its phase alone.
//!
//! ```text
//!  New ──hello──▶ Greeted ──login──▶ LoggedIn ──login──▶ LoggedIn (as another user)
//!
//!  TurnedAway ──any request──▶ closed
//! ```

use std::sync::Arc;

use ftpish_protocol::message::Command;
use ftpish_protocol::{Code, Refusal};

use crate::accounts::{Accounts, Rights, UserSlot};
use crate::connections::Full;

/// The phase of a connection.
pub(super) enum Phase {
    /// A limit was reached. The first request is refused, and the connection ends.
    TurnedAway(Full),
    /// The client has not sent a valid `hello` yet.
    New,
    /// `hello` was answered. The client is anonymous.
    Greeted,
    /// A user has logged in.
    LoggedIn {
        rights: Arc<Rights>,
        /// Counts the connection among the user's.
        slot: UserSlot,
    },
}

/// What a client may ask for.
#[derive(Clone, Copy)]
pub(super) enum Access<'a> {
    /// Only `hello`.
    Hello,
    /// Only `hello` and `login`: the server has accounts and serves no anonymous users.
    Login,
    /// What the policy permits and these rights allow.
    Rights(&'a Rights),
    /// What the policy permits: the server has no accounts.
    Open,
}

impl Phase {
    /// The phase of a new connection. `full` says which limit it exceeds.
    pub(super) fn new(full: Option<Full>) -> Self {
        full.map_or(Self::New, Self::TurnedAway)
    }

    /// Access in this phase, on a server with these accounts.
    pub(super) fn access<'a>(&'a self, accounts: Option<&'a Accounts>) -> Access<'a> {
        match (self, accounts) {
            (Self::TurnedAway(_) | Self::New, _) => Access::Hello,
            (_, None) => Access::Open,
            (Self::Greeted, Some(accounts)) => accounts.anonymous().map_or(Access::Login, Access::Rights),
            (Self::LoggedIn { rights, .. }, Some(_)) => Access::Rights(rights),
        }
    }

    /// `hello` was answered. A second `hello` changes nothing.
    pub(super) fn greet(&mut self) {
        if matches!(self, Self::New) {
            *self = Self::Greeted;
        }
    }
}

impl Access<'_> {
    /// Refuses whatever comes before `hello`.
    pub(super) fn require_hello(self, command: &Command) -> Result<(), Refusal> {
        match (self, command) {
            (Self::Hello, Command::Hello(_)) | (Self::Login | Self::Rights(_) | Self::Open, _) => Ok(()),
            (Self::Hello, _) => Err(Refusal::new(Code::HelloFirst, "the first request is `hello`")),
        }
    }

    /// Whether the client may do more than greet and log in. Until then it has tight limits on time, memory and threads.
    pub(super) fn is_admitted(self) -> bool {
        matches!(self, Self::Rights(_) | Self::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Users;

    fn accounts(anonymous: bool) -> Accounts {
        Accounts::new(Users::default(), anonymous.then(|| Rights::new(&Rights::ALL, Vec::new())))
    }

    #[track_caller]
    fn check(phase: &Phase, accounts: Option<&Accounts>, greets_first: bool, is_admitted: bool) {
        let access = phase.access(accounts);
        let refusal = access.require_hello(&Command::Unknown).err().map(|refusal| refusal.code);
        assert_eq!(refusal, greets_first.then_some(Code::HelloFirst));
        assert_eq!(access.is_admitted(), is_admitted);
    }

    #[test]
    fn nobody_is_admitted_before_hello_nor_before_a_login_that_is_required() {
        let (open, closed) = (accounts(true), accounts(false));
        for accounts in [None, Some(&open), Some(&closed)] {
            check(&Phase::New, accounts, true, false);
            check(&Phase::TurnedAway(Full::Total), accounts, true, false);
        }
        let mut phase = Phase::New;
        phase.greet();
        check(&phase, None, false, true);
        check(&phase, Some(&open), false, true);
        check(&phase, Some(&closed), false, false);
    }
}
