//! One large file over several connections: its parts are taken by whoever is free, and what a connection could not do
//! because it broke is left to the others.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use ftpish_protocol::Code;
use ftpish_protocol::blocks::Blocks;

use crate::client::Options;
use crate::growth::{Change, Growth};
use crate::part::Part;
use crate::{Client, Error, Jobs, Progress};

/// From how many bytes on a file is worth several connections.
pub(crate) const SPLIT_FROM: u64 = 32 * 1024 * 1024;

/// How large a part is: small, so that all end at about the same time, and large beside what a request costs. A power of
/// two.
pub(crate) const PART: u64 = 8 * 1024 * 1024;

/// How many parts a connection is at: one more than moves, so that no round trip lies between two.
pub(crate) const AT_A_TIME: usize = 2;

/// The same where it has nobody to share them with.
pub(crate) const ALONE_AT_A_TIME: u64 = 8;

/// How often one of the others connects at the most.
const MOST_TRIES: u32 = 4;

/// How often it is looked whether another connection helps.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The parts of a file that have yet to move.
pub(crate) struct Parts {
    state: Mutex<State>,
    changed: Condvar,
    /// How many bytes there are by now, those that were there before among them.
    moved: AtomicU64,
    /// How many there will be.
    size: u64,
}

#[derive(Default)]
struct State {
    left: VecDeque<Part>,
    /// How many somebody is at.
    taken: usize,
    /// How many connections are there beside the one that leads.
    others: usize,
    /// How many of them are to leave.
    surplus: usize,
    ended: bool,
    stopped: bool,
    /// What was no connection's fault, so that another would be no better.
    failed: Option<Error>,
}

/// What becomes of the rest when the connection that leads breaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leader {
    /// The others end it.
    CanGo,
    /// Nothing comes of it.
    IsNeeded,
}

impl Parts {
    /// The parts of these ranges of a file, of which `kept` bytes are there.
    pub(crate) fn of(blocks: Blocks, ranges: &[Range<u64>], kept: u64) -> Self {
        // A subtree is not all of the file.
        let most = PART.max(blocks.block()).min(1 << (blocks.size() - 1).ilog2());
        let cut = ranges.iter().flat_map(|range| blocks.subtrees(range, most));
        let left = cut.map(|range| Part { range, attempt: 0 }).collect();
        Self {
            state: Mutex::new(State { left, ..State::default() }),
            changed: Condvar::new(),
            moved: AtomicU64::new(kept),
            size: blocks.size(),
        }
    }

    /// The next part; none where there is none left, or all is to stop.
    pub(crate) fn take(&self, client: &Client) -> Option<Part> {
        let mut state = self.state();
        let leads = client.jobs() != Jobs::ONE;
        let is_over = state.stopped || (state.surplus > 0 && !leads);
        let part = if is_over { None } else { state.left.pop_front() };
        state.taken += usize::from(part.is_some());
        part
    }

    /// Counts parts in that are not among those left: somebody has sent them already.
    pub(crate) fn adopt(&self, sent: usize) {
        self.state().taken += sent;
    }

    /// Whether these parts that somebody is at are all that has yet to move.
    pub(crate) fn are_but(&self, taken: usize) -> bool {
        let state = self.state();
        state.left.is_empty() && state.taken == taken && !state.stopped
    }

    /// Says that a part has moved.
    pub(crate) fn done(&self) {
        self.state().taken -= 1;
        self.changed.notify_all();
    }

    /// Leaves parts to others, of which not all has moved.
    pub(crate) fn give_back(&self, parts: impl IntoIterator<Item = Part>) {
        let mut state = self.state();
        for part in parts {
            state.taken -= 1;
            state.left.push_front(Part { attempt: part.attempt + 1, ..part });
        }
        self.changed.notify_all();
    }

    /// Whether all is to stop: nothing comes of it. A part of a file that has changed ends before that, so that the connection
    /// can move the file as a whole.
    pub(crate) fn are_stopped(&self) -> bool {
        let state = self.state();
        let has_changed = state.failed.as_ref().is_some_and(|error| error.code() == Some(Code::Changed));
        state.stopped && !has_changed
    }

    /// Counts bytes that have moved, or, of a part that is given back, have not.
    pub(crate) fn count(&self, before: u64, now: u64, progress: &Progress) {
        let all = self.moved.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        progress.set_done(all.wrapping_add(now).wrapping_sub(before));
    }

    fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    /// Whether one of the others is to leave, and is the one.
    fn leave(&self) -> bool {
        let mut state = self.state();
        let leaves = state.surplus > 0;
        state.surplus -= usize::from(leaves);
        leaves
    }

    /// Says that the connection that leads has nothing more to do.
    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Lets a moment pass; whether the end has come.
    fn passes(&self, moment: Duration) -> bool {
        let until = Instant::now() + moment;
        let mut state = self.state();
        while !state.ended {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn fail(&self, error: Error) {
        self.state().failed.get_or_insert(error);
        self.stop();
    }

    /// Waits until there is another part to do, or nobody is at one; whether there is one.
    fn wait(&self) -> bool {
        let busy = |state: &mut State| state.left.is_empty() && state.taken > 0 && !state.stopped;
        let state = self.changed.wait_while(self.state(), busy).unwrap_or_else(PoisonError::into_inner);
        !state.left.is_empty() && !state.stopped
    }

    /// Waits until the others have done all; whether they have.
    fn wait_for_others(&self) -> bool {
        let busy = |state: &mut State| {
            state.others > 0 && !state.stopped && (state.taken > 0 || !state.left.is_empty())
        };
        let state = self.changed.wait_while(self.state(), busy).unwrap_or_else(PoisonError::into_inner);
        !state.stopped && state.taken == 0 && state.left.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what it can take of the parts over a connection; what it has taken and not [done](Parts::done) it has given back.
pub(crate) type Work<'a> = dyn Fn(&mut Client, &Parts) -> Result<(), Error> + Sync + 'a;

/// Moves the parts: `work` does what it can take of them over a connection. An error of its own, as far as that may pass,
/// is the connection's; any other ends all.
pub(crate) fn spread(
    client: &mut Client,
    parts: &Parts,
    leader: Leader,
    work: &Work<'_>,
) -> Result<(), Error> {
    let options = client.another()?;
    let idle: Vec<Client> = std::iter::from_fn(|| client.idle()).collect();
    let (mut growth, most) = (Growth::new(client.jobs()), parts.state().left.len());
    if client.is_near() {
        growth.begin_near();
    }
    let led = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let enlist = |connected| {
                parts.state().others += 1;
                let options = &options;
                scope.spawn(move || help(connected, options, parts, work))
            };
            enlist_others(growth, idle, most, parts, enlist)
        });
        let led = lead(client, parts, leader, work);
        if led.is_err() {
            parts.stop();
        }
        parts.end();
        client.others = others.join().unwrap_or_default();
        led
    });
    match (led, parts.state().failed.take()) {
        // With another connection all may go well.
        (Err(error), _) if error.may_pass() => Err(error),
        (_, Some(failed)) => Err(failed),
        (led, None) => led,
    }
}

/// Has others do parts, too, as many as help. Their connections are there for a next time.
fn enlist_others<'scope>(
    mut growth: Growth,
    mut idle: Vec<Client>,
    most: usize,
    parts: &Parts,
    mut enlist: impl FnMut(Option<Client>) -> ScopedJoinHandle<'scope, Option<Client>>,
) -> Vec<Client> {
    let mut others = Vec::new();
    loop {
        while others.len() + 1 < growth.wanted().min(most) {
            others.push(enlist(idle.pop()));
        }
        if !growth.is_open() || parts.passes(LOOK_EVERY) {
            break;
        }
        let moved = parts.moved.load(Ordering::Relaxed);
        if growth.look(Instant::now(), moved, Some(parts.size.saturating_sub(moved))) == Change::Back {
            parts.state().surplus += 1;
        }
    }
    idle.extend(others.into_iter().filter_map(|other| other.join().unwrap_or_default()));
    idle
}

fn lead(client: &mut Client, parts: &Parts, leader: Leader, work: &Work<'_>) -> Result<(), Error> {
    loop {
        match work(client, parts) {
            Ok(()) if parts.wait() => {}
            Ok(()) => return Ok(()),
            Err(error) if leader == Leader::CanGo && error.may_pass() => {
                return if parts.wait_for_others() { Ok(()) } else { Err(error) };
            }
            Err(error) => return Err(error),
        }
    }
}

/// Does parts over further connections, one after the other, as long as each is of some use. The last is there for a next
/// time.
fn help(connected: Option<Client>, options: &Options, parts: &Parts, work: &Work<'_>) -> Option<Client> {
    let _left = Left(parts);
    let mut next = connected;
    for _ in 0..MOST_TRIES {
        let mut client = match next.take() {
            Some(client) => client,
            None => Client::connect(options).ok()?,
        };
        // Who is not let in is refused all else, and that would be no answer to what is asked.
        client.greet().ok()?;
        loop {
            match work(&mut client, parts) {
                Ok(()) if parts.leave() => return Some(client),
                Ok(()) if parts.wait() => {}
                Ok(()) => return Some(client).filter(|_| !parts.are_stopped()),
                Err(error) if error.may_pass() => break,
                Err(Error::Interrupted) => return None,
                // If that is so, it is told to the one that leads, too.
                Err(Error::Refused(_)) => return Some(client),
                Err(error) => {
                    parts.fail(error);
                    return None;
                }
            }
        }
    }
    None
}

/// Says that one of the others has left, be it by a panic.
struct Left<'a>(&'a Parts);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.state().others -= 1;
        if std::thread::panicking() {
            self.0.stop();
        }
        self.0.changed.notify_all();
    }
}
