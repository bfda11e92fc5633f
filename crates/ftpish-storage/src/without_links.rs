//! Opening what is below a directory where no link is followed on the way.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use cap_std::fs::Dir;
use ftpish_protocol::{Code, Refusal};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Outcome, refuse};

/// What is said where a link is met that is not to be followed.
const LINK_ON_THE_WAY: &str = "a link appeared on the way";

/// Opens a directory below another one, on the way to which there is no link.
pub(crate) fn dir_without_links(dir: &Dir, path: &Path) -> Outcome<Dir> {
    let opened = open_without_links(dir, path, OFlags::PATH | OFlags::DIRECTORY).map_err(refuse_link)?;
    Ok(Dir::from_std_file(opened))
}

/// openat2(2) with `RESOLVE_NO_SYMLINKS`; where the kernel has none, a walk by components.
pub(crate) fn open_without_links(dir: &Dir, path: &Path, flags: OFlags) -> Result<File, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS) => walk_without_links(dir, path, flags),
        opened => opened.map(File::from),
    }
}

fn walk_without_links(dir: &Dir, path: &Path, flags: OFlags) -> Result<File, Errno> {
    let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(dir, ".", step | OFlags::DIRECTORY, Mode::empty())?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        let wanted = if is_last { flags | step } else { step | OFlags::DIRECTORY };
        at = match rustix::fs::openat(&at, component.as_os_str(), wanted, Mode::empty()) {
            // A link is no directory, and opens as what it is.
            Err(Errno::NOTDIR) if is_link(&at, component.as_os_str())? => return Err(Errno::LOOP),
            Ok(opened) if is_last && is_link(&at, component.as_os_str())? => {
                drop(opened);
                return Err(Errno::LOOP);
            }
            opened => opened?,
        };
    }
    Ok(File::from(at))
}

fn is_link(dir: &impl std::os::fd::AsFd, name: &OsStr) -> Result<bool, Errno> {
    let found = rustix::fs::statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(rustix::fs::FileType::from_raw_mode(found.st_mode).is_symlink())
}

/// A refusal that tells of a link as such: see [`met_a_link`].
pub(crate) fn refuse_link(error: Errno) -> Refusal {
    match error {
        Errno::LOOP => Refusal::new(Code::PermissionDenied, LINK_ON_THE_WAY),
        error => refuse(error),
    }
}

/// Whether something was refused only since a link has come on the way to it after that was resolved.
pub fn met_a_link(refusal: &Refusal) -> bool {
    refusal.code == Code::PermissionDenied && refusal.message == LINK_ON_THE_WAY
}

pub(crate) fn leads_out() -> Refusal {
    Refusal::new(Code::PermissionDenied, "a link leads out of the root")
}
