//! How far a transfer is, for whoever draws it: counters that are cheap to write and safe to read at any time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The counters of one transfer, be it of one file or of many. The transfer writes them, any other thread may read them.
///
/// Where several connections move it, each has a `Progress` of its own beside it: a lane, whose bytes count for all.
#[derive(Debug, Default)]
pub struct Progress {
    whole: Arc<Whole>,
    /// Which lane this is.
    lane: u64,
    /// How far it is.
    at: Arc<AtomicU64>,
    /// What this lane had done before the file that is moving by itself, as a part.
    base: AtomicU64,
}

/// What all lanes have in common.
#[derive(Debug)]
struct Whole {
    done: AtomicU64,
    /// What was counted and has to be done again: it does not count a second time.
    owed: AtomicU64,
    /// `u64::MAX` while it is not known.
    total: AtomicU64,
    /// How many files are done.
    files: AtomicU64,
    /// Whether single files are parts of it: their sizes are not its total then.
    is_many: AtomicBool,
    /// Whether they come to be known by a walk.
    is_walked: AtomicBool,
    lanes: AtomicU64,
    /// The large file that moves on a lane.
    parts: Mutex<BTreeMap<u64, Moving>>,
}

#[derive(Debug)]
struct Moving {
    name: String,
    size: u64,
    base: u64,
    at: Arc<AtomicU64>,
}

/// A file among others that is large enough to be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which of the transfer's connections moves it: it moves one at a time.
    pub lane: u64,
    /// Its path.
    pub name: String,
    /// How many bytes it has.
    pub size: u64,
    /// How many of them have moved.
    pub done: u64,
}

impl Default for Whole {
    fn default() -> Self {
        Self {
            done: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            total: AtomicU64::new(u64::MAX),
            files: AtomicU64::new(0),
            is_many: AtomicBool::new(false),
            is_walked: AtomicBool::new(false),
            lanes: AtomicU64::new(0),
            parts: Mutex::default(),
        }
    }
}

impl Progress {
    /// Another lane of the same transfer.
    pub(crate) fn beside(&self) -> Self {
        let lane = self.whole.lanes.fetch_add(1, Ordering::Relaxed) + 1;
        Self { whole: Arc::clone(&self.whole), lane, ..Self::default() }
    }

    /// The same lane, for a second holder.
    pub(crate) fn same(&self) -> Self {
        let base = AtomicU64::new(self.base.load(Ordering::Relaxed));
        Self { whole: Arc::clone(&self.whole), lane: self.lane, at: Arc::clone(&self.at), base }
    }

    /// How many bytes have moved.
    pub fn done(&self) -> u64 {
        self.whole.done.load(Ordering::Relaxed)
    }

    /// How many files are done, where there are many.
    pub fn files(&self) -> u64 {
        self.whole.files.load(Ordering::Relaxed)
    }

    /// How many bytes there are to move, once it is known.
    pub fn total(&self) -> Option<u64> {
        match self.whole.total.load(Ordering::Relaxed) {
            u64::MAX => None,
            total => Some(total),
        }
    }

    /// Notes how far this lane is. It never goes back: what a retry does again was done before.
    pub(crate) fn reach(&self, done: u64) {
        let before = self.at.fetch_max(done, Ordering::Relaxed);
        let Some(more) = done.checked_sub(before) else { return };
        let owed = self.whole.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| {
            Some(owed.saturating_sub(more)).filter(|_| owed > 0)
        });
        let paid = owed.unwrap_or(0).min(more);
        self.whole.done.fetch_add(more - paid, Ordering::Relaxed);
    }

    /// Says that of what this lane has counted only so much was done: the rest is done again, here or on another lane.
    pub(crate) fn fall_back(&self, done: u64) {
        let before = self.at.fetch_min(done, Ordering::Relaxed);
        self.whole.owed.fetch_add(before.saturating_sub(done), Ordering::Relaxed);
    }

    /// Notes that one of many files is done.
    pub(crate) fn add_file(&self) {
        self.whole.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how far the file is that moves by itself.
    pub(crate) fn set_done(&self, done: u64) {
        self.reach(self.base.load(Ordering::Relaxed) + done);
    }

    /// Says how many bytes the file has that moves by itself.
    pub(crate) fn set_size(&self, size: u64) {
        if !self.is_many() {
            self.set_total(size);
        }
    }

    /// Says that single files are parts of this.
    pub(crate) fn begin_many(&self) {
        self.whole.is_many.store(true, Ordering::Relaxed);
    }

    /// The same of files that a walk tells of.
    pub(crate) fn begin_tree(&self) {
        self.begin_many();
        self.whole.is_walked.store(true, Ordering::Relaxed);
    }

    fn is_many(&self) -> bool {
        self.whole.is_many.load(Ordering::Relaxed)
    }

    /// Whether it is not yet known how much there is to move, because somebody still walks.
    pub fn is_scanning(&self) -> bool {
        self.whole.is_walked.load(Ordering::Relaxed) && self.total().is_none()
    }

    /// Says that the next file that moves by itself on this lane is a part of this, and what the lane had done before.
    pub(crate) fn begin_part(&self, name: String, size: u64, base: u64) {
        self.base.store(base, Ordering::Relaxed);
        if !self.is_many() {
            return;
        }
        self.parts_by_lane().insert(self.lane, Moving { name, size, base, at: Arc::clone(&self.at) });
    }

    /// Says that it has moved, or will not.
    pub(crate) fn end_part(&self) {
        self.parts_by_lane().remove(&self.lane);
    }

    /// The large files that are moving, among many.
    pub fn parts(&self) -> Vec<Part> {
        let part = |(lane, moving): (&u64, &Moving)| {
            let done = moving.at.load(Ordering::Relaxed).saturating_sub(moving.base);
            Part { lane: *lane, name: moving.name.clone(), size: moving.size, done: done.min(moving.size) }
        };
        self.parts_by_lane().iter().map(part).collect()
    }

    fn parts_by_lane(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Moving>> {
        self.whole.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how many bytes there are to move. Whoever moves many files knows better than the transfer of each.
    pub fn set_total(&self, total: u64) {
        self.whole.total.store(total, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_retry_does_again_was_done_before() {
        let progress = Progress::default();
        progress.set_done(5);
        progress.set_done(3);
        assert_eq!((progress.done(), progress.total()), (5, None));
    }

    #[test]
    fn a_part_adds_to_the_whole_and_does_not_say_how_much_that_is() {
        let progress = Progress::default();
        progress.set_total(100);
        progress.begin_tree();
        progress.reach(50);
        progress.begin_part("f".to_owned(), 7, 50);
        progress.set_size(7);
        progress.set_done(6);
        assert_eq!((progress.done(), progress.total()), (56, Some(100)));
        assert_eq!(progress.parts(), [Part { lane: 0, name: "f".to_owned(), size: 7, done: 6 }]);
        progress.end_part();
        assert_eq!(progress.parts(), []);
    }

    #[test]
    fn lanes_add_up_and_what_one_lost_counts_once() {
        let progress = Progress::default();
        let (one, other) = (progress.beside(), progress.beside());
        progress.reach(1);
        one.reach(20);
        other.reach(300);
        assert_eq!(progress.done(), 321);
        one.fall_back(5);
        assert_eq!(progress.done(), 321, "it goes only forwards");
        other.reach(310);
        assert_eq!(progress.done(), 321);
        one.reach(12);
        assert_eq!(progress.done(), 323);
    }
}
