//! A session's turns on the threads of the server. A session is a future: where it would wait, for its client or for work
//! on the disk, it says for what and gives its thread back; and between two steps of long work it lets others have a turn.
//!
//! Deliberately elsewhere: whose turn it is (`workers`), and how a wait ends (`poller`).

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use ftpish_protocol::Meter;
use ftpish_transport::{Readiness, Wait};

use crate::job::Job;
use ftpish_service::Network;

/// How long a session has a thread while others wait for one. Many times what a change costs, and short enough that a
/// hundred busy sessions before another one are not noticed.
const SLICE: Duration = Duration::from_millis(10);

/// For whom work is done: what is shared is shared among these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    /// All connections of a user who logged in.
    User(Arc<str>),
    /// All connections from a network.
    Network(Network),
    /// All that come over Unix sockets.
    Local,
}

/// What kind of work a turn is for. Each kind has a bound of its own: see `workers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// A request that just came.
    Request,
    /// A client that has not said `hello` yet, or not logged in where that is needed.
    Greeting,
    /// A password to be hashed: it needs a buffer of which there are few.
    Password,
    /// A body that moves, and whatever else takes longer than a slice.
    Transfer,
    /// Work on the disk beside a session that waits for it.
    Disk,
    /// Hashing what nobody receives, which costs a processor.
    Digest,
}

/// Why a session gave its thread back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pause {
    /// It waits for its socket; with `linger`, that is expected to take no time.
    Socket { wait: Wait, linger: bool },
    /// It waits for work, or for a point in time.
    Until(Instant),
    /// It has more to do, and lets others come first.
    Again,
}

/// The threads, as a session sees them.
pub(crate) trait Threads: Send + Sync {
    /// Whether anybody waits for one.
    fn are_awaited(&self) -> bool;

    /// Has one do work on the disk, for a party.
    fn hand_over(self: Arc<Self>, party: Party, work: Work);
}

/// Work on the disk beside a session.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// What a session and the thread that runs it tell each other.
pub(crate) struct Turn {
    threads: Arc<dyn Threads>,
    state: Mutex<State>,
}

struct State {
    class: Class,
    party: Party,
    slice_ends: Instant,
    pause: Option<Pause>,
    /// Whether the socket was ready while the thread lingered.
    is_ready: bool,
}

impl Turn {
    pub(crate) fn new(threads: Arc<dyn Threads>, party: Party) -> Arc<Self> {
        let slice_ends = Instant::now();
        let state = State { class: Class::Greeting, party, slice_ends, pause: None, is_ready: false };
        Arc::new(Self { threads, state: Mutex::new(state) })
    }

    /// What the next turn is for, and for whom.
    pub(crate) fn next(&self) -> (Class, Party) {
        let state = self.lock();
        (state.class, state.party.clone())
    }

    /// Says what turns are for from the next one on.
    pub(crate) fn set_class(&self, class: Class) {
        self.lock().class = class;
    }

    /// Says for whom turns are from the next one on.
    pub(crate) fn set_party(&self, party: Party) {
        self.lock().party = party;
    }

    /// Begins a turn; `is_ready` says whether what was lingered for has come.
    pub(crate) fn begin(&self, is_ready: bool) {
        let mut state = self.lock();
        (state.slice_ends, state.is_ready) = (Instant::now() + SLICE, is_ready);
    }

    /// Why the session paused.
    pub(crate) fn take_pause(&self) -> Option<Pause> {
        self.lock().pause.take()
    }

    /// Lets others have a turn if any wait, and this one has lasted.
    pub(crate) async fn breathe(&self) {
        if self.is_over() {
            let class = self.next().0;
            if class == Class::Request {
                self.set_class(Class::Transfer);
            }
            self.pause(Pause::Again).await;
        }
    }

    /// Whether [`breathe`](Self::breathe) would let others come first.
    pub(crate) fn is_over(&self) -> bool {
        self.threads.are_awaited() && Instant::now() >= self.lock().slice_ends
    }

    /// Goes on as work of another kind, when there is a turn for that.
    pub(crate) async fn go_on_as(&self, class: Class) {
        self.set_class(class);
        self.pause(Pause::Again).await;
    }

    /// Waits for the socket for the little time that a thread is kept for it; whether that was enough. While others wait for
    /// a thread there is no such time.
    pub(crate) async fn linger(&self, wait: Wait) -> bool {
        self.pause(Pause::Socket { wait, linger: true }).await;
        self.lock().is_ready
    }

    /// Waits for the socket, without a thread.
    pub(crate) async fn rest(&self, wait: Wait) {
        self.pause(Pause::Socket { wait, linger: false }).await;
    }

    /// Waits, without a thread.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.pause(Pause::Until(Instant::now() + duration)).await;
    }

    async fn pause(&self, pause: Pause) {
        let mut pause = Some(pause);
        poll_fn(|_| match pause.take() {
            Some(pause) => {
                self.lock().pause = Some(pause);
                Poll::Pending
            }
            None => Poll::Ready(()),
        })
        .await;
    }

    /// Has `work` done on the disk by another thread. It may tell how many bytes are done, and can be told to stop.
    pub(crate) fn hand_over<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Meter) -> T + Send + 'static,
    ) -> Job<T> {
        let (job, run) = Job::new(work);
        Arc::clone(&self.threads).hand_over(self.next().1, Box::new(run));
        job
    }

    /// Whether a job has ended, as far as that is known by then.
    pub(crate) async fn is_done_by<T>(&self, job: &Job<T>, until: Instant) -> bool {
        poll_fn(|context| {
            if job.is_done_or_wakes(context.waker()) {
                return Poll::Ready(true);
            }
            if Instant::now() >= until {
                return Poll::Ready(false);
            }
            self.lock().pause = Some(Pause::Until(until));
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No call that is made while it is held panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flags of poll(2) for what a socket waits for.
pub(crate) fn poll_flags(readiness: Readiness) -> rustix::event::PollFlags {
    use rustix::event::PollFlags;
    match readiness {
        Readiness::Read => PollFlags::IN,
        Readiness::Write => PollFlags::OUT,
        Readiness::Hangup => PollFlags::empty(),
    }
}
