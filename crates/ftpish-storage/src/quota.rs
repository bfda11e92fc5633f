//! How much may lie in a root, in bytes and in names: a bound that holds whoever puts it there, and however many do so at
//! once.
//!
//! A [`Ledger`] is an upper bound of what a directory holds: what was counted, and what those claim who are at work.
//! Whoever makes something claims it first. Nothing is ever taken off for what was removed or replaced; a claim that
//! does not fit has the directory counted anew, and only then is it refused. So nothing but the making needs to be
//! watched, and no mistake about what went can let more in.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cap_std::fs::MetadataExt as _;
use ftpish_protocol::{Code, Refusal};

use crate::count::{FileId, Usage, count};
use crate::dir::Directory;
use crate::{Outcome, refuse};

/// Where nothing is known to have gone, a count is not repeated before so many times have passed as it took: what others
/// did beside this process is noticed, and counting takes a twentieth of the time at the most.
const REST: u32 = 20;

/// How much may lie in a root. What is `None` has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// The bytes of all regular files, each as long as it looks, holes or not.
    pub bytes: Option<NonZeroU64>,
    /// The names of whatever kind: files, links, directories. A file with two names counts twice, its bytes too.
    pub names: Option<NonZeroU64>,
}

impl Quota {
    /// Whether nothing is bounded.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn admits(&self, usage: Usage) -> bool {
        self.bytes.is_none_or(|most| usage.bytes <= most.get().into())
            && self.names.is_none_or(|most| usage.names <= most.get())
    }
}

/// The directories that are bounded: those who share one share what is known of it.
#[derive(Debug, Default)]
pub struct Ledgers(Mutex<HashMap<FileId, Arc<Ledger>>>);

impl Ledgers {
    /// The ledger of a directory.
    pub(crate) fn of(&self, dir: &Arc<Directory>) -> Outcome<Arc<Ledger>> {
        let metadata = dir.dir_metadata().map_err(refuse)?;
        let mut ledgers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As long as the ledger holds the directory open, no other one gets its inode.
        let ledger =
            ledgers.entry((metadata.dev(), metadata.ino())).or_insert_with(|| Ledger::new(dir).into());
        Ok(Arc::clone(ledger))
    }
}

/// What is known of a directory.
#[derive(Debug)]
pub(crate) struct Ledger {
    dir: Arc<Directory>,
    /// Locked while the directory is counted.
    book: Mutex<Book>,
    /// Whether something may have gone since the last count began.
    gone: AtomicBool,
    /// Whether others may have been at it since.
    doubted: AtomicBool,
    /// Whether it is being counted now, which may take seconds.
    counting: AtomicBool,
}

#[derive(Debug, Default)]
struct Book {
    /// What lies there and is nobody's claim, or more.
    counted: Usage,
    /// What the claims come to.
    live: Usage,
    /// The files of the claims, which no count counts.
    files: HashSet<FileId>,
    /// How many counts there were.
    counts: u64,
    /// When the last count ended, and how long it took.
    last: Option<(Instant, Duration)>,
}

impl Book {
    fn used(&self) -> Usage {
        self.counted.with(self.live)
    }

    fn is_old(&self) -> bool {
        self.last.is_none_or(|(ended, took)| ended.elapsed() >= took * REST)
    }
}

impl Ledger {
    fn new(dir: &Arc<Directory>) -> Self {
        let (book, gone, doubted, counting) = Default::default();
        Self { dir: Arc::clone(dir), book, gone, doubted, counting }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, book: &mut Book) -> Outcome<()> {
        // What goes meanwhile may have been counted.
        self.gone.store(false, Ordering::SeqCst);
        self.doubted.store(false, Ordering::SeqCst);
        let began = Instant::now();
        book.counts += 1;
        self.counting.store(true, Ordering::SeqCst);
        let counted = count(&self.dir, &book.files);
        self.counting.store(false, Ordering::SeqCst);
        match counted {
            Ok(counted) => {
                let took = began.elapsed();
                (book.counted, book.last) = (counted, Some((Instant::now(), took)));
                tracing::debug!(?counted, ?took, "counted for a quota");
                Ok(())
            }
            Err(refusal) => {
                self.gone.store(true, Ordering::SeqCst);
                Err(refusal)
            }
        }
    }
}

/// A ledger, as somebody with a quota uses it.
#[derive(Debug)]
pub(crate) struct Bound {
    ledger: Arc<Ledger>,
    quota: Quota,
}

impl Bound {
    pub(crate) fn new(ledger: Arc<Ledger>, quota: Quota) -> Self {
        Self { ledger, quota }
    }

    pub(crate) fn quota(&self) -> Quota {
        self.quota
    }

    /// Claims one name. It is to be claimed before it is made.
    pub(crate) fn claim(self: &Arc<Self>) -> Outcome<Claim> {
        let name = Usage { bytes: 0, names: 1 };
        let counts = self.take(name)?;
        Ok(Claim { bound: Arc::clone(self), file: None, counts, claimed: name, left: Cell::default() })
    }

    /// Claims a file that is there already, and that grows from now on.
    pub(crate) fn claim_again(self: &Arc<Self>, file: FileId, bytes: u64) -> Outcome<Claim> {
        let claimed = Usage { bytes: bytes.into(), names: 1 };
        self.ledger.book().files.insert(file);
        // It was counted as what lies there, which it is no more.
        self.note_gone();
        let counts = self.take(claimed).inspect_err(|_| {
            let mut book = self.ledger.book();
            book.files.remove(&file);
            book.counted.add(claimed);
        })?;
        let (bound, left) = (Arc::clone(self), Cell::new(claimed));
        Ok(Claim { bound, file: Some(file), counts, claimed, left })
    }

    /// What is used, or a little more.
    pub(crate) fn used(&self) -> Outcome<u128> {
        let mut book = self.ledger.book();
        if book.is_old() || self.ledger.gone.load(Ordering::SeqCst) {
            self.ledger.count(&mut book)?;
        }
        Ok(book.used().bytes)
    }

    /// Whether a claim of a name and so many bytes is likely to take longer than a moment.
    pub(crate) fn is_slow(&self, bytes: u64) -> bool {
        self.ledger.counting.load(Ordering::SeqCst)
            || self.is_to_count(&self.ledger.book(), Usage { bytes: bytes.into(), names: 1 })
    }

    /// Does what takes long of such a claim. That it fails is for the claim to tell.
    pub(crate) fn prepare(&self, bytes: u64) {
        let mut book = self.ledger.book();
        if self.is_to_count(&book, Usage { bytes: bytes.into(), names: 1 }) {
            let _ = self.ledger.count(&mut book);
        }
    }

    /// Something may have gone, by now.
    pub(crate) fn note_gone(&self) {
        self.ledger.gone.store(true, Ordering::SeqCst);
    }

    /// Others may have been at it unseen.
    pub(crate) fn doubt(&self) {
        self.ledger.doubted.store(true, Ordering::SeqCst);
    }

    /// As long as this is held nothing is counted, so that what is renamed is not missed.
    pub(crate) fn still(&self) -> impl Drop + use<'_> {
        self.ledger.book()
    }

    /// Adds to what is claimed, if it fits; how many counts there were by then.
    fn take(&self, more: Usage) -> Outcome<u64> {
        let mut book = self.ledger.book();
        if self.is_to_count(&book, more) {
            self.ledger.count(&mut book)?;
        }
        if !self.quota.admits(book.used().with(more)) {
            return Err(self.refusal(book.used(), more));
        }
        book.live.add(more);
        Ok(book.counts)
    }

    fn is_to_count(&self, book: &Book, more: Usage) -> bool {
        let fits = self.quota.admits(book.used().with(more));
        // No count makes room for more than all there may be.
        let is_hopeless = !self.quota.admits(more);
        let has_gone = || self.ledger.gone.load(Ordering::SeqCst);
        let is_doubted = || self.ledger.doubted.load(Ordering::SeqCst);
        !self.quota.is_none()
            && (book.last.is_none()
                || !fits && !is_hopeless && (book.is_old() || has_gone())
                || is_doubted() && book.is_old())
    }

    fn refusal(&self, used: Usage, more: Usage) -> Refusal {
        let line = match (self.quota.bytes, self.quota.names) {
            (_, Some(most)) if used.names + more.names > most.get() => {
                format!("over the quota: {} of {most} files, links and directories are used", used.names)
            }
            (Some(most), _) if more.bytes == 0 => {
                format!("over the quota: {} of {most} bytes are used", used.bytes)
            }
            (most, _) => format!(
                "over the quota: {} of {} bytes are used, and this needs {} more",
                used.bytes,
                most.unwrap_or(NonZeroU64::MAX),
                more.bytes
            ),
        };
        Refusal::new(Code::NoSpace, line)
    }
}

/// A name that somebody is making, and its bytes. It ends when it is dropped: what is left of it then lies there, and
/// counts as that.
#[derive(Debug)]
pub(crate) struct Claim {
    bound: Arc<Bound>,
    file: Option<FileId>,
    /// How many counts there were when it was made.
    counts: u64,
    claimed: Usage,
    left: Cell<Usage>,
}

impl Claim {
    /// The name was made, for this file, which no count counts from now on.
    pub(crate) fn is_made_for(&mut self, file: FileId) {
        let mut book = self.bound.ledger.book();
        self.forget_counted(&book);
        book.files.insert(file);
        self.file = Some(file);
        self.leaves(0);
    }

    /// A count between the claim and now may have met the name, which is then counted twice.
    fn forget_counted(&self, book: &Book) {
        if self.file.is_none() && book.counts != self.counts {
            self.bound.note_gone();
        }
    }

    /// Claims as much as makes it so many bytes in all, before they are there.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Outcome<()> {
        let more = u128::from(bytes).saturating_sub(self.claimed.bytes);
        if more > 0 {
            self.bound.take(Usage { bytes: more, names: 0 })?;
            self.claimed.bytes += more;
        }
        Ok(())
    }

    /// The name was made, and has so many bytes by now: fewer than were claimed, or as many.
    pub(crate) fn leaves(&self, bytes: u64) {
        self.left.set(Usage { bytes: bytes.into(), names: 1 });
    }

    /// Nothing is left of it, as long as nothing was made.
    pub(crate) fn leaves_nothing(&self) {
        self.left.set(Usage::default());
    }

    /// The name was made for this file, which has others. Where somebody claims it under one of these, counts have left out
    /// this one with it.
    pub(crate) fn is_another_of(&self, file: FileId) {
        if self.bound.ledger.book().files.contains(&file) {
            self.bound.doubt();
        }
    }

    /// It took the name of something else, which may be gone with that.
    pub(crate) fn replaced(&self) {
        self.bound.note_gone();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut book = self.bound.ledger.book();
        self.forget_counted(&book);
        if let Some(file) = self.file {
            book.files.remove(&file);
        }
        book.live = book.live.without(self.claimed);
        book.counted.add(self.left.get());
    }
}

#[cfg(test)]
mod tests;
