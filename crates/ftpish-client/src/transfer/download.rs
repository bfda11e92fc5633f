//! What is to be fetched, and how. How that is done, `fetch` says.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ftpish_protocol::blocks::MIN_BLOCK;
use ftpish_protocol::message::{Mode, Replace};
use ftpish_protocol::{Algorithm, Code, Name, Refusal, RemotePath};
use ftpish_storage::{Backup, Permissions, Root, Stage};

use crate::{Error, RESUME_FROM};

/// A remote file to be stored under a local name.
#[derive(Clone, Debug)]
pub struct Download {
    /// What to fetch.
    pub from: RemotePath,
    /// The file to make or replace.
    pub to: PathBuf,
    /// What proves it.
    pub digest: Algorithm,
    /// What may be replaced.
    pub replace: Replace,
    /// Whether the file is on the disk before this is done.
    pub sync: bool,
    /// Compare what is there with what is to come, block by block, and move only what differs.
    pub repair: bool,
    /// Whether the file gets the very permission bits of its source, whatever the umask is, and whatever it replaces.
    pub perms: bool,
    /// Where what is replaced is kept, if it is to be kept.
    pub backup: Option<Backup>,
}

impl Download {
    /// Fetches the file `from` as `to`, proven by BLAKE3 and on the disk when it is done, whatever is there. What is to be
    /// otherwise is said in the fields.
    pub fn new(from: RemotePath, to: impl Into<PathBuf>) -> Self {
        Self {
            from,
            to: to.into(),
            digest: Algorithm::Blake3,
            replace: Replace::Always,
            sync: true,
            repair: false,
            perms: false,
            backup: None,
        }
    }

    /// Whether there is something under `name` in `root` that may be worth keeping.
    pub(crate) fn has_base(&self, root: &Root, name: &RemotePath) -> bool {
        let target = root.stat(name).is_ok_and(|found| self.repair || found.size >= RESUME_FROM);
        target || root.partial_length(name).is_some_and(|length| length >= MIN_BLOCK)
    }

    /// The directory that the file goes into.
    pub(crate) fn dir(&self) -> &Path {
        match self.to.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => &self.to,
        }
    }

    /// Its name there.
    pub(crate) fn name(&self) -> Result<RemotePath, Error> {
        let refused = |refusal| local(&self.to, refusal);
        let name = self.to.file_name().unwrap_or_default();
        let name = Name::parse(name.as_bytes())
            .and_then(|name| RemotePath::root().join(&name))
            .map_err(|error| refused(Refusal::new(Code::BadPath, error.to_string())))?;
        // Only the link would be replaced; but one like /dev/stdout is the whole system's.
        if self.to.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let line = "it is a fifo, a socket or a device, or leads to one";
            return Err(refused(Refusal::new(Code::NotRegular, line)));
        }
        Ok(name)
    }

    pub(crate) fn permissions(&self, mode: Option<Mode>) -> Permissions {
        Permissions::named(mode, self.perms)
    }

    /// Has a stage keep what it replaces, where that is asked.
    pub(crate) fn backed_up(&self, mut stage: Stage) -> Stage {
        self.backup.iter().for_each(|backup| stage.back_up(backup.clone()));
        stage
    }
}

pub(crate) fn local(path: &Path, refusal: Refusal) -> Error {
    Error::Local { path: path.to_owned(), refusal }
}
