//! Small text files of this machine that people edit as well: known hosts, users. Each change writes the file anew, whole or
//! not at all, and one change waits for another.

use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// A change that has begun. Until it is finished or dropped, others of the same directory wait.
#[derive(Debug)]
pub struct Edit {
    path: PathBuf,
    /// Locked, as the file cannot be: it is another one afterwards.
    dir: File,
    text: String,
    metadata: Option<Metadata>,
}

impl Edit {
    /// Begins to change the file at `path`, which may not exist yet; a link there is followed, and stays.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let path = match path.canonicalize() {
            // A link to what does not exist leads to where it is to be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.read_link() {
                Ok(target) => path.parent().unwrap_or(Path::new("")).join(target),
                Err(_) => path.to_owned(),
            },
            path => path?,
        };
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = File::open(parent)?;
        // A file system that has no locks lets two changes at the same time lose one of them.
        let _ = rustix::fs::flock(&dir, FlockOperation::LockExclusive);
        let (text, metadata) = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), None),
            file => {
                let file = file?;
                (io::read_to_string(&file)?, Some(file.metadata()?))
            }
        };
        Ok(Self { path, dir, text, metadata })
    }

    /// What is there; nothing where there is no file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts `text` in its place. Mode and owner stay; a new file is for its owner alone.
    pub fn finish(self, text: &str) -> io::Result<()> {
        let parent = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(text.as_bytes())?;
        if let Some(metadata) = &self.metadata {
            let made = file.as_file().metadata()?;
            if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
                std::os::unix::fs::fchown(file.as_file(), Some(metadata.uid()), Some(metadata.gid()))?;
            }
            let mode = std::fs::Permissions::from_mode(metadata.mode() & 0o777);
            file.as_file().set_permissions(mode)?;
        }
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        self.dir.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_at_the_same_time_are_all_there_and_no_reader_sees_half_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for line in 0..25 {
                        let edit = Edit::begin(path).unwrap();
                        let text = format!("{}{writer} {line}\n", edit.text());
                        edit.finish(&text).unwrap();
                        assert!(std::fs::read_to_string(path).unwrap().ends_with('\n'));
                    }
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 100);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_to_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        std::os::unix::fs::symlink("file", &link).unwrap();
        for (mode, text) in [(0o600, "new"), (0o640, "changed")] {
            Edit::begin(&link).unwrap().finish(text).unwrap();
            assert!(link.symlink_metadata().unwrap().is_symlink());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            let has = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(has, if text == "new" { 0o600 } else { mode });
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        }
    }

    #[test]
    fn a_change_that_is_not_finished_changes_nothing_and_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        drop(Edit::begin(&path).unwrap());
        Edit::begin(&path).unwrap().finish("text").unwrap();
        drop(Edit::begin(&path).unwrap());
        assert_eq!(Edit::begin(&path).unwrap().text(), "text");
    }
}
