//! Commits. Files that are ready at the same time become durable together: a crowd of small ones costs one flush of the
//! file system, and not one each.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cap_std::fs::MetadataExt as _;
use ftpish_protocol::message::{Time, Unset};
use ftpish_protocol::{Code, Name, Refusal, Verified};

use crate::attributes::keep_mtime;
use crate::dir::{Directory, flush, os_name, sync_dir};
use crate::stage::{Kept, Stage};
use crate::{Outcome, Permissions, refuse};

/// From how many files on a flush of the whole file system is cheaper than one of each, even though it writes what
/// others have changed, too. Measured: `docs/RELIABILITY.md`.
const CROWD: usize = 8;

/// A partial file that has all its bytes, and what it is to become.
#[derive(Debug)]
pub struct Ready {
    /// The partial file.
    pub stage: Stage,
    /// What proves it.
    pub verified: Verified,
    /// Its permission bits.
    pub permissions: Permissions,
}

/// Work on the disk that goes on beside whoever began it, on a thread of its own.
#[derive(Debug)]
pub struct Background<T>(Receiver<T>);

impl<T: Send + 'static> Background<T> {
    /// Begins it.
    pub fn begin(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (done, wait) = mpsc::channel();
        std::thread::spawn(move || {
            // Nobody may be left to hear of it: it is done all the same.
            let _ = done.send(work());
        });
        Self(wait)
    }

    /// What it came to, if that is known within `patience`.
    pub fn wait(&self, patience: Duration) -> Option<Outcome<T>> {
        match self.0.recv_timeout(patience) {
            Ok(outcome) => Some(Ok(outcome)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err(Refusal::new(Code::Internal, "it panicked, and nothing is known of it")))
            }
        }
    }
}

impl Stage {
    /// Gives the verified bytes their permission bits, time and name: durable first, then at once and whole. Bits and time
    /// that the file system does not keep are no error, and told.
    pub fn commit(self, verified: Verified, permissions: Permissions) -> Outcome<Unset> {
        commit_together(vec![Ready { stage: self, verified, permissions }]).remove(0)
    }
}

/// Commits files as [`Stage::commit`] does, in their order, each for itself; only the syncs are shared. The outcomes are
/// in the same order.
pub fn commit_together(files: Vec<Ready>) -> Vec<Outcome<Unset>> {
    let mut outcomes: Vec<Outcome<Unset>> =
        files.iter().map(|ready| ready.stage.prepare(&ready.verified, ready.permissions)).collect();
    let places = places(&files, &mut outcomes);
    sync_files(&files, &places, &mut outcomes);
    let kept = keep(&files, &mut outcomes);
    for ((ready, kept), outcome) in files.iter().zip(&kept).zip(&mut outcomes) {
        and_then(outcome, || ready.stage.publish(kept, &ready.verified, ready.permissions));
        if outcome.is_err() {
            ready.stage.abandon();
        }
    }
    let timed: Vec<_> = files.iter().map(|ready| ready.stage.timed()).collect();
    sync_parents(files, &places, &mut outcomes);
    keep_times(&timed, &mut outcomes);
    outcomes
}

/// Does what comes next for a file, unless something went wrong with it before.
fn and_then(outcome: &mut Outcome<Unset>, next: impl FnOnce() -> Outcome<()>) {
    if outcome.is_ok()
        && let Err(refusal) = next()
    {
        *outcome = Err(refusal);
    }
}

/// The directory that a file is in, and how what is there becomes durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    dev: u64,
    ino: u64,
    can_flush: bool,
}

/// The places of files, one for each; none for those that are not to be synced. Files of one directory mostly have the
/// same handle of it, which is asked once.
fn places(files: &[Ready], outcomes: &mut [Outcome<Unset>]) -> Vec<Option<Place>> {
    let mut known: HashMap<*const Directory, Place> = HashMap::new();
    let mut flushes: HashMap<u64, bool> = HashMap::new();
    let mut place = |stage: &Stage| {
        let dir = stage.parent();
        if let Some(place) = known.get(&Arc::as_ptr(dir)) {
            return Ok(*place);
        }
        let found = dir.dir_metadata()?;
        let dev = found.dev();
        let can_flush = *flushes.entry(dev).or_insert_with(|| can_flush(dir));
        let place = Place { dev, ino: found.ino(), can_flush };
        known.insert(Arc::as_ptr(dir), place);
        Ok(place)
    };
    let all = files.iter().zip(outcomes).map(|(ready, outcome)| {
        let wanted = ready.stage.is_synced() && outcome.is_ok();
        let found = wanted.then(|| place(&ready.stage).map_err(|error: io::Error| refuse(error)));
        found.and_then(|found| found.map_err(|refusal| *outcome = Err(refusal)).ok())
    });
    all.collect()
}

fn sync_files(files: &[Ready], places: &[Option<Place>], outcomes: &mut [Outcome<Unset>]) {
    let together = files.len() >= CROWD && places.iter().flatten().all(|place| place.can_flush);
    let mut flushed: HashMap<u64, Outcome<()>> = HashMap::new();
    for ((ready, place), outcome) in files.iter().zip(places).zip(outcomes) {
        let Some(place) = place.filter(|_| outcome.is_ok()) else { continue };
        let file = ready.stage.file();
        and_then(outcome, || match together {
            true => flushed.entry(place.dev).or_insert_with(|| flush(file).map_err(refuse)).clone(),
            false => file.sync_all().map_err(refuse),
        });
    }
}

/// Keeps what is about to be replaced, where that is asked, and makes its new names durable before it loses the old ones.
fn keep(files: &[Ready], outcomes: &mut [Outcome<Unset>]) -> Vec<Kept> {
    let mut all = Vec::new();
    for (Ready { stage, verified, .. }, outcome) in files.iter().zip(&mut *outcomes) {
        let kept = if outcome.is_ok() { stage.keep(verified) } else { Ok(Kept::default()) };
        all.push(kept.unwrap_or_else(|refusal| {
            *outcome = Err(refusal);
            Kept::default()
        }));
    }
    let mut synced: HashMap<(u64, u64), Outcome<()>> = HashMap::new();
    for ((ready, kept), outcome) in files.iter().zip(&all).zip(outcomes) {
        let Some(dir) = kept.dir.as_ref().filter(|_| ready.stage.is_synced()) else { continue };
        and_then(outcome, || {
            let found = dir.dir_metadata().map_err(refuse)?;
            let sync = || sync_dir(dir).map_err(refuse);
            synced.entry((found.dev(), found.ino())).or_insert_with(sync).clone()
        });
    }
    all
}

/// Makes the names durable, which lie in the directories. The files have no need of their descriptors any more, and where
/// there are few, the directories may have to wait for those.
fn sync_parents(files: Vec<Ready>, places: &[Option<Place>], outcomes: &mut [Outcome<Unset>]) {
    let dirs: HashSet<&Place> = places.iter().flatten().collect();
    if dirs.len() >= CROWD && dirs.iter().all(|place| place.can_flush) {
        return sync_files(&files, places, outcomes);
    }
    let parents: Vec<_> = files.into_iter().map(|ready| Arc::clone(ready.stage.parent())).collect();
    let mut synced: HashMap<Place, Outcome<()>> = HashMap::new();
    for ((parent, place), outcome) in parents.iter().zip(places).zip(outcomes) {
        let Some(place) = place.filter(|_| outcome.is_ok()) else { continue };
        let sync = || sync_dir(parent).map_err(refuse);
        and_then(outcome, || synced.entry(place).or_insert_with(sync).clone());
    }
}

/// Has files keep their times now that they are closed.
fn keep_times(timed: &[Option<(Arc<Directory>, Name, Time)>], outcomes: &mut [Outcome<Unset>]) {
    for (timed, outcome) in timed.iter().zip(outcomes) {
        if let (Some((dir, name, mtime)), Ok(unset)) = (timed, outcome)
            && !unset.mtime
        {
            unset.mtime = !keep_mtime(dir, os_name(name), *mtime).unwrap_or(true);
        }
    }
}

/// Whether the file system that holds a directory can be flushed, and tells of errors: syncfs(2) does since Linux 5.8, but not
/// for all. FUSE need not ask who serves it, and overlayfs keeps the errors of the layer below; those that are known do it
/// right.
#[cfg(target_os = "linux")]
fn can_flush(dir: &Directory) -> bool {
    static IS_NEW: LazyLock<bool> = LazyLock::new(|| {
        let system = rustix::system::uname();
        let mut version = system.release().to_bytes().split(|byte| !byte.is_ascii_digit());
        let mut next =
            || version.next().and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        (next(), next()) >= (Some(5), Some(8))
    });
    *IS_NEW && dir.file_system().is_some()
}

#[cfg(not(target_os = "linux"))]
fn can_flush(_: &Directory) -> bool {
    false
}
