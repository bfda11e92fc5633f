//! A large file in parts. The lane that has begun it is its home; lanes that have nothing else to do take parts, too, as
//! guests. What a lane could not move because it broke is left to the others.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ftpish_protocol::Code;
use ftpish_protocol::blocks::{BlockDigest, Blocks};

use crate::{Client, Error, Progress};

/// The size of a part in bytes: small, so that all lanes end at about the same time, and large beside what a request
/// costs. A power of two.
pub(crate) const PART: u64 = 8 * 1024 * 1024;

/// Parts in flight per lane. The second one hides the round trip.
pub(crate) const AT_A_TIME: usize = 2;

/// The same where there is one lane only.
pub(crate) const ALONE_AT_A_TIME: u64 = 8;

/// A range of a file, and how often it was given back.
pub(crate) struct Part {
    pub(crate) range: Range<u64>,
    pub(crate) attempt: u64,
}

/// A part that was sent, and that the server has not answered.
pub(crate) struct Leaves {
    pub(crate) id: u64,
    pub(crate) part: Part,
    /// The digests of its blocks; or why it was not sent to its end.
    pub(crate) digests: Result<Digests, Error>,
}

impl Leaves {
    pub(crate) fn length(&self) -> u64 {
        self.part.range.end - self.part.range.start
    }
}

/// The digests of blocks, by their numbers.
pub(crate) type Digests = Vec<(usize, BlockDigest)>;

/// A large file that moves in parts, either way.
pub(crate) trait InParts: Send + Sync {
    /// What of it has yet to move.
    fn parts(&self) -> &Parts;

    /// Moves as many parts as `share` allows. Parts that it took and did not [finish](Parts::done) it has given back.
    fn move_parts(&self, client: &mut Client, share: Share<'_>) -> Result<(), Error>;
}

/// Who hears of parts.
pub(crate) trait Watcher: Send + Sync {
    /// Bytes have moved, or, modulo 2^64, have not.
    fn count(&self, more: u64);

    /// Lanes that wait may have something to do.
    fn notify(&self);
}

/// How much of a large file a lane takes.
#[derive(Clone, Copy)]
pub(crate) enum Share<'a> {
    /// All there is: the file is at home here.
    Home,
    /// Parts as long as this says so.
    Guest(&'a dyn Fn() -> bool),
}

impl Share<'_> {
    pub(crate) fn is_home(self) -> bool {
        matches!(self, Self::Home)
    }
}

/// What becomes of the rest when the home lane breaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// The guests end it.
    CanGo,
    /// Nothing comes of it.
    IsNeeded,
}

/// The parts of a file that have yet to move.
pub(crate) struct Parts {
    watcher: Arc<dyn Watcher>,
    progress: Progress,
    state: Mutex<State>,
    changed: Condvar,
    /// How many bytes there are by now, those that were there before among them.
    moved: AtomicU64,
}

#[derive(Default)]
struct State {
    left: VecDeque<Part>,
    /// How many parts lanes are at.
    taken: usize,
    guests: usize,
    stopped: bool,
    /// What was no lane's fault, so that another lane would be no better.
    failed: Option<Error>,
}

impl Parts {
    /// The parts of these ranges of a file, of which `kept` bytes are there.
    pub(crate) fn of(
        blocks: Blocks,
        ranges: &[Range<u64>],
        kept: u64,
        watcher: &(impl Watcher + Clone + 'static),
        progress: &Progress,
    ) -> Self {
        // A subtree is not all of the file.
        let most = PART.max(blocks.block()).min(1 << (blocks.size() - 1).ilog2());
        let cut = ranges.iter().flat_map(|range| blocks.subtrees(range, most));
        let left = cut.map(|range| Part { range, attempt: 0 }).collect();
        Self {
            watcher: Arc::new(watcher.clone()),
            progress: progress.same(),
            state: Mutex::new(State { left, ..State::default() }),
            changed: Condvar::new(),
            moved: AtomicU64::new(kept),
        }
    }

    /// The next part; none where there is none left for this lane.
    pub(crate) fn take(&self, share: Share<'_>) -> Option<Part> {
        if let Share::Guest(may_stay) = share
            && !may_stay()
        {
            return None;
        }
        let mut state = self.state();
        let part = if state.stopped { None } else { state.left.pop_front() };
        state.taken += usize::from(part.is_some());
        part
    }

    /// Counts parts in that are not among those left: they were sent before.
    pub(crate) fn adopt(&self, sent: usize) {
        self.state().taken += sent;
    }

    /// Whether these parts that a lane is at are all that has yet to move.
    pub(crate) fn are_but(&self, taken: usize) -> bool {
        let state = self.state();
        state.left.is_empty() && state.taken == taken && !state.stopped
    }

    /// Whether there are some that no lane is at.
    pub(crate) fn has_left(&self) -> bool {
        let state = self.state();
        !state.left.is_empty() && !state.stopped
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
        drop(state);
        self.changed.notify_all();
        self.watcher.notify();
    }

    /// Whether all is to stop: nothing comes of it. A part of a file that has changed ends before that, so that the connection
    /// can move the file as a whole.
    pub(crate) fn are_stopped(&self) -> bool {
        let state = self.state();
        let has_changed = state.failed.as_ref().is_some_and(|error| error.code() == Some(Code::Changed));
        state.stopped && !has_changed
    }

    /// Counts bytes that have moved, or, of a part that is given back, have not.
    pub(crate) fn count(&self, before: u64, now: u64) {
        let more = now.wrapping_sub(before);
        let all = self.moved.fetch_add(more, Ordering::Relaxed);
        self.progress.set_done(all.wrapping_add(more));
        self.watcher.count(more);
    }

    /// Lets no lane take any more, and ends what they are at.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    /// What has ended the file, if it was no lane's fault.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state().failed.take()
    }

    /// Why the file failed, where its home lane failed so. An error that may pass is the lane's own: all may go well over
    /// another connection. Any other may be no more than that a guest has stopped all, for a reason that counts.
    pub(crate) fn blame(&self, error: Error) -> Error {
        if error.may_pass() { error } else { self.failure().unwrap_or(error) }
    }

    fn fail(&self, error: Error) {
        self.state().failed.get_or_insert(error);
        self.stop();
    }

    /// Waits until there is another part to do, or no lane is at one; whether there is one.
    pub(crate) fn wait(&self) -> bool {
        let busy = |state: &mut State| state.left.is_empty() && state.taken > 0 && !state.stopped;
        let state = self.changed.wait_while(self.state(), busy).unwrap_or_else(PoisonError::into_inner);
        !state.left.is_empty() && !state.stopped
    }

    /// Waits until the guests have done all; whether they have.
    pub(crate) fn wait_for_guests(&self) -> bool {
        let busy = |state: &mut State| {
            state.guests > 0 && !state.stopped && (state.taken > 0 || !state.left.is_empty())
        };
        let state = self.changed.wait_while(self.state(), busy).unwrap_or_else(PoisonError::into_inner);
        !state.stopped && state.taken == 0 && state.left.is_empty()
    }

    /// Waits until no guest is left.
    pub(crate) fn wait_until_left(&self) {
        let busy = |state: &mut State| state.guests > 0;
        drop(self.changed.wait_while(self.state(), busy).unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No call that is made while it is held panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guest of a file, until this is dropped.
pub(crate) struct Guest(Arc<dyn InParts>);

impl Guest {
    pub(crate) fn of(file: &Arc<dyn InParts>) -> Self {
        file.parts().state().guests += 1;
        Self(Arc::clone(file))
    }

    /// Moves parts as long as `may_stay` says so. Whether more of this file is of use for this lane.
    pub(crate) fn move_parts(&self, client: &mut Client, may_stay: &dyn Fn() -> bool) -> bool {
        match self.0.move_parts(client, Share::Guest(may_stay)) {
            Ok(()) => true,
            Err(error) if error.may_pass() || matches!(error, Error::Interrupted) => true,
            // If that is so, the home lane is told, too.
            Err(Error::Refused(_)) => false,
            Err(error) => {
                self.0.parts().fail(error);
                false
            }
        }
    }

    /// Which file it is.
    pub(crate) fn file(&self) -> &Arc<dyn InParts> {
        &self.0
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let parts = self.0.parts();
        parts.state().guests -= 1;
        if std::thread::panicking() {
            parts.stop();
        }
        parts.changed.notify_all();
    }
}
