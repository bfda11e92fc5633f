//! What a change takes a name from, kept under another name in place of being lost.

use std::ffi::OsStr;
use std::fs::File;
use std::io;

use cap_std::fs::{Dir, MetadataExt as _};
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Code, Name, Refusal, RemotePath};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::Outcome;
use crate::dir::{os_name, rename, sync_dir};
use crate::link::{is_same, link};
use crate::quota::Bound;
use crate::root::Root;

/// Where what has a name is kept when something takes its place, or when it is removed. An earlier file there is
/// replaced, and missing directories are made, for nobody but their owner: what is kept there may come from a directory
/// that others cannot enter.
#[derive(Clone, Debug)]
pub struct Backup {
    root: Root,
    /// Below which links are not followed: the directory that holds both what is kept and where it goes.
    base: RemotePath,
    /// The directories from there on.
    dirs: Vec<Name>,
    name: Name,
}

impl Backup {
    /// That of `path` at `to`.
    pub(crate) fn new(root: &Root, path: &RemotePath, to: &RemotePath) -> Outcome<Self> {
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
        Ok(Self { root: root.clone(), base, dirs, name })
    }

    /// Makes the directories that are missing where it goes, if there is something to be kept. Before anything is locked,
    /// because a quota may have to be counted for them.
    pub(crate) fn prepare(&self, parent: &Dir, name: &Name) -> io::Result<()> {
        match parent.symlink_metadata(os_name(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            found => found.and_then(|_| self.open(true)).map(drop),
        }
    }

    /// See [`Bound::still`].
    pub(crate) fn still(&self) -> Option<impl Drop + use<'_>> {
        self.root.bound().map(|bound| bound.still())
    }

    /// The directory where it goes. No link is followed: it might lead to what others have under the same name.
    fn open(&self, make: bool) -> io::Result<Dir> {
        let mut dir = if self.base.is_root() {
            self.root.dir().try_clone()?
        } else {
            self.root.open_dir_to_read(&self.base).map_err(Refusal::into_io)?
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for name in self.dirs.iter().map(os_name) {
            if make {
                self.make(&dir, name)?;
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

    /// Makes a directory, if there is none.
    fn make(&self, dir: &Dir, name: &OsStr) -> io::Result<()> {
        if dir.symlink_metadata(name).is_ok() {
            return Ok(());
        }
        let claim = self.root.bound().map(Bound::claim).transpose().map_err(Refusal::into_io)?;
        match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
            Err(Errno::EXIST) => return Ok(()),
            made => made?,
        }
        if let Some(claim) = claim {
            claim.leaves(0);
        }
        if self.root.is_synced() { sync_dir(dir) } else { Ok(()) }
    }

    /// Gives what has a name, if anything, the name of its backup as well; the directory that is to be synced for it.
    /// Where the file system has no second names, that is [`moved`](Self::move_away) with `may_move`, and otherwise
    /// nothing. Whoever calls this holds [`alone`](crate::dir::alone).
    pub(crate) fn keep(&self, parent: &Dir, name: &Name, may_move: bool) -> io::Result<Option<Dir>> {
        let found = match parent.symlink_metadata(os_name(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let dir = self.open(false)?;
        if is_same(&found, &dir, os_name(&self.name))? {
            return self.require_other(parent, &dir, name).map(|()| None);
        }
        let linked = link((parent, os_name(name)), (&dir, os_name(&self.name)), Replace::Always, |_| Ok(()));
        match linked {
            Err(error) if has_no_links(&error) && may_move => {
                rename(parent, os_name(name), &dir, os_name(&self.name), Replace::Always)?;
            }
            Err(error) if has_no_links(&error) => return Ok(None),
            linked => linked?,
        }
        Ok(Some(dir))
    }

    /// As [`keep`](Self::keep), and what has the name is made durable under that of its backup before it loses its own.
    pub(crate) fn keep_durably(&self, parent: &Dir, name: &Name) -> io::Result<()> {
        match self.keep(parent, name, true)? {
            Some(dir) if self.root.is_synced() => sync_dir(&dir),
            _ => Ok(()),
        }
    }

    /// Gives what has a name that of its backup in its place.
    pub(crate) fn move_away(&self, parent: &Dir, name: &Name) -> io::Result<()> {
        let found = parent.symlink_metadata(os_name(name))?;
        let dir = self.open(false)?;
        if is_same(&found, &dir, os_name(&self.name))? {
            // An earlier try was interrupted when the file had both.
            self.require_other(parent, &dir, name)?;
            rustix::fs::unlinkat(parent, os_name(name), AtFlags::empty())?;
        } else {
            rename(parent, os_name(name), &dir, os_name(&self.name), Replace::Always)?;
        }
        Ok(())
    }

    /// Makes sure that two names of one file are not the very same: by way of a link above, for one.
    fn require_other(&self, parent: &Dir, dir: &Dir, name: &Name) -> io::Result<()> {
        let [parent, dir] = [parent.dir_metadata()?, dir.dir_metadata()?];
        match (parent.dev(), parent.ino(), name) == (dir.dev(), dir.ino(), &self.name) {
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
    Refusal::new(Code::NotDirectory, "a file is where the directory of its backup is to be")
}

/// Whether an error says that a file gets no second name: not on this file system, not by this user
/// (proc(5), `protected_hardlinks`), or because it has as many as it can have.
fn has_no_links(error: &io::Error) -> bool {
    [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
