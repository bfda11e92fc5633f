//! Names that are one to the file system though they are spelled differently: by case (vfat, NTFS, APFS, a directory of
//! ext4 that was made so), or by Unicode form. Of two such names of one tree the second would replace the first.
//!
//! Which names those are only the file system knows, so it is asked: by what a name leads to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::{Metadata, MetadataExt as _};
use ftpish_protocol::{Code, Name, Refusal, RemotePath};

use crate::Outcome;
use crate::count::FileId;
use crate::dir::{Directory, os_name};

/// How many bytes are held of names. Beyond that the earlier ones are forgotten.
const MOST: usize = 4 * 1024 * 1024;

/// What was written, by the names that it was written under. Held of it is only what may have another spelling: nothing of
/// ASCII names in a directory that tells upper case from lower.
#[derive(Debug, Default)]
pub(crate) struct Spellings(Mutex<Written>);

#[derive(Debug, Default)]
struct Written {
    files: HashMap<FileId, RemotePath>,
    bytes: usize,
    /// Whether the directory that was asked last takes upper case for lower. Files that come behind one another have the
    /// same handle of it.
    folds: Option<(Arc<Directory>, bool)>,
}

/// One spelling of a name.
#[derive(Debug)]
pub(crate) struct Spelling {
    pub(crate) all: Arc<Spellings>,
    pub(crate) path: RemotePath,
}

impl Spelling {
    /// Refuses to touch what was written under another one.
    pub(crate) fn check(&self, found: &Metadata) -> Outcome<()> {
        let written = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        match written.files.get(&(found.dev(), found.ino())) {
            Some(other) if *other != self.path => Err(Refusal::new(
                Code::Exists,
                format!("the file system does not tell it from {other}, which was written just before"),
            )),
            _ => Ok(()),
        }
    }

    /// Takes note of what was just written under this one.
    pub(crate) fn note(&self, dir: &Arc<Directory>, name: &Name) {
        let is_ascii = name.as_bytes().is_ascii();
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_ascii && all.folds.as_ref().is_some_and(|(asked, folds)| Arc::ptr_eq(asked, dir) && !folds) {
            return;
        }
        let Ok(found) = dir.symlink_metadata(os_name(name)) else { return };
        let id = (found.dev(), found.ino());
        if is_ascii && !all.folds(id, dir, name) {
            return;
        }
        let bytes = self.path.as_bytes().len() + 96;
        if all.bytes + bytes > MOST {
            all.files.clear();
            all.bytes = 0;
        }
        all.bytes += bytes;
        all.files.insert(id, self.path.clone());
    }
}

impl Written {
    /// Whether a directory takes upper case for lower, going by a file that was just written to it.
    fn folds(&mut self, file: FileId, dir: &Arc<Directory>, name: &Name) -> bool {
        if let Some((_, folds)) = self.folds.as_ref().filter(|(asked, _)| Arc::ptr_eq(asked, dir)) {
            return *folds;
        }
        let swap = |byte: &u8| {
            if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
        };
        let swapped: Vec<u8> = name.as_bytes().iter().map(swap).collect();
        let Some(swapped) = Name::parse(&swapped).ok().filter(|swapped| swapped != name) else {
            // A name without letters tells nothing, and has no other case.
            return false;
        };
        let found = dir.symlink_metadata(os_name(&swapped));
        let folds = found.is_ok_and(|found| (found.dev(), found.ino()) == file);
        self.folds = Some((Arc::clone(dir), folds));
        folds
    }
}
