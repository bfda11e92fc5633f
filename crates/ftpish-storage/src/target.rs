//! Where a file, or a link, will go, and what may be there by then.

use std::io;
use std::sync::Arc;

use ftpish_protocol::message::{Replace, Time};
use ftpish_protocol::{Code, Name, Refusal};

use crate::backup::Backup;
use crate::dir::{Directory, os_name};
use crate::spelling::Spelling;
use crate::{Identity, ModePolicy, Outcome, mtime, refuse};

/// Where a staged file will go.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) parent: Arc<Directory>,
    pub(crate) name: Name,
    pub(crate) replace: Replace,
    pub(crate) mtime: Option<Time>,
    /// The one file that may be replaced, where it must be that one.
    pub(crate) expected: Option<Identity>,
    /// Where what is replaced is kept.
    pub(crate) backup: Option<Backup>,
    /// What is decided about permission bits there.
    pub(crate) policy: ModePolicy,
    /// How the name is spelled, where it matters what was written under another spelling.
    pub(crate) spelling: Option<Spelling>,
}

impl Target {
    /// Makes room for what is to be kept, where that is asked.
    pub(crate) fn prepare(&self) -> Outcome<()> {
        self.backup.iter().try_for_each(|backup| backup.prepare(&self.parent, &self.name)).map_err(refuse)
    }

    /// As long as this is held nobody counts what is here: what is kept must not be missed under both of its names.
    pub(crate) fn still(&self) -> Option<impl Drop + use<'_>> {
        self.backup.as_ref().and_then(Backup::still)
    }

    /// Keeps what is there now, where that is asked; it is replaced next.
    pub(crate) fn keep(&self) -> Outcome<()> {
        let kept = self.backup.iter().try_for_each(|backup| backup.keep_durably(&self.parent, &self.name));
        kept.map_err(refuse)
    }

    /// Takes note of how the name is spelled that has just been given, under the same lock as the check before.
    pub(crate) fn note_spelling(&self) {
        if let Some(spelling) = &self.spelling {
            spelling.note(&self.parent, &self.name);
        }
    }

    /// Whether what is there now may be replaced. The rename decides once more, for what comes meanwhile.
    pub(crate) fn check(&self) -> Outcome<()> {
        let found = match self.parent.symlink_metadata(os_name(&self.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.expected.is_none() => return Ok(()),
            found => found.map_err(refuse)?,
        };
        let file_type = found.file_type();
        if file_type.is_dir() {
            return Err(Refusal::new(Code::IsDirectory, "a directory has this name"));
        }
        if !file_type.is_file() && !file_type.is_symlink() {
            return Err(Refusal::new(Code::NotRegular, "a fifo, a socket or a device has this name"));
        }
        if self.expected.is_some_and(|expected| expected != Identity::of(&found)) {
            return Err(Refusal::new(Code::Changed, "another file has this name by now"));
        }
        if let Some(spelling) = &self.spelling {
            spelling.check(&found)?;
        }
        match self.replace {
            Replace::Always => Ok(()),
            Replace::Never => Err(Refusal::new(Code::Exists, "the name exists already")),
            Replace::Older if self.mtime.is_some_and(|new| mtime(&found) < new) => Ok(()),
            Replace::Older => Err(Refusal::new(Code::NotNewer, "the existing file is at least as new")),
        }
    }
}
