//! The threads that serve: made as they are needed, up to so many, and gone when they are not. Whoever comes when all have
//! work waits for one.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::poller::Poller;
use crate::visit::{Then, Visit, Woken};

/// How long a thread waits for work before it ends.
const KEPT: Duration = Duration::from_secs(10);

/// How many threads there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MostWorkers {
    pub(crate) in_all: usize,
    /// How many of them are there for strangers, who have not logged in: the others are sure.
    pub(crate) for_strangers: usize,
}

/// The threads, and what they have to do.
pub(crate) struct Workers {
    most: MostWorkers,
    poller: Arc<Poller>,
    work: Mutex<Work>,
    more: Condvar,
}

#[derive(Default)]
struct Work {
    members: VecDeque<(Visit, Woken)>,
    strangers: VecDeque<(Visit, Woken)>,
    threads: usize,
    /// The threads that wait for work.
    free: usize,
    /// The threads that are at work for strangers.
    at_strangers: usize,
    stopped: bool,
}

impl Work {
    /// How many threads could begin something now.
    fn ready(&self, most: MostWorkers) -> usize {
        self.members.len() + self.strangers.len().min(most.for_strangers.saturating_sub(self.at_strangers))
    }

    fn next(&mut self, most: MostWorkers) -> Option<(Visit, Woken)> {
        if let Some(member) = self.members.pop_front() {
            return Some(member);
        }
        if self.at_strangers >= most.for_strangers {
            return None;
        }
        let stranger = self.strangers.pop_front()?;
        self.at_strangers += 1;
        Some(stranger)
    }
}

impl Workers {
    /// Workers who let those rest in `poller` who have nothing to say.
    pub(crate) fn new(most: MostWorkers, poller: Arc<Poller>) -> Arc<Self> {
        Arc::new(Self { most, poller, work: Mutex::default(), more: Condvar::new() })
    }

    /// Has somebody go on with a visit.
    pub(crate) fn serve(self: &Arc<Self>, visit: Visit, woken: Woken) {
        let mut work = self.lock();
        match visit.is_stranger() {
            true => work.strangers.push_back((visit, woken)),
            false => work.members.push_back((visit, woken)),
        }
        // One who is free takes one visit, however often it is told.
        if work.ready(self.most) > work.free && work.threads < self.most.in_all {
            work.threads += 1;
            drop(work);
            if let Err(error) = self.spawn() {
                // Those who have work already come to it later; if there are none, the next visit tries again.
                tracing::error!(%error, "cannot start a thread");
                self.lock().threads -= 1;
            }
        } else {
            drop(work);
            self.more.notify_one();
        }
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let workers = Arc::clone(self);
        std::thread::Builder::new().name("worker".to_owned()).spawn(move || workers.work()).map(drop)
    }

    fn work(&self) {
        while let Some((mut visit, mut woken)) = self.next() {
            let mut at_stranger = visit.is_stranger();
            loop {
                let then = visit.go_on(woken);
                if std::mem::take(&mut at_stranger) {
                    self.lock().at_strangers -= 1;
                    self.more.notify_one();
                }
                match then {
                    Then::Admitted(member) => (visit, woken) = (member, Woken::Readable),
                    Then::Rest(visit, until) => break self.poller.rest(visit, until),
                    Then::Over => break,
                }
            }
        }
    }

    /// Waits for work; `None` where there was none for a while.
    fn next(&self) -> Option<(Visit, Woken)> {
        let mut work = self.lock();
        loop {
            if let Some(next) = work.next(self.most) {
                return Some(next);
            }
            if work.stopped {
                break;
            }
            work.free += 1;
            let waited = self.more.wait_timeout(work, KEPT);
            let timed_out;
            (work, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            work.free -= 1;
            if timed_out.timed_out() && work.ready(self.most) == 0 {
                break;
            }
        }
        work.threads -= 1;
        None
    }

    /// Ends the threads when they have nothing left to do.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        // No call that is made while it is held panics.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
