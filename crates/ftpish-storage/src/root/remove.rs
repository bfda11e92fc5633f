//! Names that go, or change.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use cap_std::fs::Dir;
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Code, Refusal, RemotePath};

use super::Root;
use crate::backup::Backup;
use crate::dir::{alone, os_name, rename};
use crate::partial::{forget, is_partial, sweep};
use crate::target::Target;
use crate::{Outcome, refuse, tree};

impl Root {
    /// Removes a file, a link or an empty directory; with `recursive`, a directory and all it holds. What an earlier try
    /// to store something there left goes along, even if there is nothing else: nobody can name it, and it counts.
    pub fn remove(&self, path: &RemotePath, recursive: bool) -> Outcome<()> {
        let Target { parent, name, spelling, .. } = self.target(path, Replace::Always, None)?;
        let found = parent.symlink_metadata(os_name(&name));
        if let (Ok(found), Some(spelling)) = (&found, spelling) {
            spelling.check(found)?;
        }
        let removed = match found {
            Ok(found) => self.remove_found(&parent, os_name(&name), found.is_dir(), recursive),
            Err(error) => Err(error),
        };
        let is_gone =
            removed.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true);
        let forgot = is_gone && forget(&parent, &name).map_err(refuse)?;
        self.note_gone();
        match removed {
            Err(error) if !(is_gone && forgot) => Err(refuse(error)),
            _ => self.synced(&[&parent]),
        }
    }

    fn remove_found(&self, parent: &Dir, name: &OsStr, is_dir: bool, recursive: bool) -> io::Result<()> {
        match (is_dir, recursive) {
            (false, _) => parent.remove_file(name),
            (true, false) => match parent.remove_dir(name) {
                // What no listing shows is no reason to keep a directory.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => parent
                    .open_dir(name)
                    .and_then(|dir| if looks_empty(&dir)? { sweep(&dir, Duration::ZERO) } else { Err(error) })
                    .and_then(|()| parent.remove_dir(name)),
                removed => removed,
            },
            (true, true) => tree::remove(parent, name, self.bound.as_deref()),
        }
    }

    /// What has `path`, kept at `to` in place of being lost.
    pub fn backup(&self, path: &RemotePath, to: &RemotePath) -> Outcome<Backup> {
        Backup::new(self, path, to)
    }

    /// Gives a file, or a link, the name of its backup in place of its own. It is durable once both names are [told to
    /// be](Self::sync_above); on no disk is it without a name.
    pub fn move_away(&self, path: &RemotePath, backup: &Backup) -> Outcome<()> {
        let Target { parent, name, spelling, .. } = self.target(path, Replace::Always, None)?;
        backup.prepare(&parent, &name).map_err(refuse)?;
        {
            let _still = backup.still();
            let _alone = alone();
            let found = parent.symlink_metadata(os_name(&name)).map_err(refuse)?;
            if found.is_dir() {
                return Err(Refusal::new(Code::IsDirectory, "a directory is not kept as a whole"));
            }
            if let Some(spelling) = spelling {
                spelling.check(&found)?;
            }
            backup.move_away(&parent, &name).map_err(refuse)?;
        }
        // What it replaced has gone, and so does what an earlier try to store something left.
        let forgotten = forget(&parent, &name).map_err(refuse);
        self.note_gone();
        forgotten.map(drop)
    }

    /// Renames; an existing file at the new path is replaced unless `replace` forbids it.
    pub fn rename(&self, from: &RemotePath, to: &RemotePath, replace: Replace) -> Outcome<()> {
        let (from_dir, from_name) = self.parent_of(from)?;
        let (to_dir, to_name) = self.parent_of(to)?;
        {
            let _still = self.bound.as_ref().map(|bound| bound.still());
            let _alone = alone();
            rename(&from_dir, os_name(&from_name), &to_dir, os_name(&to_name), replace).map_err(refuse)?;
        }
        self.note_gone();
        self.synced(&[&from_dir, &to_dir])
    }
}

/// Whether a directory has nothing but what no listing shows.
fn looks_empty(dir: &Dir) -> io::Result<bool> {
    for entry in dir.entries()? {
        if !is_partial(entry?.file_name().as_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}
