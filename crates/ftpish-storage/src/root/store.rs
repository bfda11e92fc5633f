//! Files on their way in: where they go, and what an earlier try has left there.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ftpish_protocol::message::{Replace, Time};
use ftpish_protocol::{Name, RemotePath};

use super::Root;
use crate::Outcome;
use crate::dir::Directory;
use crate::partial::{partial_of, sweep};
use crate::spelling::Spelling;
use crate::stage::{Stage, Taken};
use crate::target::Target;

/// How long a partial file may lie that nobody writes to, until it is taken away: a week, so that what broke off on a
/// Friday can be taken up on Monday.
pub(super) const STALE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many directories are kept in mind as looked through.
const MOST_SWEPT: usize = 1000;

/// The directory that a file was put into last, for those who put one behind the other. It is what had the path when it
/// was opened: whoever keeps it for longer than a moment may put a file where it is no more.
#[derive(Debug, Default)]
pub struct Nearby(Option<(RemotePath, Arc<Directory>)>);

impl Root {
    /// Begins to store a file under `path`, which is to get `mtime`: an empty partial file in the same directory.
    /// `replace` says what may be there already.
    pub fn stage(&self, path: &RemotePath, replace: Replace, mtime: Option<Time>) -> Outcome<Stage> {
        let target = self.target(path, replace, mtime)?;
        target.check()?;
        Stage::begin(target, self.sync, self.bound.as_ref())
    }

    /// As [`stage`](Self::stage), for one of several files in a row. With [`Replace::Always`], what cannot be replaced, such
    /// as a directory, may be noticed at the commit only.
    pub fn stage_near(
        &self,
        nearby: &mut Nearby,
        path: &RemotePath,
        replace: Replace,
        mtime: Option<Time>,
    ) -> Outcome<Stage> {
        let place = match (&nearby.0, path.name()) {
            (Some((near, dir)), Some(name)) if path.parent().as_ref() == Some(near) => {
                (Arc::clone(dir), name)
            }
            _ => self.parent_of(path)?,
        };
        nearby.0 = path.parent().map(|path| (path, Arc::clone(&place.0)));
        let target = self.target_in(place, path, replace, mtime);
        if replace != Replace::Always {
            target.check()?;
        }
        Stage::begin(target, self.sync, self.bound.as_ref())
    }

    /// Whether a file that is to get `mtime` could be stored under `path`, as far as it can be told now.
    pub fn check(&self, path: &RemotePath, replace: Replace, mtime: Option<Time>) -> Outcome<()> {
        self.target(path, replace, mtime)?.check()
    }

    /// As [`stage`](Self::stage), but with the partial file that an earlier try for the same path left, if there is
    /// one; while somebody else is at that, it is waited for with `patience`. What is in it is not to be trusted before
    /// it is proven.
    pub fn resume(
        &self,
        path: &RemotePath,
        replace: Replace,
        mtime: Option<Time>,
        patience: Duration,
    ) -> Outcome<Stage> {
        let target = self.target_to_resume(path, replace, mtime)?;
        Stage::resume(target, self.sync, patience, self.bound.as_ref())
    }

    /// As [`resume`](Self::resume), but it does not wait: none where somebody else is at the partial file.
    pub fn try_resume(
        &self,
        path: &RemotePath,
        replace: Replace,
        mtime: Option<Time>,
    ) -> Outcome<Option<Stage>> {
        let target = self.target_to_resume(path, replace, mtime)?;
        match Stage::try_resume(target, self.sync, self.bound.as_ref())? {
            Taken::Ours(stage) => Ok(Some(stage)),
            Taken::Others(_) => Ok(None),
        }
    }

    fn target_to_resume(&self, path: &RemotePath, replace: Replace, mtime: Option<Time>) -> Outcome<Target> {
        let target = self.target(path, replace, mtime)?;
        // Whoever leaves partial files behind takes away those that nobody came back for.
        if self.is_to_sweep(path) {
            if let Err(error) = sweep(&target.parent, STALE) {
                tracing::debug!(%error, "cannot look for stale partial files");
            }
            self.note_gone();
        }
        Ok(target)
    }

    /// How many bytes an earlier try for the same path left; `None` where there was none.
    pub fn partial_length(&self, path: &RemotePath) -> Option<u64> {
        let (parent, name) = self.parent_of(path).ok()?;
        let found = parent.symlink_metadata(partial_of(&name)).ok()?;
        found.is_file().then(|| found.len())
    }

    /// Whether the directory of `path` was not yet looked through; a large one takes its time. After very many
    /// directories it may be looked through again.
    fn is_to_sweep(&self, path: &RemotePath) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.len() >= MOST_SWEPT {
            swept.clear();
        }
        path.parent().is_some_and(|parent| swept.insert(parent))
    }

    pub(super) fn target(&self, path: &RemotePath, replace: Replace, mtime: Option<Time>) -> Outcome<Target> {
        Ok(self.target_in(self.parent_of(path)?, path, replace, mtime))
    }

    fn target_in(
        &self,
        (parent, name): (Arc<Directory>, Name),
        path: &RemotePath,
        replace: Replace,
        mtime: Option<Time>,
    ) -> Target {
        let spelling =
            self.spellings.as_ref().map(|all| Spelling { all: Arc::clone(all), path: path.clone() });
        Target { parent, name, replace, mtime, expected: None, backup: None, policy: self.policy, spelling }
    }
}
