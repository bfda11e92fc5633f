//! What partial files are called, if they have a name, how they are opened and locked, and how those that nobody comes
//! back to are taken away. What they are filled with is `stage`'s.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use ftpish_protocol::{Algorithm, Name};
use rustix::fs::{FlockOperation, OFlags};

use crate::dir::Directory;
#[cfg(target_os = "linux")]
use {
    crate::dir::FileSystem,
    rustix::fs::{AtFlags, CWD, Mode},
    rustix::io::Errno,
    std::os::fd::AsRawFd as _,
    std::path::Path,
    std::sync::LazyLock,
};

/// What the name of a partial file begins with; 16 lower-case hex digits follow. Of fixed length, so that a long
/// target name has room. The digits are random, or, where a later try is to find the file again, those that the
/// target's name has for a digest: nothing else need be remembered to resume.
const PREFIX: &str = ".ftpish-";

/// The permission bits of a partial file.
const PARTIAL_MODE: u32 = 0o600;

/// Where this process finds the files that it has open (proc(5)).
#[cfg(target_os = "linux")]
const DESCRIPTORS: &str = "/proc/self/fd";

/// Whether `name` is one that partial files have.
pub fn is_partial(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX.as_bytes())
        .is_some_and(|rest| rest.len() == 16 && rest.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// The name of a partial file, or a link, that nobody else knows.
pub(crate) fn partial_name() -> String {
    format!("{PREFIX}{:016x}", fastrand::u64(..))
}

/// The name of the partial file that a later try for the same target finds again.
pub(crate) fn partial_of(target: &Name) -> String {
    let digest = Algorithm::Blake3.digest(target.as_bytes()).hex();
    format!("{PREFIX}{}", &digest[..16])
}

/// Partial files are nobody's business until they are committed, and no link leads to one.
pub(crate) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).write(true).mode(PARTIAL_MODE).custom_flags(flags.bits().cast_signed());
    options
}

/// A partial file that has no name, so that nothing is left of it however it ends (open(2), `O_TMPFILE`). None where the file
/// system has no such files, or is not known to treat them well, or where they could not be [named](give_name) later.
///
/// Btrfs does not, in most kernels: it syncs nothing of a file as long as that has no name, and of one that has got its name
/// since only that it exists, when the directory is synced (`btrfs_log_inode_parent` in Linux' `fs/btrfs/tree-log.c`).
#[cfg(target_os = "linux")]
pub(crate) fn open_unnamed(dir: &Directory) -> Option<File> {
    use FileSystem::{Ext, F2fs, Tmpfs, Xfs};

    static CAN_NAME: LazyLock<bool> = LazyLock::new(|| Path::new(DESCRIPTORS).exists());
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    // Nobody can open it before it has a name; until then its bits are those that any new file can have here.
    let open = || rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o777)).ok();
    let is_apt = *CAN_NAME && matches!(dir.file_system(), Some(Ext | Xfs | F2fs | Tmpfs));
    is_apt.then(open).flatten().map(File::from)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn open_unnamed(_: &Directory) -> Option<File> {
    None
}

/// Gives a file that has none a name, if nothing else has it.
#[cfg(target_os = "linux")]
pub(crate) fn give_name(file: &File, dir: &Dir, name: &OsStr) -> io::Result<()> {
    match rustix::fs::linkat(file, "", dir, name, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 that takes a capability; the other way takes /proc (open(2) has it).
        Err(Errno::NOENT) => {
            let descriptor = format!("{DESCRIPTORS}/{}", file.as_raw_fd());
            Ok(rustix::fs::linkat(CWD, descriptor, dir, name, AtFlags::SYMLINK_FOLLOW)?)
        }
        named => Ok(named?),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn give_name(_: &File, _: &Dir, _: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Opens a partial file. A commit that did not come to its rename has left it with the permission bits of its target,
/// and those may forbid writing.
pub(crate) fn open_partial(dir: &Dir, partial: &str, options: &OpenOptions) -> io::Result<File> {
    match dir.open_with(partial, options) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mut read = OpenOptions::new();
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
            read.read(true).custom_flags(flags.bits().cast_signed());
            let file = dir.open_with(partial, &read)?.into_std();
            if !is_ours(&file, dir)? {
                return Err(error);
            }
            rustix::fs::fchmod(&file, PARTIAL_MODE.into())?;
            dir.open_with(partial, options)
        }
        opened => opened,
    }
    .map(cap_std::fs::File::into_std)
}

/// Takes the lock of a partial file; `false` where somebody else has it. It is given back when the file is closed,
/// be it by kill -9.
pub(crate) fn lock(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Whether the locked file still has its name: before the lock was taken it may have been committed, and its name have
/// become another file's.
pub(crate) fn has_name(file: &File, parent: &Dir, partial: &str) -> io::Result<bool> {
    let opened = cap_std::fs::Metadata::from_file(file)?;
    match parent.symlink_metadata(partial) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        named => named.map(|named| (opened.dev(), opened.ino()) == (named.dev(), named.ino())),
    }
}

/// Whether a file in `dir` is a regular one, has no other name, and belongs to us.
pub(crate) fn is_ours(file: &File, dir: &Dir) -> io::Result<bool> {
    let opened = cap_std::fs::Metadata::from_file(file)?;
    let is_own = |uid| opened.uid() == uid;
    // Hard links are counted as none where the file system knows of none.
    let is_single = opened.is_file() && opened.nlink() <= 1;
    Ok(is_single && (is_own(rustix::process::geteuid().as_raw()) || is_own(owner_of_new_files(dir)?)))
}

/// Whom a file belongs to that this process makes in `dir`: where the file system maps owners (bindfs, ntfs-3g, NFS), that
/// may be somebody else.
fn owner_of_new_files(dir: &Dir) -> io::Result<u32> {
    let name = partial_name();
    let made = dir.open_with(&name, open_options().create_new(true));
    let owner = made.and_then(|file| file.metadata()).map(|found| found.uid());
    let removed = dir.remove_file(&name);
    owner.and_then(|owner| removed.map(|()| owner))
}

/// Takes away the partial files in `dir` that nobody has written to for `age`, and that nobody is at. Its modification
/// time says nothing of that: a file that was about to be committed has its source's already.
pub(crate) fn sweep(dir: &Dir, age: Duration) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_partial(name.as_encoded_bytes()) {
            continue;
        }
        let metadata = entry.metadata()?;
        let changed = u64::try_from(metadata.ctime()).unwrap_or(0);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
        let stale = changed.elapsed().is_ok_and(|elapsed| elapsed > age);
        let Ok(name) = name.into_string() else { continue };
        if !stale {
            continue;
        }
        // A link, or a second name of a file, that was to become another name: the file has those that it had.
        if metadata.is_symlink() || metadata.nlink() > 1 {
            dir.remove_file(&name)?;
        } else {
            take_away(dir, &name)?;
        }
    }
    Ok(())
}

/// Takes away what an earlier try for `target` left, unless somebody is at it; whether that was something.
pub(crate) fn forget(dir: &Dir, target: &Name) -> io::Result<bool> {
    take_away(dir, &partial_of(target))
}

fn take_away(dir: &Dir, partial: &str) -> io::Result<bool> {
    let Ok(file) = open_partial(dir, partial, &open_options()) else { return Ok(false) };
    let is_free = lock(&file) && has_name(&file, dir, partial)? && is_ours(&file, dir)?;
    if is_free {
        dir.remove_file(partial)?;
    }
    Ok(is_free)
}
