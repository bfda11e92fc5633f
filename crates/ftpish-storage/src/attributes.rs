//! What a file has besides its bytes: a modification time and permission bits. Many file systems refuse one or the other
//! (CIFS, FUSE over an object store), or take it and keep something else. Bytes are stored all the same, and what could
//! not be set is [told](Unset).

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use cap_std::fs::Dir;
use ftpish_protocol::message::{Mode, Time, Unset};
use rustix::fs::{AtFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::{Outcome, refuse};

/// The bits of a directory beside its permissions: setuid, setgid and sticky.
pub(crate) const BESIDE: u32 = 0o7000;

/// Sets a modification time where file systems are known to keep it.
pub(crate) fn set_common_mtime(file: impl AsFd, mtime: Time) -> Outcome<bool> {
    was_taken(rustix::fs::futimens(file, &timestamps(mtime, None))).map_err(refuse)
}

/// Sets a modification time, and reads it back: whether the file has it now, as exactly as disks keep times.
pub(crate) fn set_mtime(file: impl AsFd, mtime: Time) -> Outcome<bool> {
    let found = || rustix::fs::fstat(&file);
    let set = |times: &Timestamps| rustix::fs::futimens(&file, times);
    // libfuse 2 ignores a call that sets one time only.
    let is_set = set_and_look(set, found, mtime, None)
        .and_then(|is_set| Ok(is_set || set_and_look(set, found, mtime, Some(found()?))?));
    is_set.map_err(refuse)
}

/// The same for a file that was closed after its time was set: some file systems behind FUSE write what is left then, and
/// give it another time.
pub(crate) fn keep_mtime(dir: &Dir, name: &OsStr, mtime: Time) -> Outcome<bool> {
    let found = || rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    let set = |times: &Timestamps| rustix::fs::utimensat(dir, name, times, AtFlags::SYMLINK_NOFOLLOW);
    let before = found().map_err(refuse)?;
    let is_kept = mtime_of(&before).is_near(mtime);
    if is_kept { Ok(true) } else { set_and_look(set, found, mtime, Some(before)).map_err(refuse) }
}

/// Sets a modification time, and the time of the last access to what it is, where that is given; whether it is read back.
fn set_and_look(
    set: impl Fn(&Timestamps) -> rustix::io::Result<()>,
    found: impl Fn() -> rustix::io::Result<Stat>,
    mtime: Time,
    before: Option<Stat>,
) -> io::Result<bool> {
    Ok(was_taken(set(&timestamps(mtime, before)))? && mtime_of(&found()?).is_near(mtime))
}

/// A modification time, with the time of the last access that a file has: none leaves that as it is.
fn timestamps(mtime: Time, before: Option<Stat>) -> Timestamps {
    let last_access = match before {
        Some(stat) => Timespec { tv_sec: stat.st_atime, tv_nsec: nanoseconds(stat.st_atime_nsec).into() },
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    };
    let last_modification = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access, last_modification }
}

/// Sets permission bits, and whatever is beside them; whether they were taken.
pub(crate) fn set_mode(file: impl AsFd, mode: u32) -> Outcome<bool> {
    was_taken(rustix::fs::fchmod(file, mode.into())).map_err(refuse)
}

/// The same; whether the file has them now.
pub(crate) fn set_exact_mode(file: impl AsFd, mode: u32) -> Outcome<bool> {
    Ok(set_mode(&file, mode)? && mode_of(file)?.bits() == Mode::from_bits(mode).bits())
}

/// The permission bits of an open file.
pub(crate) fn mode_of(file: impl AsFd) -> Outcome<Mode> {
    Ok(Mode::from_bits(rustix::fs::fstat(file).map_err(refuse)?.st_mode))
}

fn mtime_of(found: &Stat) -> Time {
    Time { seconds: found.st_mtime, nanoseconds: nanoseconds(found.st_mtime_nsec) }
}

/// What the system tells is less than 10^9.
fn nanoseconds(told: impl TryInto<u32>) -> u32 {
    told.try_into().unwrap_or(0)
}

/// Whether a file system did what was asked, or said that it, or this user, cannot. Other errors are of the disk.
fn was_taken(outcome: rustix::io::Result<()>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(
            Errno::PERM
            | Errno::ACCESS
            | Errno::OPNOTSUPP
            | Errno::NOSYS
            | Errno::INVAL
            | Errno::OVERFLOW
            | Errno::RANGE,
        ) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What of two things to be set was not.
pub(crate) fn unset(mtime_is_set: bool, mode_is_set: bool) -> Unset {
    Unset { mtime: !mtime_is_set, mode: !mode_is_set }
}
