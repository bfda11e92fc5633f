//! Who asks: what they may do, where their paths start, and how fast. Every front makes one of each peer that it serves.

use std::net::IpAddr;
use std::sync::Arc;

use ftpish_protocol::message::{Command, LoggedIn, Login, Proof};
use ftpish_protocol::{Code, Refusal, Statement};
use ftpish_storage::{Quota, Root};
use ftpish_transport::{Fingerprint, Throttle};

use crate::accounts::{Accounts, Rights, UserSlot};
use crate::front::Front;
use crate::operations::{self, Operation};
use crate::policy::Policy;
use crate::upload::Uploads;

/// What is served, to whom, and by which rules. All callers share it.
pub struct Service {
    /// The root of anonymous users, and of users without one of their own.
    served: Root,
    policy: Policy,
    /// The users. Without them, every client may do what the policy permits.
    accounts: Option<Accounts>,
    /// Files that arrive in parts, over several connections.
    pub(crate) uploads: Uploads,
}

impl Service {
    /// Serves `root` by these rules.
    ///
    /// # Errors
    /// What is in the root cannot be counted, although a user has a quota.
    pub fn new(root: Root, policy: Policy, accounts: Option<Accounts>) -> Result<Self, Refusal> {
        let served = match &accounts {
            Some(accounts) => accounts.bounded(root, Quota::default())?,
            None => root,
        };
        Ok(Self { served, policy, accounts, uploads: Uploads::default() })
    }

    /// The users, if there are any accounts.
    pub fn accounts(&self) -> Option<&Accounts> {
        self.accounts.as_ref()
    }
}

/// Where a client is, as far as a login depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address; none behind a Unix socket.
    pub address: Option<IpAddr>,
    /// What the server has proven to be in TLS; none in the clear.
    pub host_key: Option<Fingerprint>,
}

impl Peer {
    /// Whether nobody on the way can read what it sends.
    fn is_private(self) -> bool {
        self.host_key.is_some() || self.address.is_none_or(|address| address.to_canonical().is_loopback())
    }
}

/// One who asks.
pub struct Caller {
    service: Arc<Service>,
    access: Access,
    /// Where the caller's paths start. If the rights differ from directory to directory, it follows no links: paths are
    /// [resolved](Caller::permit) before the rights to them are checked.
    root: Root,
    /// Counts among the user's connections; none for an anonymous caller.
    slot: Option<UserSlot>,
}

/// What a caller may ask for.
enum Access {
    /// Only to log in: there are accounts, and anonymous users are not served.
    Login,
    /// What the policy permits and these rights allow.
    Rights(Arc<Rights>),
    /// What the policy permits: there are no accounts.
    Open,
}

impl Caller {
    /// One who has not logged in.
    pub fn anonymous(service: &Arc<Service>) -> Self {
        let access = match &service.accounts {
            None => Access::Open,
            Some(accounts) => {
                accounts.anonymous().map_or(Access::Login, |rights| Access::Rights(rights.clone()))
            }
        };
        let root = service.show(&service.served, &access);
        Self { service: Arc::clone(service), access, root, slot: None }
    }

    /// Logs in, and returns the user as a caller of its own. `challenge` is what a key has to sign, and was made for this
    /// connection alone.
    ///
    /// # Errors
    /// `login-failed`: there are no accounts, others may read what `peer` sends, or the proof is wrong. `ticket-refused`: the
    /// ticket is not, or no longer, this server's. `locked-out`: too many wrong proofs came from this address. `busy`: the
    /// user has as many connections as one may, or there is no memory to check a password.
    pub async fn log_in<F: Front>(
        &self,
        login: &Login,
        peer: Peer,
        challenge: &str,
        front: &mut F,
    ) -> Result<(Self, LoggedIn), F::Failure> {
        let Service { served, accounts, .. } = &*self.service;
        let Some(accounts) = accounts else {
            return Err(Refusal::new(Code::LoginFailed, "there are no accounts here").into());
        };
        if !peer.is_private() {
            let line = "a login in the clear is not taken: others may have read the password, so change it";
            return Err(Refusal::new(Code::LoginFailed, line).into());
        }
        if matches!(login.proof, Proof::Password(_)) {
            front.begin_password().await;
        }
        let host_key = peer.host_key.map(|key| key.to_string());
        let statement = Statement { challenge, host_key: host_key.as_deref(), user: &login.user };
        let (rights, ticket) = accounts.login(login, statement, peer.address)?;
        let slot = accounts.enter(&login.user, served)?;
        let access = Access::Rights(rights);
        let (service, root) = (Arc::clone(&self.service), self.service.show(&slot.root, &access));
        let logged_in = LoggedIn { user: login.user.clone(), ticket };
        Ok((Self { service, access, root, slot: Some(slot) }, logged_in))
    }

    /// Whether the caller may do more than log in.
    pub fn is_admitted(&self) -> bool {
        matches!(self.access, Access::Rights(_) | Access::Open)
    }

    /// The user's name; none for an anonymous caller.
    pub fn user(&self) -> Option<&Arc<str>> {
        self.slot.as_ref().map(|slot| &slot.name)
    }

    /// The bandwidth that all of the user's connections share, if it is limited.
    pub fn throttle(&self) -> Option<Arc<Throttle>> {
        self.slot.as_ref().and_then(|slot| slot.throttle.clone())
    }

    /// Where the caller's paths start.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// What is served, and by which rules.
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// Checks that the caller may do `command`. A front calls it before it runs an operation. Rights hold for where a file is,
    /// not for what it is called: if they differ from directory to directory, the paths of `command` are resolved here, and
    /// the root follows no links later.
    ///
    /// # Errors
    /// `forbidden`: the policy or the caller's rights do not allow it. `login-required`: the caller has to log in first. And
    /// whatever keeps a path from being resolved.
    pub fn permit(&self, command: &mut Command) -> Result<(), Refusal> {
        let Some(operation) = operations::of(command) else { return self.permit_other(command) };
        let policy = &self.service.policy;
        policy.permit(operation)?;
        let rights = match &self.access {
            Access::Login => return Err(login_required()),
            Access::Rights(rights) => Some(&**rights),
            Access::Open => None,
        };
        if self.resolves_links() {
            for (path, last) in operation.paths() {
                *path = self.root.real_path(path, last)?;
            }
            // A link may have led to what nobody may touch.
            policy.permit(operation)?;
        }
        if operation.needs_uniform_rights() && self.resolves_links() {
            let why = "a user whose rights differ from place to place makes no links between them";
            return Err(Refusal::new(Code::Forbidden, why));
        }
        rights.map_or(Ok(()), |rights| allow(operation, rights))?;
        policy.ask_rule(operation, self.user().map(|name| &**name))
    }

    /// Whether what the caller may do differs from place to place, so that links have to be resolved before that is checked.
    fn resolves_links(&self) -> bool {
        self.access.differs() || self.service.policy.rule.is_some()
    }

    fn permit_other(&self, command: &Command) -> Result<(), Refusal> {
        match (command, &self.access) {
            (Command::Hello(_) | Command::Login(_), _) | (_, Access::Rights(_) | Access::Open) => Ok(()),
            (_, Access::Login) => Err(login_required()),
        }
    }
}

impl Access {
    /// Whether it differs from place to place.
    fn differs(&self) -> bool {
        matches!(self, Self::Rights(rights) if !rights.are_uniform())
    }
}

impl Service {
    /// `root` as it is shown to somebody with this access.
    fn show(&self, root: &Root, access: &Access) -> Root {
        if access.differs() || self.policy.rule.is_some() { root.without_links() } else { root.clone() }
    }
}

fn login_required() -> Refusal {
    Refusal::new(Code::LoginRequired, "log in first")
}

/// Whether `rights` allow all that `operation` does.
fn allow(operation: &dyn Operation, rights: &Rights) -> Result<(), Refusal> {
    let allowed = operation.accesses().into_iter().all(|(right, path)| match operation.is_recursive() {
        true => rights.allow_below(right, path),
        false => rights.allow(right, path),
    });
    match allowed {
        true => Ok(()),
        false => Err(Refusal::new(Code::Forbidden, "this user has no right to that here")),
    }
}

#[cfg(test)]
mod tests;
