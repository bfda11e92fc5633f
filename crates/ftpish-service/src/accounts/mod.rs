//! Who may log in, and what for: the users file, the hashing of passwords, and who guesses too often.
//!
//! What a right means for an operation is said in `operations`.

mod edit;
mod lockout;
mod password;
mod rights;
mod tickets;
mod user_state;
mod users;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ftpish_protocol::message::{Login, Proof};
use ftpish_protocol::text::brief;
use ftpish_protocol::{Code, PublicKey, Refusal, Secret, Statement};

use crate::network::Network;
use ftpish_storage::{Ledgers, Quota, Root};
use lockout::{Lockout, Outcome};
use password::{Hashers, decoy};
use tickets::{BadTickets, Tickets};
use user_state::UserState;

pub use edit::UsersFile;
pub use password::{HASHERS, hash, random_password};
pub use rights::{Right, Rights};
pub(crate) use user_state::UserSlot;
pub use users::{User, Users, UsersError};

/// What a client's key signs on one connection: 128 bits that nobody can foresee.
pub fn challenge() -> String {
    random_password().reveal().to_owned()
}

/// The accounts of a running server.
pub struct Accounts {
    users: Users,
    anonymous: Option<Arc<Rights>>,
    /// What a password for an unknown user is compared with, so that it costs as much.
    decoy: String,
    hashers: Hashers,
    tickets: Tickets,
    bad_tickets: BadTickets,
    lockout: Lockout,
    /// The users who have logged in, by name.
    states: Mutex<HashMap<String, Arc<UserState>>>,
    /// What lies in the roots, if anybody has a quota.
    ledgers: Option<Ledgers>,
}

impl Accounts {
    /// The accounts of `users`; who is not logged in has the rights `anonymous`, or none.
    pub fn new(users: Users, anonymous: Option<Rights>) -> Self {
        let (hashers, bad_tickets, lockout, states) = Default::default();
        let tickets = Tickets::new(Instant::now());
        let ledgers = users.have_quotas().then(Ledgers::default);
        let anonymous = anonymous.map(Arc::new);
        Self { users, anonymous, decoy: decoy(), hashers, tickets, bad_tickets, lockout, states, ledgers }
    }

    /// The directories apart from the server's that are served to users.
    pub fn roots_apart(&self) -> impl Iterator<Item = &Path> {
        self.users.roots_apart()
    }

    /// The same root with a quota. Without one, what is made through it is known to those who have one.
    pub(crate) fn bounded(&self, root: Root, quota: Quota) -> Result<Root, Refusal> {
        self.ledgers.as_ref().map_or(Ok(root.clone()), |ledgers| root.bounded(ledgers, quota))
    }

    /// What a client may do before it logs in; nothing where `None`.
    pub fn anonymous(&self) -> Option<&Arc<Rights>> {
        self.anonymous.as_ref()
    }

    /// Checks a login that came from `from`; a Unix socket has no address. The reply and the time are the same for an
    /// unknown user, a user without a password or keys, and a wrong proof. A password or a key earns a ticket; a ticket earns
    /// no other, so that whoever found one does not have it for ever. `statement` is what a key has to sign.
    pub(crate) fn login(
        &self,
        login: &Login,
        statement: Statement<'_>,
        from: Option<IpAddr>,
    ) -> Result<(Arc<Rights>, Option<Secret>), Refusal> {
        let user = self.users.find(&login.user);
        let line = match &login.proof {
            Proof::Ticket(ticket) => {
                return self.check_ticket(ticket, login, from).map(|rights| (Arc::new(rights), None));
            }
            Proof::Signature(_) => "wrong user or key",
            Proof::Password(_) => "wrong user or password",
        };
        // The attempt counts before it is looked at, so that many at once cannot outrun the count.
        if let Some(wait) = from.and_then(|from| self.lockout.attempt(from, &login.user, Instant::now())) {
            let line =
                format!("too many failed logins from this address: try again in {} s", wait.as_secs() + 1);
            return Err(Refusal::new(Code::LockedOut, line));
        }
        let proven = self.proves(login, user, statement);
        if let Some(from) = from {
            let outcome = match proven {
                Some(true) => Outcome::Succeeded,
                Some(false) => Outcome::Failed,
                None => Outcome::Dropped,
            };
            self.lockout.finish(from, &login.user, outcome);
        }
        match (user, proven) {
            (Some(user), Some(true)) => {
                let ticket = self.tickets.issue(&login.user, &user.proofs(), Instant::now());
                Ok((Arc::new(user.rights()), Some(ticket)))
            }
            (_, None) => Err(Refusal::new(Code::Busy, "there is no memory for a login: try again later")),
            _ => {
                tracing::warn!(user = %brief(&login.user), "a login failed");
                Err(Refusal::new(Code::LoginFailed, line))
            }
        }
    }

    /// Checks a ticket. One that is not right is no guess at a password: behind a balancer it may be another server's. It
    /// counts for the rate of such tickets alone, beyond which none from there is looked at.
    fn check_ticket(&self, ticket: &Secret, login: &Login, from: Option<IpAddr>) -> Result<Rights, Refusal> {
        let (user, now) = (self.users.find(&login.user), Instant::now());
        let refused =
            || Refusal::new(Code::TicketRefused, "the ticket is none of this server's, or none any more");
        if from.is_some_and(|from| self.bad_tickets.is_exhausted(Network::of(from), now)) {
            return Err(refused());
        }
        let proofs = user.map_or_else(|| self.decoy.clone(), User::proofs);
        match (self.tickets.admits(ticket, &login.user, &proofs, now), user) {
            (true, Some(user)) => Ok(user.rights()),
            _ => {
                from.iter().for_each(|from| self.bad_tickets.note(Network::of(*from), now));
                Err(refused())
            }
        }
    }

    /// Whether a password or a key is that of `user`; `None` where there is no memory to look. Each kind costs the same
    /// whether there is such a user or not.
    fn proves(&self, login: &Login, user: Option<&User>, statement: Statement<'_>) -> Option<bool> {
        match &login.proof {
            Proof::Password(password) => {
                let hash = user.and_then(|user| user.password.as_deref());
                let matches = self.hashers.verify(password, hash.unwrap_or(&self.decoy))?;
                Some(matches && hash.is_some())
            }
            // First whose it is, and only then who that is.
            Proof::Signature(signature) => {
                let made_by = PublicKey::that_made(statement, signature);
                let is_own = |(key, user): (PublicKey, &User)| user.keys.iter().any(|own| own.is(&key));
                Some(made_by.zip(user).is_some_and(is_own))
            }
            Proof::Ticket(_) => Some(false),
        }
    }

    /// Takes a connection slot of a user who has just logged in. `served` is the server's own root.
    pub(crate) fn enter(&self, name: &str, served: &Root) -> Result<UserSlot, Refusal> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match (states.get(name), self.users.find(name)) {
            (Some(state), _) => Arc::clone(state),
            (None, Some(user)) => {
                Arc::new(UserState::new(name, user, served, |root| self.bounded(root, user.quota()))?)
            }
            (None, None) => return Err(Refusal::new(Code::LoginFailed, "there is no such user")),
        };
        states.insert(name.to_owned(), Arc::clone(&state));
        state.enter()
    }
}
