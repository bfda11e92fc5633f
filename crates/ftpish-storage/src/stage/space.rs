//! Space on the disk for what is to come.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::Stage;
use crate::dir::{FileSystem, flush};
use crate::{Outcome, refuse};

impl Stage {
    /// Asks the file system to set aside what is missing of `size` bytes, so that a full disk is known before the bytes move.
    /// Where it cannot, it is at least asked whether it has them.
    pub fn reserve(&self, size: u64) -> Outcome<()> {
        let here = self.file.metadata().map_or(0, |metadata| metadata.blocks().saturating_mul(512));
        let missing = size.saturating_sub(here);
        let file_system = self.target.parent.file_system();
        let fits = || Ok(missing <= available(&self.file).map_err(refuse)?);
        let full = || Err(refuse(io::Error::from(io::ErrorKind::StorageFull)));
        match file_system {
            _ if fits()? => {}
            // It gives the room of a file that was removed back when it has written that down.
            Some(FileSystem::Btrfs) => {
                flush(&self.file).map_err(refuse)?;
                if !fits()? {
                    return full();
                }
            }
            // It does so a little later, or when it is asked for more than it has.
            Some(FileSystem::Xfs) => {}
            _ => return full(),
        }
        if missing == 0 || file_system == Some(FileSystem::Tmpfs) {
            // Tmpfs would fill each page with zeros now, to have them overwritten a moment later.
            return Ok(());
        }
        let mut at = 0;
        while let Some(hole) = next_hole(&self.file, at, size) {
            let length = hole.end - hole.start;
            match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, hole.start, length) {
                Ok(()) => at = hole.end,
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR | Errno::INVAL) => return Ok(()),
                // XFS wants room for all of a range, even if that was set aside before.
                Err(Errno::NOSPC) => return if fits()? { Ok(()) } else { full() },
                Err(error) => return Err(refuse(error)),
            }
        }
        Ok(())
    }
}

/// How many bytes a file system has room for.
fn available(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatfs(file)?;
    // Some say 0 for "as much as you like".
    let is_told = stat.f_blocks > 0;
    let bytes = stat.f_bavail.saturating_mul(u64::try_from(stat.f_bsize).unwrap_or(1));
    Ok(if is_told { bytes } else { u64::MAX })
}

/// The next part of a file, from `at` on, that has no data, up to `end`; `None` where there is none (lseek(2)).
fn next_hole(file: &File, at: u64, end: u64) -> Option<Range<u64>> {
    use rustix::fs::{SeekFrom, seek};

    if at >= end {
        return None;
    }
    // Behind the end of the file there is nothing, and where nothing is told of holes, it is the whole.
    let start = match seek(file, SeekFrom::Hole(at)) {
        Ok(start) => start,
        Err(_) => at,
    };
    let data = seek(file, SeekFrom::Data(start)).unwrap_or(end);
    (start < end).then_some(start..data.min(end))
}
