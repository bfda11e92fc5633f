//! Commits. Files that are ready at the same time become durable together: a crowd of small ones costs one flush of the
//! file system, and not one each.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::Hash;
use std::io;
use std::sync::LazyLock;

use cap_std::fs::MetadataExt as _;
use ftpish_protocol::message::Mode;
use ftpish_protocol::{Refusal, Verified};

use crate::dir::sync_dir;
use crate::stage::Stage;
use crate::{Outcome, refuse};

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
    /// Its permission bits; a default where absent.
    pub mode: Option<Mode>,
}

/// Commits files as [`Stage::commit`] does, in their order, each for itself; only the syncs are shared. The outcomes are
/// in the same order.
pub fn commit_together(files: Vec<Ready>) -> Vec<Outcome<()>> {
    let mut outcomes: Vec<Outcome<()>> =
        files.iter().map(|ready| ready.stage.prepare(&ready.verified, ready.mode)).collect();
    sync_files(&files, &mut outcomes);
    for (ready, outcome) in files.iter().zip(&mut outcomes) {
        if outcome.is_ok() {
            *outcome = ready.stage.rename();
        }
        if outcome.is_err() {
            ready.stage.abandon();
        }
    }
    sync_parents(&files, &mut outcomes);
    outcomes
}

/// The files that are to be synced and with which all is well.
fn to_sync<'a>(
    files: &'a [Ready],
    outcomes: &'a mut [Outcome<()>],
) -> impl Iterator<Item = (&'a Stage, &'a mut Outcome<()>)> {
    let all = files.iter().map(|ready| &ready.stage).zip(outcomes);
    all.filter(|(stage, outcome)| stage.is_synced() && outcome.is_ok())
}

fn sync_files(files: &[Ready], outcomes: &mut [Outcome<()>]) {
    if files.len() < CROWD || !files.iter().all(|ready| can_flush(ready.stage.file())) {
        to_sync(files, outcomes).for_each(|(stage, outcome)| {
            *outcome = stage.file().sync_all().map_err(refuse);
        });
        return;
    }
    let device = |stage: &Stage| Ok(cap_std::fs::Metadata::from_file(stage.file())?.dev());
    once_each(to_sync(files, outcomes), device, |stage| flush(stage.file()));
}

fn sync_parents(files: &[Ready], outcomes: &mut [Outcome<()>]) {
    if !files.iter().any(|ready| ready.stage.is_synced()) {
        return;
    }
    let parent = |stage: &Stage| {
        let found = stage.parent().dir_metadata()?;
        Ok((found.dev(), found.ino()))
    };
    let parents: HashSet<_> = files.iter().filter_map(|ready| parent(&ready.stage).ok()).collect();
    if parents.len() >= CROWD && files.iter().all(|ready| can_flush(ready.stage.file())) {
        return sync_files(files, outcomes);
    }
    once_each(to_sync(files, outcomes), parent, |stage| sync_dir(stage.parent()));
}

/// Does `sync` once for all files that have the same `key`, and tells each of them how that went.
fn once_each<'a, K: Eq + Hash>(
    files: impl Iterator<Item = (&'a Stage, &'a mut Outcome<()>)>,
    key: impl Fn(&Stage) -> io::Result<K>,
    sync: impl Fn(&Stage) -> io::Result<()>,
) {
    let mut synced: HashMap<K, Outcome<()>> = HashMap::new();
    for (stage, outcome) in files {
        *outcome = match key(stage) {
            Ok(key) => synced.entry(key).or_insert_with(|| sync(stage).map_err(refuse)).clone(),
            Err(error) => Err::<(), Refusal>(refuse(error)),
        };
    }
}

/// Whether the file system that holds a file can be flushed, and tells of errors: syncfs(2) does since Linux 5.8, but not
/// for all. FUSE need not ask who serves it, and overlayfs keeps the errors of the layer below; so these are the ones
/// that are known to do it right (statfs(2) has the numbers).
#[cfg(target_os = "linux")]
fn can_flush(file: &File) -> bool {
    const EXT: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    const BTRFS: i64 = 0x9123_683e;
    const F2FS: i64 = 0xf2f5_2010;
    const TMPFS: i64 = 0x0102_1994;
    static IS_NEW: LazyLock<bool> = LazyLock::new(|| {
        let system = rustix::system::uname();
        let mut version = system.release().to_bytes().split(|byte| !byte.is_ascii_digit());
        let mut next =
            || version.next().and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        (next(), next()) >= (Some(5), Some(8))
    });
    let known = |kind: i64| [EXT, XFS, BTRFS, F2FS, TMPFS].contains(&kind);
    *IS_NEW && rustix::fs::fstatfs(file).is_ok_and(|found| known(found.f_type))
}

#[cfg(not(target_os = "linux"))]
fn can_flush(_: &File) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn flush(file: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

#[cfg(not(target_os = "linux"))]
fn flush(file: &File) -> io::Result<()> {
    file.sync_all()
}
