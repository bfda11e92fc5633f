//! The connections that wait, for their clients or for work on the disk: each costs its memory and no thread. Readiness
//! comes from epoll(7).
//!
//! Deliberately elsewhere: what is done for one that need not wait any more (`workers`).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

use ftpish_transport::{Readiness, Wait};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use crate::task::Task;

/// How many connections are looked at in one go.
const EVENTS: usize = 256;

/// What the poller's own wake-up is called; tasks are counted from 0.
const WAKE: u64 = u64::MAX;

/// The tasks that rest.
pub(crate) struct Poller {
    epoll: OwnedFd,
    /// Written to when there is an earlier deadline than the one that is waited for, or a task was woken.
    wake: OwnedFd,
    next: AtomicU64,
    resting: Mutex<Resting>,
}

#[derive(Default)]
struct Resting {
    tasks: HashMap<u64, (Task, Instant)>,
    /// All of `tasks`, the most urgent first.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Those whose work has ended: before they came to rest, or since.
    woken: HashSet<u64>,
    stopped: bool,
}

impl Resting {
    fn take(&mut self, id: u64) -> Option<Task> {
        let (task, until) = self.tasks.remove(&id)?;
        self.deadlines.remove(&(until, id));
        Some(task)
    }
}

/// Ends the rest of one task.
struct Waking {
    poller: Arc<Poller>,
    id: u64,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        let mut resting = self.poller.lock();
        resting.woken.insert(self.id);
        if resting.tasks.contains_key(&self.id) {
            self.poller.wake();
        }
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Self { epoll, wake, next: AtomicU64::new(0), resting: Mutex::default() })
    }

    /// What a new task is called here, and what wakes it.
    pub(crate) fn name(self: &Arc<Self>) -> (u64, Waker) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        (id, Waker::from(Arc::new(Waking { poller: Arc::clone(self), id })))
    }

    /// Lets a task rest until its socket is ready, or until a point in time.
    pub(crate) fn rest(&self, mut task: Task, wait: Wait) {
        let flags = match wait.readiness {
            Readiness::Read => EventFlags::IN,
            Readiness::Write => EventFlags::OUT,
            Readiness::Hangup => EventFlags::empty(),
        };
        let (id, flags) = (task.id(), flags | EventFlags::ONESHOT);
        let is_new = !std::mem::replace(&mut task.is_registered, true);
        let mut resting = self.lock();
        // While the lock is held nobody can take it before it is there.
        let armed = if is_new {
            epoll::add(&self.epoll, task.socket(), EventData::new_u64(id), flags)
        } else {
            epoll::modify(&self.epoll, task.socket(), EventData::new_u64(id), flags)
        };
        match armed {
            Ok(()) => self.keep(resting, task, wait.until),
            Err(error) => {
                resting.woken.remove(&id);
                drop(resting);
                tracing::warn!(%error, "closed: the connection cannot be waited for");
            }
        }
    }

    /// Lets a task rest until it is woken, or until a point in time.
    pub(crate) fn rest_until(&self, task: Task, until: Instant) {
        self.keep(self.lock(), task, until);
    }

    fn keep(&self, mut resting: MutexGuard<'_, Resting>, task: Task, until: Instant) {
        if resting.stopped {
            // What a session lets go of may come back here.
            drop(resting);
            return;
        }
        let id = task.id();
        let is_first = resting.deadlines.first().is_none_or(|(first, _)| until < *first);
        let is_woken = resting.woken.contains(&id);
        resting.tasks.insert(id, (task, until));
        resting.deadlines.insert((until, id));
        drop(resting);
        if is_first || is_woken {
            self.wake();
        }
    }

    /// Takes note that a task is over.
    pub(crate) fn forget(&self, task: &Task) {
        self.lock().woken.remove(&task.id());
    }

    /// Gives each task to `ready` when it need not rest any more, until [`stop`](Self::stop).
    pub(crate) fn run(&self, ready: impl Fn(Task)) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let mut woken = Vec::new();
        loop {
            let next = match &*self.lock() {
                Resting { stopped: true, .. } => return Ok(()),
                resting => resting.deadlines.first().map(|(until, _)| *until),
            };
            let left = next.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.map(|left| Timespec::try_from(left).expect("no deadline is so far away"));
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut resting = self.lock();
            for event in &events {
                if event.data.u64() == WAKE {
                    let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                } else {
                    woken.extend(resting.take(event.data.u64()));
                }
            }
            let due: Vec<u64> =
                resting.woken.iter().copied().filter(|id| resting.tasks.contains_key(id)).collect();
            for id in due {
                resting.woken.remove(&id);
                woken.extend(resting.take(id));
            }
            let now = Instant::now();
            while let Some(&(_, id)) = resting.deadlines.first().filter(|(until, _)| *until <= now) {
                woken.extend(resting.take(id));
            }
            drop(resting);
            woken.drain(..).for_each(&ready);
        }
    }

    /// Ends [`run`](Self::run), and every task that rests.
    pub(crate) fn stop(&self) {
        let mut resting = self.lock();
        resting.stopped = true;
        let tasks = std::mem::take(&mut resting.tasks);
        resting.deadlines.clear();
        drop(resting);
        drop(tasks);
        self.wake();
    }

    fn wake(&self) {
        // It can only fail because nobody has read what was written 2^64 times before.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Resting> {
        // No call that is made while it is held panics.
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
