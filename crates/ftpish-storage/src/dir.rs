//! What std and cap-std leave out about open directories.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::Dir;
use ftpish_protocol::Name;
use ftpish_protocol::message::Replace;
use rustix::fs::{OFlags, RenameFlags};

pub(crate) fn os_name(name: &Name) -> &OsStr {
    OsStr::from_bytes(name.as_bytes())
}

/// rename(2) between open directories; whether a target may be there is the kernel's to decide.
pub(crate) fn rename(
    from_dir: &Dir,
    from: &OsStr,
    to_dir: &Dir,
    to: &OsStr,
    replace: Replace,
) -> io::Result<()> {
    let flags = if replace == Replace::Never { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
    Ok(rustix::fs::renameat_with(from_dir, from, to_dir, to, flags)?)
}

pub(crate) fn sync_dir(dir: &Dir) -> io::Result<()> {
    // The handle may be one that can only be looked through (O_PATH); a sync needs one that can be read.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(dir, ".", flags, rustix::fs::Mode::empty())?;
    Ok(rustix::fs::fsync(readable)?)
}
