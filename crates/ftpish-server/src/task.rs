//! A client's connection as what the threads run: a session that is a future, from when the connection is accepted until it is
//! closed.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ftpish_transport::Wait;
use rustix::event::{PollFd, Timespec, poll};

use crate::turn::{Class, Party, Pause, Turn, poll_flags};

/// How long a thread is kept for a client that is expected to go on at once: to rest takes longer.
pub(crate) const LINGER: Duration = Duration::from_millis(5);

/// One connection.
pub(crate) struct Task {
    session: Pin<Box<dyn Future<Output = ()> + Send>>,
    turn: Arc<Turn>,
    socket: Arc<socket2::Socket>,
    /// Where the client is, for the log.
    span: tracing::Span,
    waker: Waker,
    /// Whether epoll(7) knows of the socket.
    pub(crate) is_registered: bool,
    id: u64,
}

impl Task {
    /// `wake` is called when work that the session waits for has ended.
    pub(crate) fn new(
        session: impl Future<Output = ()> + Send + 'static,
        turn: Arc<Turn>,
        socket: Arc<socket2::Socket>,
        span: tracing::Span,
        (id, waker): (u64, Waker),
    ) -> Self {
        Self { session: Box::pin(session), turn, socket, span, waker, is_registered: false, id }
    }

    /// What the poller calls it.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// What to wait for.
    pub(crate) fn socket(&self) -> &socket2::Socket {
        &self.socket
    }

    /// What its next turn is for, and for whom.
    pub(crate) fn next(&self) -> (Class, Party) {
        self.turn.next()
    }

    /// Runs the session until it pauses; none where it is over. A panic ends this session and harms no other.
    pub(crate) fn go_on(&mut self, is_ready: bool) -> Option<Pause> {
        let _span = self.span.enter();
        self.turn.begin(is_ready);
        let mut context = Context::from_waker(&self.waker);
        match catch_unwind(AssertUnwindSafe(|| self.session.as_mut().poll(&mut context))) {
            Ok(Poll::Pending) => Some(self.turn.take_pause().unwrap_or(Pause::Again)),
            Ok(Poll::Ready(())) => None,
            Err(_) => {
                tracing::error!("a session panicked: this is a defect of ftpish");
                None
            }
        }
    }

    /// Waits a little for the socket; whether it became ready.
    pub(crate) fn linger(&self, wait: Wait) -> bool {
        let limit = Timespec::try_from(LINGER).expect("it is short");
        let mut fds = [PollFd::new(&*self.socket, poll_flags(wait.readiness))];
        poll(&mut fds, Some(&limit)).is_ok_and(|ready| ready > 0)
    }
}
