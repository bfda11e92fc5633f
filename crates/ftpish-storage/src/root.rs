//! A directory that cannot be left, and whether what changes in it is made durable. What is done to names in it stands
//! in the files below, one for each kind of thing.
//!
//! Every operation goes through a directory handle that cannot be left: not by `..`, not by a symbolic link, and
//! not by a race that swaps one in (openat2(2) with `RESOLVE_BENEATH` where the kernel has it, a walk by
//! components elsewhere; both are cap-std's). A path is never checked first and used later.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use ftpish_protocol::{Code, Name, Refusal, RemotePath};

use crate::dir::{Directory, os_name, os_path, sync_dir};
use crate::permissions::umask;
use crate::quota::{Bound, Ledgers, Quota};
use crate::spelling::Spellings;
use crate::without_links::dir_without_links;
use crate::{ModePolicy, Outcome, refuse};

pub(crate) mod look;
mod make;
mod remove;
mod set;
pub(crate) mod store;

/// A directory that cannot be left, and whether what changes in it is made durable.
#[derive(Clone, Debug)]
pub struct Root {
    dir: Arc<Directory>,
    sync: bool,
    /// Whether links are followed on the way to something: see `resolve`.
    follows_links: bool,
    /// The directories that were looked through for stale partial files.
    swept: Arc<Mutex<HashSet<RemotePath>>>,
    /// How much may lie here. Whatever makes something claims it first.
    bound: Option<Arc<Bound>>,
    /// What was written, where other spellings of its names matter.
    spellings: Option<Arc<Spellings>>,
    policy: ModePolicy,
}

impl Root {
    /// Opens the directory at `path`, links in which are followed. With `sync`, every change is on the disk before
    /// it is reported done (fsync(2) of files and of directories).
    pub fn open(path: &Path, sync: bool) -> io::Result<Self> {
        let dir = Arc::new(Directory::from(Dir::open_ambient_dir(path, ambient_authority())?));
        // It is read once, and a server that has confined itself cannot read it any more.
        let _ = umask();
        let (swept, bound, spellings, policy) = Default::default();
        Ok(Self { dir, sync, follows_links: true, swept, bound, spellings, policy })
    }

    /// As [`open`](Self::open), but the directory is made where it is missing, and so are those above it.
    pub fn create(path: &Path, sync: bool) -> io::Result<Self> {
        Dir::create_ambient_dir_all(path, ambient_authority())?;
        Self::open(path, sync)
    }

    /// A directory below, as a root of its own.
    pub fn below(&self, path: &RemotePath) -> Outcome<Self> {
        Ok(Self {
            dir: self.open_dir(path)?,
            sync: self.sync,
            follows_links: true,
            swept: Arc::default(),
            bound: None,
            spellings: None,
            policy: self.policy,
        })
    }

    /// Another directory, where changes are made durable as they are here.
    pub fn apart(&self, path: &Path) -> Outcome<Self> {
        Ok(Self { policy: self.policy, ..Self::open(path, self.sync).map_err(refuse)? })
    }

    /// What is decided about permission bits here.
    pub fn policy(&self) -> ModePolicy {
        self.policy
    }

    /// The same directory, in which permission bits are as `policy` says.
    pub fn with_policy(&self, policy: ModePolicy) -> Self {
        Self { policy, ..self.clone() }
    }

    /// The same directory, in which no more may be made than `quota` permits. All that is made through roots with
    /// ledgers in common is known to each of them: what others do is noticed at the next count.
    pub fn bounded(&self, ledgers: &Ledgers, quota: Quota) -> Outcome<Self> {
        let bound = Bound::new(ledgers.of(&self.dir)?, quota);
        Ok(Self { bound: Some(bound.into()), ..self.clone() })
    }

    /// The same directory, for what somebody else has named: nothing that is written through this handle is replaced, or
    /// removed, under another spelling of its name that the file system takes for the same.
    pub fn minding_spellings(self) -> Self {
        Self { spellings: Some(Arc::default()), ..self }
    }

    /// The same directory, in which no link is followed on the way to anything: see [`real_path`](Self::real_path).
    pub fn without_links(&self) -> Self {
        Self { follows_links: false, ..self.clone() }
    }

    pub(crate) fn follows_links(&self) -> bool {
        self.follows_links
    }

    /// Whether there is a quota, of which what is used may have to be counted.
    pub fn has_quota(&self) -> bool {
        self.bound.as_ref().is_some_and(|bound| !bound.quota().is_none())
    }

    /// Whether making a name with so many bytes is likely to wait until all that is here was counted.
    pub fn must_count(&self, bytes: u64) -> bool {
        self.bound.as_ref().is_some_and(|bound| bound.is_slow(bytes))
    }

    /// Does the counting that [`must_count`](Self::must_count) tells of, so that it need not be waited for later.
    pub fn count(&self, bytes: u64) {
        if let Some(bound) = &self.bound {
            bound.prepare(bytes);
        }
    }

    /// Has a quota counted anew before long: others may have been here unseen.
    pub fn doubt(&self) {
        if let Some(bound) = &self.bound {
            bound.doubt();
        }
    }

    fn note_gone(&self) {
        if let Some(bound) = &self.bound {
            bound.note_gone();
        }
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.sync
    }

    pub(crate) fn bound(&self) -> Option<&Arc<Bound>> {
        self.bound.as_ref()
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    pub(crate) fn open_dir(&self, path: &RemotePath) -> Outcome<Arc<Directory>> {
        if path.is_root() {
            return Ok(Arc::clone(&self.dir));
        }
        self.open_dir_to_read(path).map(|dir| Arc::new(dir.into()))
    }

    pub(crate) fn open_dir_to_read(&self, path: &RemotePath) -> Outcome<Dir> {
        match self.follows_links {
            true => self.dir.open_dir(os_path(path)).map_err(refuse),
            false => dir_without_links(&self.dir, os_path(path)),
        }
    }

    /// A directory, and how what `path` names is called there: the kernel walks all of it, unless no link is to be followed.
    pub(crate) fn locate(&self, path: &RemotePath) -> Outcome<(Arc<Directory>, PathBuf)> {
        match (self.follows_links, path.parent(), path.name()) {
            (false, Some(parent), Some(name)) => Ok((self.open_dir(&parent)?, os_name(&name).into())),
            _ => Ok((Arc::clone(&self.dir), os_path(path).to_owned())),
        }
    }

    /// The directory that holds `path`, and its name there. The root has none.
    fn parent_of(&self, path: &RemotePath) -> Outcome<(Arc<Directory>, Name)> {
        match (path.parent(), path.name()) {
            (Some(parent), Some(name)) => Ok((self.open_dir(&parent)?, name)),
            _ => Err(Refusal::new(Code::Forbidden, "the served root itself stays where it is")),
        }
    }

    fn synced(&self, dirs: &[&Dir]) -> Outcome<()> {
        if self.sync { dirs.iter().try_for_each(|dir| sync_dir(dir)).map_err(refuse) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
