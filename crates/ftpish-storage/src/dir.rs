//! What std and cap-std leave out about open directories.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cap_std::fs::Dir;
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Name, RemotePath};
use rustix::fs::{AtFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::descriptors::open_patiently;

/// An open directory, and what is asked of its file system once.
#[derive(Debug)]
pub(crate) struct Directory {
    dir: Dir,
    kind: OnceLock<Option<FileSystem>>,
}

/// File systems that are known well enough to do with them what others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext,
    Xfs,
    Btrfs,
    F2fs,
    Tmpfs,
}

impl FileSystem {
    /// By what statfs(2) calls it.
    fn of(kind: i64) -> Option<Self> {
        match kind {
            0xef53 => Some(Self::Ext),
            0x5846_5342 => Some(Self::Xfs),
            0x9123_683e => Some(Self::Btrfs),
            0xf2f5_2010 => Some(Self::F2fs),
            0x0102_1994 => Some(Self::Tmpfs),
            _ => None,
        }
    }
}

impl From<Dir> for Directory {
    fn from(dir: Dir) -> Self {
        Self { dir, kind: OnceLock::new() }
    }
}

impl Deref for Directory {
    type Target = Dir;

    fn deref(&self) -> &Dir {
        &self.dir
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Directory {
    /// What it lies on, if that is one of those which are known.
    pub(crate) fn file_system(&self) -> Option<FileSystem> {
        *self.kind.get_or_init(|| FileSystem::of(rustix::fs::fstatfs(&self.dir).ok()?.f_type))
    }
}

pub(crate) fn os_name(name: &Name) -> &OsStr {
    OsStr::from_bytes(name.as_bytes())
}

pub(crate) fn os_path(path: &RemotePath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
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
    let open = || Ok(rustix::fs::openat(dir, ".", flags, rustix::fs::Mode::empty())?);
    let readable = open_patiently(open)?;
    Ok(rustix::fs::fsync(readable)?)
}

/// Makes durable whatever has changed in the file system that a file is in (syncfs(2)).
#[cfg(target_os = "linux")]
pub(crate) fn flush(file: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn flush(file: &File) -> io::Result<()> {
    file.sync_all()
}
