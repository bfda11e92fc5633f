//! Times and permission bits of what is there.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use cap_std::fs::Dir;
use ftpish_protocol::message::{Time, Unset};
use ftpish_protocol::{Code, Refusal, RemotePath};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::Root;
use crate::attributes::{BESIDE, set_exact_mode, set_mtime, unset};
use crate::dir::os_name;
use crate::source::refuse_to_open;
use crate::{Outcome, Permissions, refuse};

impl Root {
    /// Opens a file or a directory whose time or bits are to change; a link is not followed.
    pub(super) fn open_to_set(&self, path: &RemotePath) -> Outcome<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |dir: &Dir, name: &OsStr| {
            rustix::fs::openat(dir, name, flags, rustix::fs::Mode::empty()).map_err(refuse_to_open_at)
        };
        match (path.parent(), path.name()) {
            (Some(parent), Some(name)) => open(&*self.open_dir(&parent)?, os_name(&name)),
            _ => open(&self.dir, OsStr::new(".")),
        }
    }

    /// Gives a file or a directory another modification time and other permission bits; a link is not followed. Bits that
    /// are not exact add none to those which it has. That is not made durable: no byte depends on it. Tells what its file
    /// system does not keep of it.
    pub fn set(&self, path: &RemotePath, mtime: Option<Time>, permissions: Permissions) -> Outcome<Unset> {
        let file = self.open_to_set(path)?;
        let has = rustix::fs::fstat(&file).map_err(refuse)?.st_mode;
        let found = FileType::from_raw_mode(has);
        if !found.is_file() && !found.is_dir() {
            return Err(Refusal::new(Code::NotRegular, "it is neither a file nor a directory"));
        }
        let mtime_is_set = mtime.map_or(Ok(true), |mtime| set_mtime(&file, mtime))?;
        let bits = match permissions {
            Permissions::Usual => return Ok(unset(mtime_is_set, true)),
            Permissions::New(mode) => mode.bits() & has,
            Permissions::Exact(mode) => mode.bits(),
        };
        let bits = match found.is_dir() {
            // What the system gave it stays: with setgid, what is made in it has its group.
            true => self.policy.of_dir(bits) | has & BESIDE,
            false => self.policy.of_file(bits),
        };
        Ok(unset(mtime_is_set, set_exact_mode(&file, bits)?))
    }
}

/// A link is not opened (open(2), `O_NOFOLLOW`).
fn refuse_to_open_at(error: Errno) -> Refusal {
    match error {
        Errno::LOOP => Refusal::new(Code::NotRegular, "it is a link"),
        error => refuse_to_open(error.into()),
    }
}
