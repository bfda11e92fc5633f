//! What all connections of one user share: the root, the cap on connections and the bandwidth.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ftpish_protocol::{Code, Refusal};
use ftpish_storage::Root;
use ftpish_transport::Throttle;

use super::User;
use super::users::below;

/// The state of a user who has logged in at least once.
#[derive(Debug)]
pub(crate) struct UserState {
    /// The user's name.
    pub(crate) name: Arc<str>,
    /// The directory served to the user.
    pub(crate) root: Root,
    /// Bandwidth limit that all of the user's connections share.
    pub(crate) throttle: Option<Arc<Throttle>>,
    /// Upper bound on the user's connections.
    max: usize,
    /// The user's connections now.
    open: AtomicUsize,
}

impl UserState {
    /// The state of user `name`. The root is `served` unless the user has one. `bounded` puts the quota on it.
    pub(super) fn new(
        name: &str,
        user: &User,
        served: &Root,
        bounded: impl FnOnce(Root) -> Result<Root, Refusal>,
    ) -> Result<Self, Refusal> {
        let opened = match user.root.as_deref() {
            None => Ok(served.clone()),
            Some(root) if root.is_absolute() => served.apart(root),
            Some(root) => match below(root) {
                Some(below) => served.below(&below),
                None => Err(Refusal::new(Code::BadPath, "the root is none")),
            },
        };
        let opened = opened.map(|root| root.with_policy(user.modes(root.policy())));
        let root = opened.and_then(bounded).map_err(|refusal| {
            // Clients do not learn where the directory is.
            tracing::error!(user = name, %refusal, "cannot open the user's root");
            Refusal::new(
                refusal.code,
                "the directory of this user cannot be served: ask whoever runs the server",
            )
        })?;
        let throttle = user.bandwidth.map(|bytes| Arc::new(Throttle::new(bytes)));
        let max = user.connections.map_or(usize::MAX, |max| max.get().into());
        Ok(Self { name: name.into(), root, throttle, max, open: AtomicUsize::new(0) })
    }

    /// Takes a slot for one more connection of the user.
    pub(super) fn enter(self: &Arc<Self>) -> Result<UserSlot, Refusal> {
        let one_more = |open| (open < self.max).then_some(open + 1);
        match self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more) {
            Ok(open) => {
                if open == 0 {
                    // Other programs may have changed the files while the user was away: count the usage again.
                    self.root.doubt();
                }
                Ok(UserSlot(Arc::clone(self)))
            }
            Err(_) => Err(Refusal::new(
                Code::Busy,
                "this user has as many connections as one may: close some, or try again later",
            )),
        }
    }
}

/// One connection of a user. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct UserSlot(Arc<UserState>);

impl std::ops::Deref for UserSlot {
    type Target = UserState;

    fn deref(&self) -> &UserState {
        &self.0
    }
}

impl Drop for UserSlot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
