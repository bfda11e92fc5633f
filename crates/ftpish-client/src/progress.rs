//! How far a transfer is, for whoever draws it: counters that are cheap to write and safe to read at any time.

use std::sync::atomic::{AtomicU64, Ordering};

/// One transfer's counters. The transfer writes them, any other thread may read them.
#[derive(Debug)]
pub struct Progress {
    done: AtomicU64,
    /// `u64::MAX` while it is not known.
    total: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { done: AtomicU64::new(0), total: AtomicU64::new(u64::MAX) }
    }
}

impl Progress {
    /// How many bytes have moved.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How many bytes there are to move, once it is known.
    pub fn total(&self) -> Option<u64> {
        match self.total.load(Ordering::Relaxed) {
            u64::MAX => None,
            total => Some(total),
        }
    }

    /// Notes how far it is. It never goes back: what a retry does again was done before.
    pub(crate) fn set_done(&self, done: u64) {
        self.done.fetch_max(done, Ordering::Relaxed);
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
}
