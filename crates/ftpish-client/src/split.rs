//! One large file over several connections: its parts are taken by whoever is free, and what a connection could not do
//! because it broke is left to the others.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ftpish_protocol::blocks::Blocks;

use crate::client::Options;
use crate::{Client, Error, Progress};

/// From how many bytes on a file is worth several connections.
pub(crate) const SPLIT_FROM: u64 = 32 * 1024 * 1024;

/// How large a part is: small, so that all end at about the same time, and large beside what a request costs. A power of
/// two.
const PART: u64 = 8 * 1024 * 1024;

/// How many parts a connection is at: one more than moves, so that no round trip lies between two.
pub(crate) const AT_A_TIME: usize = 2;

/// How often one of the others connects at the most.
const MOST_TRIES: u32 = 4;

/// The parts of a file that have yet to move.
pub(crate) struct Parts {
    state: Mutex<State>,
    changed: Condvar,
    /// How many bytes there are by now, those that were there before among them.
    moved: AtomicU64,
}

/// One of them, and how often it was given back.
pub(crate) struct Part {
    pub(crate) range: Range<u64>,
    pub(crate) attempt: u64,
}

#[derive(Default)]
struct State {
    left: VecDeque<Part>,
    /// How many somebody is at.
    taken: usize,
    /// How many connections are there beside the one that leads.
    others: usize,
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
        let most = PART.max(blocks.block());
        let cut = ranges.iter().flat_map(|range| blocks.subtrees(range, most));
        let left = cut.map(|range| Part { range, attempt: 0 }).collect();
        Self {
            state: Mutex::new(State { left, ..State::default() }),
            changed: Condvar::new(),
            moved: AtomicU64::new(kept),
        }
    }

    /// The next part; none where there is none left, or all is to stop.
    pub(crate) fn take(&self) -> Option<Part> {
        let mut state = self.state();
        let part = if state.stopped { None } else { state.left.pop_front() };
        state.taken += usize::from(part.is_some());
        part
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

    /// Whether all is to stop: nothing comes of it.
    pub(crate) fn are_stopped(&self) -> bool {
        self.state().stopped
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
    let others = (client.jobs() - 1).min(parts.state().left.len().saturating_sub(1));
    let options = client.another()?;
    parts.state().others = others;
    let led = std::thread::scope(|scope| {
        let helping: Vec<_> = (0..others)
            .map(|_| {
                let (options, connected) = (&options, client.idle());
                scope.spawn(move || help(connected, options, parts, work))
            })
            .collect();
        let led = lead(client, parts, leader, work);
        if led.is_err() {
            parts.stop();
        }
        client.others.extend(helping.into_iter().filter_map(|helper| helper.join().unwrap_or_default()));
        led
    });
    match (led, parts.state().failed.take()) {
        // With another connection all may go well.
        (Err(error), _) if error.may_pass() => Err(error),
        (_, Some(failed)) => Err(failed),
        (led, None) => led,
    }
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
