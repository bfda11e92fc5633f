//! Who may log in, and what for: the users file, the hashing of passwords, and who guesses too often.
//!
//! What a right means for a command is `policy`'s.

mod edit;
mod lockout;
mod password;
mod rights;
mod tickets;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ftpish_protocol::message::{Login, Proof};
use ftpish_protocol::{Code, Refusal, Secret};

use lockout::{Lockout, Outcome};
use password::{HashingPool, decoy};
use tickets::Tickets;

pub use edit::UsersFile;
pub use password::{hash, random_password};
pub use rights::{Right, Rights};
pub use users::{User, Users, UsersError};

/// The accounts of a running server.
pub struct Accounts {
    users: Users,
    anonymous: Option<Rights>,
    /// What a password for an unknown user is compared with, so that it costs as much.
    decoy: String,
    pool: HashingPool,
    tickets: Tickets,
    lockout: Lockout,
}

impl Accounts {
    /// The accounts of `users`; who is not logged in has the rights `anonymous`, or none.
    pub fn new(users: Users, anonymous: Option<Rights>) -> Self {
        Self {
            users,
            anonymous,
            decoy: decoy(),
            pool: HashingPool::default(),
            tickets: Tickets::new(Instant::now()),
            lockout: Lockout::default(),
        }
    }

    /// What a client may do before it logs in; nothing where `None`.
    pub(crate) fn anonymous(&self) -> Option<&Rights> {
        self.anonymous.as_ref()
    }

    /// Checks a login that came from `from`; a Unix socket has no address. The reply and the time are the same for an
    /// unknown user, a user without a password, and a wrong proof. A password earns a ticket; a ticket earns no other,
    /// so that whoever found one does not have it for ever.
    pub(crate) fn login(
        &self,
        login: &Login,
        from: Option<IpAddr>,
    ) -> Result<(Arc<Rights>, Option<Secret>), Refusal> {
        // The attempt counts before it is looked at, so that many at once cannot outrun the count.
        if let Some(wait) = from.and_then(|from| self.lockout.attempt(from, &login.user, Instant::now())) {
            let line =
                format!("too many failed logins from this address: try again in {} s", wait.as_secs() + 1);
            return Err(Refusal::new(Code::LockedOut, line));
        }
        let user = self.users.find(&login.user);
        let hash = user.and_then(|user| user.password.as_deref());
        let compared = hash.unwrap_or(&self.decoy);
        let matches = match &login.proof {
            Proof::Password(password) => self.pool.verify(password, compared),
            Proof::Ticket(ticket) => Some(self.tickets.admits(ticket, &login.user, compared, Instant::now())),
        };
        let Some(matches) = matches else {
            // Nothing was tried: the server has too much to do.
            if let Some(from) = from {
                self.lockout.finish(from, &login.user, Outcome::Dropped);
            }
            return Err(Refusal::new(Code::Busy, "too many logins at the same time: try again later"));
        };
        match user {
            Some(user) if matches && hash.is_some() => {
                if let Some(from) = from {
                    self.lockout.finish(from, &login.user, Outcome::Succeeded);
                }
                let ticket = match login.proof {
                    Proof::Password(_) => Some(self.tickets.issue(&login.user, compared, Instant::now())),
                    Proof::Ticket(_) => None,
                };
                Ok((Arc::new(user.rights()), ticket))
            }
            _ => {
                if let Some(from) = from {
                    self.lockout.finish(from, &login.user, Outcome::Failed);
                }
                Err(Refusal::new(Code::LoginFailed, "wrong user or password"))
            }
        }
    }
}
