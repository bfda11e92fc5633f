//! How far a transfer is, for whoever draws it: counters that are cheap to write and safe to read at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The counters of one transfer, be it of one file or of many. The transfer writes them, any other thread may read them.
#[derive(Debug)]
pub struct Progress {
    done: AtomicU64,
    /// `u64::MAX` while it is not known.
    total: AtomicU64,
    /// How many files are done.
    files: AtomicU64,
    /// Whether single files are parts of it: their sizes are not its total then.
    is_tree: AtomicBool,
    /// What was done before the file that is moving by itself, as a part.
    base: AtomicU64,
    part: Mutex<Option<Part>>,
}

/// A file among others that is large enough to be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its path.
    pub name: String,
    /// What was done before it.
    pub base: u64,
    /// How many bytes it has.
    pub size: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            done: AtomicU64::new(0),
            total: AtomicU64::new(u64::MAX),
            files: AtomicU64::new(0),
            is_tree: AtomicBool::new(false),
            base: AtomicU64::new(0),
            part: Mutex::default(),
        }
    }
}

impl Progress {
    /// How many bytes have moved.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How many files are done, where there are many.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// How many bytes there are to move, once it is known.
    pub fn total(&self) -> Option<u64> {
        match self.total.load(Ordering::Relaxed) {
            u64::MAX => None,
            total => Some(total),
        }
    }

    /// Notes how far it is. It never goes back: what a retry does again was done before.
    pub(crate) fn reach(&self, done: u64) {
        self.done.fetch_max(done, Ordering::Relaxed);
    }

    /// Notes that one of many files is done.
    pub(crate) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how far the file is that moves by itself.
    pub(crate) fn set_done(&self, done: u64) {
        self.reach(self.base.load(Ordering::Relaxed) + done);
    }

    /// Says how many bytes the file has that moves by itself.
    pub(crate) fn set_size(&self, size: u64) {
        if !self.is_tree.load(Ordering::Relaxed) {
            self.set_total(size);
        }
    }

    /// Says that single files are parts of this.
    pub(crate) fn begin_tree(&self) {
        self.is_tree.store(true, Ordering::Relaxed);
    }

    /// Whether it is not yet known how much there is to move, because somebody still walks.
    pub fn is_scanning(&self) -> bool {
        self.is_tree.load(Ordering::Relaxed) && self.total().is_none()
    }

    /// Says that the next file that moves by itself is a part of this.
    pub(crate) fn begin_part(&self, part: Part) {
        self.base.store(part.base, Ordering::Relaxed);
        *self.part.lock().unwrap_or_else(PoisonError::into_inner) = Some(part);
    }

    /// Says that it has moved, or will not.
    pub(crate) fn end_part(&self) {
        *self.part.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The large file that is moving, among many.
    pub fn part(&self) -> Option<Part> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says how many bytes there are to move. Whoever moves many files knows better than the transfer of each.
    pub fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
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
        progress.begin_part(Part { name: "f".to_owned(), base: 50, size: 7 });
        progress.set_size(7);
        progress.set_done(7);
        assert_eq!((progress.done(), progress.total()), (57, Some(100)));
    }
}
