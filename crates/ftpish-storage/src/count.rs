//! What lies in a directory, counted: every name below it, partial files too, however deep it is. A user can nest
//! directories deeper than any stack and any path, so: no recursion, and few directories open. No link is followed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::{Dir, MetadataExt as _};
use ftpish_protocol::text::brief;
use ftpish_protocol::{Code, Refusal};
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use crate::{Outcome, refuse};

/// What tells a file from all others that are there at the same time: its device and inode.
pub(crate) type FileId = (u64, u64);

/// What lies in a directory, or is to. The sum of many sparse files is more than 64 bits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bytes: u128,
    pub(crate) names: u64,
}

impl Usage {
    pub(crate) fn add(&mut self, more: Self) {
        *self = self.with(more);
    }

    pub(crate) fn with(self, more: Self) -> Self {
        Self { bytes: self.bytes + more.bytes, names: self.names + more.names }
    }

    pub(crate) fn without(self, less: Self) -> Self {
        Self { bytes: self.bytes - less.bytes, names: self.names - less.names }
    }
}

/// How many directories are open at a time. Those above the deepest ones are found again through `..`.
const OPEN: usize = 32;

/// A directory that is being counted. Its own entries are counted when it is opened.
struct Level {
    id: FileId,
    dir: Option<Dir>,
    /// The directories in it that were not opened yet: their names, with a NUL behind each.
    below: Vec<u8>,
}

/// Counts what lies below `top`, but for the files `left_out`. Only who makes sure that no other thread renames
/// anything meanwhile can rely on it: readdir(3) may miss what is renamed.
pub(crate) fn count(top: &Dir, left_out: &HashSet<FileId>) -> Outcome<Usage> {
    let mut usage = Usage::default();
    let opened = open(top, OsStr::new(".")).map_err(refuse)?;
    let mut levels = vec![Level::enter(opened, left_out, &mut usage)?];
    while let Some(level) = levels.last_mut() {
        let Some(dir) = &level.dir else { return Err(moved()) };
        if let Some(name) = pop_name(&mut level.below) {
            let Some(below) = open_below(dir, &name)? else { continue };
            if let Some(above) = levels.len().checked_sub(OPEN) {
                levels[above].dir = None;
            }
            levels.push(Level::enter(below, left_out, &mut usage)?);
        } else if let (Some(done), Some(above)) = (levels.pop(), levels.last_mut())
            && above.dir.is_none()
        {
            above.dir = Some(done.above(above.id)?);
        }
    }
    Ok(usage)
}

impl Level {
    /// Counts the entries of a directory.
    fn enter(dir: Dir, left_out: &HashSet<FileId>, usage: &mut Usage) -> Outcome<Self> {
        let metadata = dir.dir_metadata().map_err(refuse)?;
        let mut below = Vec::new();
        let counted = read(&dir, left_out, usage, &mut below);
        if let Err(error) = counted {
            may_be_missing(error.into(), metadata.uid(), b".")?;
        }
        Ok(Self { id: (metadata.dev(), metadata.ino()), dir: Some(dir), below })
    }

    /// Opens the directory above, which was `id`.
    fn above(&self, id: FileId) -> Outcome<Dir> {
        let Some(dir) = &self.dir else { return Err(moved()) };
        let above = open(dir, OsStr::new("..")).map_err(refuse)?;
        let found = above.dir_metadata().map_err(refuse)?;
        if (found.dev(), found.ino()) == id { Ok(above) } else { Err(moved()) }
    }
}

/// Counts the entries of a directory, and names the directories among them.
fn read(
    dir: &Dir,
    left_out: &HashSet<FileId>,
    usage: &mut Usage,
    below: &mut Vec<u8>,
) -> rustix::io::Result<()> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let mut file_type = entry.file_type();
        let mut bytes = 0;
        // Some file systems do not say in the directory what it is.
        if file_type.is_file() || file_type == FileType::Unknown {
            let found = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                found => found?,
            };
            file_type = FileType::from_raw_mode(found.st_mode);
            if file_type.is_file() {
                if left_out.contains(&(found.st_dev, found.st_ino)) {
                    continue;
                }
                bytes = u128::try_from(found.st_size).unwrap_or(0);
            }
        }
        usage.add(Usage { bytes, names: 1 });
        if file_type.is_dir() {
            below.extend_from_slice(name.to_bytes_with_nul());
        }
    }
    Ok(())
}

fn open(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, rustix::fs::Mode::empty())?;
    Ok(Dir::from_std_file(File::from(opened)))
}

/// Opens a directory in `dir`; `None` where there is none any more, or nobody can have put anything into it.
fn open_below(dir: &Dir, name: &[u8]) -> Outcome<Option<Dir>> {
    let name = OsStr::from_bytes(name);
    let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].map(Errno::raw_os_error);
    match open(dir, name) {
        Ok(below) => Ok(Some(below)),
        Err(error) if error.raw_os_error().is_some_and(|errno| gone.contains(&errno)) => Ok(None),
        Err(error) => {
            let owner = dir.symlink_metadata(name).map_err(refuse)?.uid();
            may_be_missing(error, owner, name.as_bytes()).map(|()| None)
        }
    }
}

/// Whether the count may do without a directory that cannot be read: one of another owner's (`lost+found`), and none of
/// ours, or a user who takes the permission to read away would hide what is in it.
fn may_be_missing(error: io::Error, owner: u32, name: &[u8]) -> Outcome<()> {
    if error.kind() != io::ErrorKind::PermissionDenied || owner == rustix::process::geteuid().as_raw() {
        let Refusal { code, message } = refuse(error);
        let shown = String::from_utf8_lossy(name);
        let line =
            format!("the quota cannot be told, because the directory `{shown}` cannot be read: {message}");
        return Err(Refusal::new(code, line));
    }
    tracing::warn!(directory = %brief(&String::from_utf8_lossy(name)), "not counted: it cannot be read");
    Ok(())
}

/// The last of the names that `below` holds.
fn pop_name(below: &mut Vec<u8>) -> Option<Vec<u8>> {
    below.pop()?;
    let start = below.iter().rposition(|byte| *byte == 0).map_or(0, |nul| nul + 1);
    Some(below.split_off(start))
}

fn moved() -> Refusal {
    Refusal::new(Code::Changed, "directories were moved while they were counted: try again")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(scratch.path(), cap_std::ambient_authority()).unwrap();
        (scratch, dir)
    }

    #[test]
    fn every_name_counts_and_every_file_is_as_long_as_it_looks() {
        let (scratch, dir) = scratch();
        assert_eq!(count(&dir, &HashSet::new()).unwrap(), Usage::default());
        for below in ["a", "a/b", "c"] {
            dir.create_dir(below).unwrap();
        }
        for file in ["one", "a/two", "a/b/.ftpish-0123456789abcdef"] {
            dir.write(file, "12345").unwrap();
        }
        dir.create("sparse").unwrap().set_len(1 << 40).unwrap();
        dir.hard_link("one", &dir, "c/again").unwrap();
        symlink("..", scratch.path().join("c/up")).unwrap();
        let all = count(&dir, &HashSet::new()).unwrap();
        assert_eq!(all, Usage { bytes: (1 << 40) + 4 * 5, names: 9 });
        let two = std::fs::metadata(scratch.path().join("a/two")).unwrap();
        let but_two = count(&dir, &HashSet::from([(two.dev(), two.ino())])).unwrap();
        assert_eq!(but_two, Usage { bytes: (1 << 40) + 3 * 5, names: 8 });
    }

    #[test]
    fn a_tree_deeper_than_any_stack_and_any_path_is_counted_with_few_directories_open() {
        let (_scratch, dir) = scratch();
        let mut deepest = dir.try_clone().unwrap();
        let long = "d".repeat(100);
        for level in 0..1_100 {
            deepest.write("file", "x").unwrap();
            deepest.create_dir(&long).unwrap();
            if level % 20 == 0 {
                deepest.create_dir("beside").unwrap();
            }
            deepest = deepest.open_dir(&long).unwrap();
        }
        let counted = std::thread::scope(|scope| {
            let small = std::thread::Builder::new().stack_size(96 * 1024);
            small.spawn_scoped(scope, || count(&dir, &HashSet::new())).unwrap().join().unwrap()
        });
        assert_eq!(counted.unwrap(), Usage { bytes: 1_100, names: 2_255 });
        crate::tree::remove(&dir, OsStr::new(&long), None).unwrap();
    }
}
