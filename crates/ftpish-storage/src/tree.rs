//! Trees taken away, however deep they are: a client can nest directories deeper than any stack, by moving deep ones
//! into deep ones, and each level that is open costs a descriptor of the whole server. So: no recursion, few
//! directories open at a time, and no link followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;

use cap_std::fs::{Dir, ReadDir};
use ftpish_protocol::message::Replace;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::dir::rename;
use crate::quota::Bound;

/// How many directories are open at a time. What lies deeper is moved up first.
const DEPTH: usize = 32;

/// A directory that is being emptied.
struct Level {
    name: OsString,
    dir: Dir,
    entries: ReadDir,
}

impl Level {
    /// Opens the directory `name` in `parent`; a link is not followed.
    fn open(parent: &Dir, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(parent, name, flags, rustix::fs::Mode::empty())?;
        let dir = Dir::from_std_file(File::from(opened));
        let entries = dir.entries()?;
        Ok(Self { name: name.to_owned(), dir, entries })
    }
}

/// Removes the directory `name` in `parent`, and all it holds. `name` is one component. Whoever counts what is there for
/// `bound` misses nothing.
pub(crate) fn remove(parent: &Dir, name: &OsStr, bound: Option<&Bound>) -> io::Result<()> {
    let mut levels = vec![Level::open(parent, name)?];
    let mut lifted = false;
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(()) };
        if let Some(entry) = level.entries.next() {
            let entry = entry?;
            let child = entry.file_name();
            if !entry.file_type()?.is_dir() {
                gone(level.dir.remove_file(&child))?;
            } else if depth < DEPTH {
                match Level::open(&level.dir, &child) {
                    Ok(below) => levels.push(below),
                    // Meanwhile it is a link, or a file.
                    Err(error) if is_no_dir(&error) => gone(level.dir.remove_file(&child))?,
                    Err(error) => gone(Err(error))?,
                }
            } else if level.dir.remove_dir(&child).is_err() {
                let _still = bound.map(Bound::still);
                lift(&levels, &child)?;
                lifted = true;
            }
        } else if depth == 1 && std::mem::take(&mut lifted) {
            // What was moved up may have come behind the place where the entries were read.
            level.entries = level.dir.entries()?;
        } else if let Some(empty) = levels.pop() {
            let above = levels.last().map_or(parent, |level| &level.dir);
            gone(above.remove_dir(&empty.name))?;
        }
    }
}

/// Moves `child` of the deepest level into the topmost.
fn lift(levels: &[Level], child: &OsStr) -> io::Result<()> {
    if let [top, .., deepest] = levels {
        let name = OsString::from(format!("removing-{:016x}", fastrand::u64(..)));
        gone(rename(&deepest.dir, child, &top.dir, &name, Replace::Never))?;
    }
    Ok(())
}

/// Whoever removes has no quarrel with another who was faster.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn is_no_dir(error: &io::Error) -> bool {
    [Errno::LOOP, Errno::NOTDIR].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(scratch.path(), cap_std::ambient_authority()).unwrap();
        (scratch, dir)
    }

    /// Directories in directories, with a file beside each.
    fn nest(dir: &Dir, depth: usize) {
        let mut dir = dir.try_clone().unwrap();
        for _ in 0..depth {
            dir.write("file", "").unwrap();
            dir.create_dir("d").unwrap();
            dir = dir.open_dir("d").unwrap();
        }
    }

    #[test]
    fn a_tree_deeper_than_any_stack_and_than_all_descriptors_is_removed() {
        let (_scratch, dir) = scratch();
        dir.create_dir("tree").unwrap();
        nest(&dir.open_dir("tree").unwrap(), 3_000);
        std::thread::scope(|scope| {
            let small = std::thread::Builder::new().stack_size(96 * 1024);
            let removed = small.spawn_scoped(scope, || remove(&dir, "tree".as_ref(), None)).unwrap();
            removed.join().unwrap().unwrap();
        });
        assert_eq!(dir.entries().unwrap().count(), 0);
    }

    #[test]
    fn depths_around_what_is_held_open_are_all_removed() {
        let (_scratch, dir) = scratch();
        for depth in [0, 1, DEPTH - 2, DEPTH - 1, DEPTH, DEPTH + 1, 2 * DEPTH, 3 * DEPTH + 1] {
            dir.create_dir("tree").unwrap();
            nest(&dir.open_dir("tree").unwrap(), depth);
            remove(&dir, "tree".as_ref(), None).unwrap();
            assert!(!dir.exists("tree"), "{depth}");
        }
    }

    #[test]
    fn links_are_removed_and_never_followed() {
        let (scratch, dir) = scratch();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "").unwrap();
        dir.create_dir("tree").unwrap();
        symlink(outside.path(), scratch.path().join("tree/link")).unwrap();
        symlink("tree", scratch.path().join("top")).unwrap();
        assert!(is_no_dir(&remove(&dir, "top".as_ref(), None).unwrap_err()));
        remove(&dir, "tree".as_ref(), None).unwrap();
        assert!(outside.path().join("kept").exists());
    }
}
