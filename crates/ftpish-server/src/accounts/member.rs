//! What all connections of one user share: where the files are, how many connections there may be, and how fast they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ftpish_protocol::{Code, Refusal};
use ftpish_storage::Root;
use ftpish_transport::Throttle;

use super::User;
use super::users::below;

/// A user of whom at least one connection was here.
#[derive(Debug)]
pub(crate) struct Member {
    /// What the user is called.
    pub(crate) name: Arc<str>,
    /// The directory that is served to the user.
    pub(crate) root: Root,
    /// What bounds the connections' pace, together.
    pub(crate) throttle: Option<Arc<Throttle>>,
    most: usize,
    here: AtomicUsize,
}

impl Member {
    /// The user `name`, whose root is `served`, or one of its own; `bounded` gives it the quota.
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
            // Where it is, is the server's own affair.
            tracing::error!(user = name, %refusal, "cannot open the user's root");
            Refusal::new(
                refusal.code,
                "the directory of this user cannot be served: ask whoever runs the server",
            )
        })?;
        let throttle = user.bandwidth.map(|bytes| Arc::new(Throttle::new(bytes)));
        let most = user.connections.map_or(usize::MAX, |most| most.get().into());
        Ok(Self { name: name.into(), root, throttle, most, here: AtomicUsize::new(0) })
    }

    /// Lets one more connection be the user's.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Seat, Refusal> {
        let one_more = |here| (here < self.most).then_some(here + 1);
        match self.here.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more) {
            Ok(here) => {
                if here == 0 {
                    // While the user was away, others may have changed what is there.
                    self.root.doubt();
                }
                Ok(Seat(Arc::clone(self)))
            }
            Err(_) => Err(Refusal::new(
                Code::Busy,
                "this user has as many connections as one may: close some, or try again later",
            )),
        }
    }
}

/// A connection that is a user's, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Member>);

impl std::ops::Deref for Seat {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.here.fetch_sub(1, Ordering::SeqCst);
    }
}
