//! What a change takes a name from, kept under another name in place of being lost.

use std::fs::File;
use std::io;
use std::sync::Arc;

use cap_std::fs::{Dir, MetadataExt as _};
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Code, Name, Refusal, RemotePath};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::Outcome;
use crate::dir::{os_name, rename, sync_dir};
use crate::link::{is_same, link};
use crate::quota::{Bound, Claim};
use crate::root::os_path;

/// Where what has a name is kept when something takes its place, or when it is removed. An earlier file there is
/// replaced, and missing directories are made, for nobody but their owner: what is kept there may come from a directory
/// that others cannot enter.
#[derive(Clone, Debug)]
pub struct Backup {
    root: Arc<Dir>,
    /// Below which links are not followed: the directory that holds both what is kept and where it goes.
    base: RemotePath,
    /// The directories from there on.
    dirs: Vec<Name>,
    name: Name,
    sync: bool,
    bound: Option<Arc<Bound>>,
}

/// A backup that is about to be made, and has its part of the quota.
#[derive(Debug)]
pub(crate) struct Keeper {
    backup: Backup,
    /// One for each of its directories: nothing is left of those that are there already.
    dirs: Vec<Claim>,
    /// The second name.
    name: Option<Claim>,
}

impl Backup {
    /// That of `path` at `to`.
    pub(crate) fn new(
        root: &Arc<Dir>,
        path: &RemotePath,
        to: &RemotePath,
        sync: bool,
        bound: Option<&Arc<Bound>>,
    ) -> Outcome<Self> {
        let bad = |error: ftpish_protocol::PathError| Refusal::new(Code::BadPath, error.to_string());
        let (Some(above), Some(name)) = (to.parent(), to.name()) else {
            return Err(Refusal::new(Code::BadPath, "a backup has a name"));
        };
        if path == to {
            return Err(same_name());
        }
        let mut base = RemotePath::root();
        let mut dirs = Vec::new();
        let mut beside =
            path.parent().into_iter().flat_map(|path| names(&path)).collect::<Vec<_>>().into_iter();
        for dir in names(&above) {
            if dirs.is_empty() && beside.next().as_ref() == Some(&dir) {
                base = base.join(&dir).map_err(bad)?;
            } else {
                dirs.push(dir);
            }
        }
        let (root, bound) = (Arc::clone(root), bound.cloned());
        Ok(Self { root, base, dirs, name, sync, bound })
    }

    /// One that gives a second name to what has this one.
    pub(crate) fn of_another(self, parent: &Dir, name: &Name) -> Outcome<Keeper> {
        let claim = self.bound.as_ref().map(|bound| bound.claim_another(parent, name)).transpose()?;
        Ok(Keeper { name: claim, ..self.of_the_only()? })
    }

    /// One that gives a name in place of another.
    pub(crate) fn of_the_only(self) -> Outcome<Keeper> {
        let dirs = self.bound.iter().flat_map(|bound| self.dirs.iter().map(|_| bound.claim()));
        Ok(Keeper { dirs: dirs.collect::<Outcome<_>>()?, name: None, backup: self })
    }
}

impl Keeper {
    /// The directory where it goes, made where it is missing. No link is followed: it might lead to what others have
    /// under the same name.
    fn open(&self) -> io::Result<Dir> {
        let Backup { root, base, dirs, sync, .. } = &self.backup;
        let mut dir = if base.is_root() { root.try_clone()? } else { root.open_dir(os_path(base))? };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (number, name) in dirs.iter().map(os_name).enumerate() {
            match rustix::fs::mkdirat(&dir, name, Mode::RWXU) {
                Err(Errno::EXIST) => {}
                made => {
                    made?;
                    self.dirs.get(number).inspect(|claim| claim.leaves(0));
                    if *sync {
                        sync_dir(&dir)?;
                    }
                }
            }
            let below =
                rustix::fs::openat(&dir, name, flags, Mode::empty()).map_err(|error| match error {
                    Errno::LOOP | Errno::NOTDIR => no_dir().into_io(),
                    error => error.into(),
                })?;
            dir = Dir::from_std_file(File::from(below));
        }
        Ok(dir)
    }

    /// Gives what has a name, if anything, the name of its backup as well; the directory that is to be synced for it.
    /// Where the file system has no second names, that is [`moved`](Self::move_away) with `may_move`, and otherwise
    /// nothing. Whoever calls this holds [`alone`](crate::dir::alone).
    pub(crate) fn keep(&self, parent: &Dir, name: &Name, may_move: bool) -> io::Result<Option<Dir>> {
        let found = match parent.symlink_metadata(os_name(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let dir = self.open()?;
        if is_same(&found, &dir, os_name(&self.backup.name))? {
            return self.require_other(parent, &dir, name).map(|()| None);
        }
        let linked =
            link((parent, os_name(name)), (&dir, os_name(&self.backup.name)), Replace::Always, |_| Ok(()));
        match linked {
            Err(error) if has_no_links(&error) && may_move => {
                rename(parent, os_name(name), &dir, os_name(&self.backup.name), Replace::Always)?;
            }
            Err(error) if has_no_links(&error) => return Ok(None),
            linked => linked?,
        }
        if let Some(claim) = &self.name {
            claim.leaves(if found.is_file() { found.len() } else { 0 });
            // Whatever was kept there before is not any more.
            claim.replaced();
        }
        Ok(Some(dir))
    }

    /// As [`keep`](Self::keep), and what has the name is made durable under that of its backup before it loses its own.
    pub(crate) fn keep_durably(&self, parent: &Dir, name: &Name) -> io::Result<()> {
        match self.keep(parent, name, true)? {
            Some(dir) if self.backup.sync => sync_dir(&dir),
            _ => Ok(()),
        }
    }

    /// Gives what has a name that of its backup in its place.
    pub(crate) fn move_away(&self, parent: &Dir, name: &Name) -> io::Result<()> {
        let found = parent.symlink_metadata(os_name(name))?;
        let dir = self.open()?;
        if is_same(&found, &dir, os_name(&self.backup.name))? {
            // An earlier try was interrupted when the file had both.
            self.require_other(parent, &dir, name)?;
            rustix::fs::unlinkat(parent, os_name(name), AtFlags::empty())?;
        } else {
            rename(parent, os_name(name), &dir, os_name(&self.backup.name), Replace::Always)?;
        }
        Ok(())
    }

    /// Makes sure that two names of one file are not the very same: by way of a link above, for one.
    fn require_other(&self, parent: &Dir, dir: &Dir, name: &Name) -> io::Result<()> {
        let [parent, dir] = [parent.dir_metadata()?, dir.dir_metadata()?];
        match (parent.dev(), parent.ino(), name) == (dir.dev(), dir.ino(), &self.backup.name) {
            true => Err(same_name().into_io()),
            false => Ok(()),
        }
    }
}

fn names(path: &RemotePath) -> Vec<Name> {
    path.components().filter_map(|component| Name::parse(component).ok()).collect()
}

fn same_name() -> Refusal {
    Refusal::new(Code::BadPath, "a backup has another name than what it keeps")
}

fn no_dir() -> Refusal {
    Refusal::new(Code::NotDirectory, "what is where backups go is no directory")
}

/// Whether an error says that a file gets no second name: not on this file system, not by this user
/// (proc(5), `protected_hardlinks`), or because it has as many as it can have.
fn has_no_links(error: &io::Error) -> bool {
    [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
