//! The connections that wait for their clients: each costs its memory and no thread. Readiness comes from epoll(7).
//!
//! Deliberately elsewhere: what is done for one that need not wait any more (`workers`).

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use crate::visit::{Visit, Woken};

/// How many connections are looked at in one go.
const EVENTS: usize = 256;

/// What the poller's own wake-up is called; connections are counted from 0.
const WAKE: u64 = u64::MAX;

/// The connections that rest.
pub(crate) struct Poller {
    epoll: OwnedFd,
    /// Written to when there is an earlier deadline than the one that is waited for.
    wake: OwnedFd,
    resting: Mutex<Resting>,
}

#[derive(Default)]
struct Resting {
    next: u64,
    visits: HashMap<u64, (Visit, Instant)>,
    /// All of `visits`, the most urgent first.
    deadlines: BTreeSet<(Instant, u64)>,
    stopped: bool,
}

impl Resting {
    fn take(&mut self, id: u64) -> Option<Visit> {
        let (visit, until) = self.visits.remove(&id)?;
        self.deadlines.remove(&(until, id));
        Some(visit)
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Self { epoll, wake, resting: Mutex::default() })
    }

    /// Lets a visit rest until its client sends something, or closes; or until the deadline.
    pub(crate) fn rest(&self, visit: Visit, until: Instant) {
        let socket = visit.socket();
        let mut resting = self.lock();
        let id = resting.next;
        resting.next += 1;
        let is_first = resting.deadlines.first().is_none_or(|(first, _)| until < *first);
        resting.visits.insert(id, (visit, until));
        resting.deadlines.insert((until, id));
        // While the lock is held nobody can take it before it is there.
        if let Err(error) = epoll::add(&self.epoll, &*socket, EventData::new_u64(id), EventFlags::IN) {
            let gone = resting.take(id);
            drop(resting);
            drop(gone);
            tracing::warn!(%error, "closed: the connection cannot be waited for");
            return;
        }
        drop(resting);
        if is_first {
            self.wake();
        }
    }

    /// Gives each visit to `ready` when it need not rest any more, until [`stop`](Self::stop).
    pub(crate) fn run(&self, ready: impl Fn(Visit, Woken)) -> io::Result<()> {
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
                } else if let Some(visit) = resting.take(event.data.u64()) {
                    woken.push((visit, Woken::Readable));
                }
            }
            let now = Instant::now();
            while let Some(&(until, id)) = resting.deadlines.first().filter(|(until, _)| *until <= now) {
                let late = resting.take(id);
                debug_assert!(late.is_some(), "a deadline of {until:?} is somebody's");
                woken.extend(late.map(|visit| (visit, Woken::Late)));
            }
            drop(resting);
            for (visit, why) in woken.drain(..) {
                if let Err(error) = epoll::delete(&self.epoll, &*visit.socket()) {
                    tracing::warn!(%error, "closed: the connection cannot be taken from those that wait");
                    continue;
                }
                ready(visit, why);
            }
        }
    }

    /// Ends [`run`](Self::run).
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
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
