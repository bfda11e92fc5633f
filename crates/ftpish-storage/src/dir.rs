//! What std and cap-std leave out about open directories.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use ftpish_protocol::Name;
use ftpish_protocol::message::Replace;
use rustix::fs::{AtFlags, OFlags, RenameFlags};
use rustix::io::Errno;

pub(crate) fn os_name(name: &Name) -> &OsStr {
    OsStr::from_bytes(name.as_bytes())
}

/// rename(2) between open directories; whether a target may be there is the kernel's to decide. A file system that
/// cannot (some network file systems) gets a second link, which never replaces anything, and loses the first.
pub(crate) fn rename(
    from_dir: &Dir,
    from: &OsStr,
    to_dir: &Dir,
    to: &OsStr,
    replace: Replace,
) -> io::Result<()> {
    if replace != Replace::Never {
        return Ok(rustix::fs::renameat(from_dir, from, to_dir, to)?);
    }
    match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty())?;
            Ok(rustix::fs::unlinkat(from_dir, from, AtFlags::empty())?)
        }
        renamed => Ok(renamed?),
    }
}

/// One at a time changes what a name stands for, so that nothing comes between a check and the rename that it permits.
/// What other processes do is not held back.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static NAMES: Mutex<()> = Mutex::new(());
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn sync_dir(dir: &Dir) -> io::Result<()> {
    // The handle may be one that can only be looked through (O_PATH); a sync needs one that can be read.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(dir, ".", flags, rustix::fs::Mode::empty())?;
    Ok(rustix::fs::fsync(readable)?)
}
