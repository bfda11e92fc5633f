//! The threads that run sessions, and do their work on the disk: made as they are needed, up to so many, and gone when they are
//! not. What comes when all have work waits, and parties take turns.
//!
//! Nobody can have them all. Each kind of work has a bound ([`Bounds`]), so that some threads are always left for requests
//! that have just come; and no party has more than half of them.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fair::FairQueue;
use crate::poller::Poller;
use crate::task::Task;
use crate::turn::{Class, Party, Pause, Threads, Work};

/// How long a thread waits for work before it ends.
const KEPT: Duration = Duration::from_secs(10);

/// What a thread needs of stack: many times what sessions use.
const STACK: usize = 1024 * 1024;

/// Every how many turns requests that just came are not preferred, so that they cannot keep all else waiting.
const UNPREFERRED: usize = 4;

/// How many threads there may be, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) threads: usize,
    /// For clients that have not logged in.
    pub(crate) greetings: usize,
    /// For passwords that are hashed.
    pub(crate) passwords: usize,
    /// For files that are hashed.
    pub(crate) digests: usize,
}

impl Bounds {
    /// How many threads are for nothing but requests that just came.
    fn reserved(self) -> usize {
        (self.threads / 8).max(1).min(self.threads - 1)
    }

    /// How many threads may do such work at a time.
    fn of(self, class: Class) -> usize {
        match class {
            Class::Request => self.threads,
            Class::Transfer => self.threads - self.reserved(),
            Class::Disk => self.threads.div_ceil(2),
            Class::Greeting => self.greetings,
            Class::Password => self.passwords,
            Class::Digest => self.digests,
        }
    }
}

/// The order in which work is taken up.
const ORDER: [Class; 6] =
    [Class::Request, Class::Greeting, Class::Password, Class::Disk, Class::Transfer, Class::Digest];

enum Item {
    Session(Task),
    Work(Work),
}

/// The threads, and what they have to do.
pub(crate) struct Workers {
    bounds: Bounds,
    poller: Arc<Poller>,
    queues: Mutex<Queues>,
    /// How much is queued.
    queued: AtomicUsize,
    more: Condvar,
}

#[derive(Default)]
struct Queues {
    waiting: HashMap<Class, FairQueue<Party, Item>>,
    /// How many threads are at each kind of work, and how many at that of each party.
    at: HashMap<Class, usize>,
    held: HashMap<Party, usize>,
    threads: usize,
    /// The threads that wait for work.
    free: usize,
    taken: usize,
    stopped: bool,
}

impl Queues {
    /// How many threads could begin such work now.
    fn room(&self, class: Class, bounds: Bounds) -> usize {
        let at = |class| self.at.get(&class).copied().unwrap_or(0);
        let room = bounds.of(class).saturating_sub(at(class));
        if class == Class::Request {
            return room;
        }
        let others: usize =
            self.at.iter().filter(|(class, _)| **class != Class::Request).map(|(_, n)| n).sum();
        room.min((bounds.threads - bounds.reserved()).saturating_sub(others))
    }

    /// How many threads could begin something now.
    fn ready(&self, bounds: Bounds) -> usize {
        self.waiting.iter().map(|(class, queue)| queue.len().min(self.room(*class, bounds))).sum()
    }

    fn push(&mut self, class: Class, party: Party, item: Item) {
        self.waiting.entry(class).or_default().push(party, item);
    }

    fn next(&mut self, bounds: Bounds) -> Option<(Class, Party, Item)> {
        self.taken = self.taken.wrapping_add(1);
        let first = if self.taken.is_multiple_of(UNPREFERRED) { self.taken / UNPREFERRED } else { 0 };
        let share = bounds.threads.div_ceil(2);
        for class in ORDER.into_iter().cycle().skip(first % ORDER.len()).take(ORDER.len()) {
            if self.room(class, bounds) == 0 {
                continue;
            }
            let Some(queue) = self.waiting.get_mut(&class) else { continue };
            let held = &self.held;
            let is_allowed = |party: &Party| held.get(party).is_none_or(|held| *held < share);
            if let Some((party, item)) = queue.pop(is_allowed) {
                *self.at.entry(class).or_default() += 1;
                *self.held.entry(party.clone()).or_default() += 1;
                return Some((class, party, item));
            }
        }
        None
    }

    /// A thread has ended what it did for a party.
    fn end(&mut self, class: Class, party: &Party) {
        if let Some(at) = self.at.get_mut(&class) {
            *at -= 1;
        }
        if let Some(held) = self.held.get_mut(party) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(party);
            }
        }
    }
}

impl Threads for Workers {
    fn are_awaited(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0
    }

    fn hand_over(self: Arc<Self>, party: Party, work: Work) {
        self.push(Class::Disk, party, Item::Work(work));
    }
}

impl Workers {
    /// Workers who let those rest in `poller` who wait.
    pub(crate) fn new(bounds: Bounds, poller: Arc<Poller>) -> Arc<Self> {
        let (queues, queued, more) = Default::default();
        Arc::new(Self { bounds, poller, queues, queued, more })
    }

    /// Has some thread go on with a session.
    pub(crate) fn serve(self: &Arc<Self>, task: Task) {
        let (class, party) = task.next();
        self.push(class, party, Item::Session(task));
    }

    fn push(self: &Arc<Self>, class: Class, party: Party, item: Item) {
        let mut queues = self.lock();
        queues.push(class, party, item);
        self.queued.fetch_add(1, Ordering::Relaxed);
        // One that is free takes one item, however often it is told.
        if queues.ready(self.bounds) > queues.free && queues.threads < self.bounds.threads {
            queues.threads += 1;
            drop(queues);
            if let Err(error) = self.spawn() {
                // Those that have work already come to it later; if there are none, the next one tries again.
                tracing::error!(%error, "cannot start a thread");
                self.lock().threads -= 1;
            }
        } else {
            drop(queues);
            self.more.notify_one();
        }
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let workers = Arc::clone(self);
        let thread = std::thread::Builder::new().name("worker".to_owned()).stack_size(STACK);
        thread.spawn(move || workers.work()).map(drop)
    }

    fn work(self: &Arc<Self>) {
        let mut ended = None;
        while let Some((class, party, item)) = self.next(ended.take()) {
            match item {
                Item::Work(work) => work(),
                Item::Session(task) => self.run(task),
            }
            ended = Some((class, party));
        }
    }

    /// Runs a session until it waits for something that takes longer, or lets others come first.
    fn run(self: &Arc<Self>, mut task: Task) {
        let mut is_ready = false;
        loop {
            match task.go_on(is_ready) {
                None => return self.poller.forget(&task),
                Some(Pause::Again) => return self.serve(task),
                Some(Pause::Until(until)) => return self.poller.rest_until(task, until),
                Some(Pause::Socket { wait, linger: true }) => {
                    is_ready = !self.are_awaited() && task.linger(wait);
                }
                Some(Pause::Socket { wait, linger: false }) => return self.poller.rest(task, wait),
            }
        }
    }

    /// Waits for work, when what was done before has ended; `None` where there was none for a while.
    fn next(&self, ended: Option<(Class, Party)>) -> Option<(Class, Party, Item)> {
        let mut queues = self.lock();
        if let Some((class, party)) = ended {
            queues.end(class, &party);
            // There may be room now for more than this thread takes.
            if queues.ready(self.bounds) > 1 && queues.free > 0 {
                self.more.notify_one();
            }
        }
        loop {
            if let Some(next) = queues.next(self.bounds) {
                self.queued.fetch_sub(1, Ordering::Relaxed);
                return Some(next);
            }
            if queues.stopped {
                break;
            }
            queues.free += 1;
            let waited = self.more.wait_timeout(queues, KEPT);
            let timed_out;
            (queues, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            queues.free -= 1;
            if timed_out.timed_out() && queues.ready(self.bounds) == 0 {
                break;
            }
        }
        queues.threads -= 1;
        None
    }

    /// Ends the threads when they have nothing left to do.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // No call that is made while it is held panics.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { threads: 16, greetings: 4, passwords: 2, digests: 2 };

    fn user(name: &str) -> Party {
        Party::User(name.into())
    }

    fn queued(items: impl IntoIterator<Item = (Class, Party)>) -> Queues {
        let mut queues = Queues::default();
        for (class, party) in items {
            queues.push(class, party, Item::Work(Box::new(|| {})));
        }
        queues
    }

    fn all(queues: &mut Queues) -> Vec<(Class, Party)> {
        std::iter::from_fn(|| queues.next(BOUNDS)).map(|(class, party, _)| (class, party)).collect()
    }

    #[test]
    fn each_kind_of_work_has_its_bound_and_requests_always_have_a_thread() {
        for (class, most) in
            [(Class::Greeting, 4), (Class::Password, 2), (Class::Digest, 2), (Class::Disk, 8)]
        {
            let mut queues = queued((0..30).map(|n| (class, user(&n.to_string()))));
            assert_eq!(all(&mut queues).len(), most, "{class:?}");
        }
        let everything = ORDER.into_iter().filter(|class| *class != Class::Request);
        let mut queues =
            queued(everything.flat_map(|class| (0..30).map(move |n| (class, user(&n.to_string())))));
        assert_eq!(all(&mut queues).len(), 14);
        queues.push(Class::Request, user("late"), Item::Work(Box::new(|| {})));
        assert_eq!(all(&mut queues), [(Class::Request, user("late"))]);
    }

    #[test]
    fn no_party_has_more_than_half_of_the_threads_and_each_takes_its_turn() {
        let crowd = || std::iter::repeat_n((Class::Transfer, user("greedy")), 30);
        let mut queues = queued(crowd().chain([(Class::Transfer, user("ada"))]));
        let begun = all(&mut queues);
        assert_eq!(begun.iter().filter(|(_, party)| *party == user("greedy")).count(), 8);
        assert_eq!(begun[1], (Class::Transfer, user("ada")));
        begun.iter().for_each(|(class, party)| queues.end(*class, party));
        assert!(queues.held.is_empty());
        assert_eq!(all(&mut queues).len(), 8);
    }

    #[test]
    fn a_flood_of_requests_does_not_keep_transfers_waiting() {
        let mut queues = queued(
            (0..12).map(|n| (Class::Request, user(&n.to_string()))).chain([(Class::Transfer, user("ada"))]),
        );
        assert!(
            all(&mut queues)[..ORDER.len() * UNPREFERRED.min(2)].contains(&(Class::Transfer, user("ada")))
        );
    }
}
