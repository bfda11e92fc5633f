//! A client's connection, from when it is accepted until it is closed: served while the client has something to say, at rest
//! in between.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::connections::Place;
use crate::session::{Session, Turn};

/// Why a visit that rested goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The client has sent something, or closed.
    Readable,
    /// It has not, for too long.
    Late,
}

/// What becomes of a visit.
pub(crate) enum Then {
    /// The client is a stranger no more, and may have said more already.
    Admitted(Visit),
    /// Nothing is to be done until the client says something, or until that time.
    Rest(Visit, Instant),
    /// It is over.
    Over,
}

/// One connection, which takes one place.
pub(crate) struct Visit {
    session: Session,
    place: Place,
    /// Where the client is, for the log.
    peer: String,
    socket: Arc<socket2::Socket>,
}

impl Visit {
    pub(crate) fn new(mut session: Session, place: Place, peer: String) -> Self {
        let socket = session.socket();
        Self { session, place, peer, socket }
    }

    /// What to wait for.
    pub(crate) fn socket(&self) -> Arc<socket2::Socket> {
        Arc::clone(&self.socket)
    }

    /// Whether the client is nobody who was admitted as yet.
    pub(crate) fn is_stranger(&self) -> bool {
        !self.session.is_admitted()
    }

    /// Serves the client until it is to rest, or is no stranger any more; or until the end, which frees the place. A panic ends
    /// this visit and harms no other.
    pub(crate) fn go_on(mut self, woken: Woken) -> Then {
        let _span = tracing::info_span!("session", peer = self.peer).entered();
        let turn = catch_unwind(AssertUnwindSafe(|| match woken {
            Woken::Readable => self.session.turn(&self.place),
            Woken::Late => self.session.leave().map(|()| Turn::End),
        }));
        match turn {
            Ok(Ok(Turn::Rest(until))) => return Then::Rest(self, until),
            Ok(Ok(Turn::Admitted)) => return Then::Admitted(self),
            Ok(Ok(Turn::End)) => tracing::info!("closed"),
            Ok(Err(error)) => tracing::info!(%error, "closed"),
            Err(_) => tracing::error!("a session panicked: this is a defect of ftpish"),
        }
        Then::Over
    }
}
