//! Writing into a partial file: as a stream, at any offset, or by several writers at the same time. Long runs of zeros
//! become holes.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

use ftpish_protocol::Refusal;
use ftpish_protocol::blocks::WriteAt;
use rustix::fs::FallocateFlags;

use super::Stage;
use crate::{Outcome, refuse};

/// The shortest run of zeros that becomes a hole. Shorter runs are rarely a hole of the source.
const HOLE: usize = 64 * 1024;

impl Stage {
    /// A writer that can be shared by several threads, each of which writes a range of its own. They may write up to
    /// `size` bytes, which were [claimed](Self::claim). Meanwhile the stage itself must not be written to. Afterwards it
    /// [takes up](Self::take_up) what was written.
    pub fn writer(&self, size: u64) -> Outcome<StageWriter> {
        self.is_to_have(size.max(self.end));
        Ok(StageWriter { file: self.file.try_clone().map_err(refuse)?, stale: AtomicU64::new(self.end) })
    }

    /// Takes up what writers have written. `size` is the file's size where it is complete, because a file may end in a
    /// hole; `None` takes the size that the partial file has.
    pub fn take_up(&mut self, size: Option<u64>) -> Outcome<()> {
        let there = self.file.metadata().map_err(refuse)?.len();
        self.end = size.unwrap_or(there.max(self.end));
        self.ends_in_hole = there < self.end;
        self.is_to_have(self.end);
        Ok(())
    }

    /// Leaves `zeros` out. Behind the end nothing is written. Before the end, the old bytes become a hole, where the file
    /// system can do that.
    fn make_hole(&self, zeros: &[u8], offset: u64) -> io::Result<()> {
        if offset >= self.end {
            return Ok(());
        }
        punch(&self.file, zeros, offset)
    }
}

impl WriteAt for Stage {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if let Some(claim) = &mut self.claim {
            claim.grow_to(end).map_err(Refusal::into_io)?;
        }
        self.is_to_have(end.max(self.end));
        let is_hole = is_hole(bytes);
        if is_hole {
            self.make_hole(bytes, offset)?;
        } else {
            self.file.write_all_at(bytes, offset)?;
        }
        if end > self.end {
            (self.end, self.ends_in_hole) = (end, is_hole);
        }
        Ok(())
    }
}

impl Write for Stage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WriteAt::write_at(self, bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes into a [`Stage`] at the same time as others.
#[derive(Debug)]
pub struct StageWriter {
    file: File,
    /// Before this offset the file may have bytes that did not verify. Behind it, what was not yet written is a hole.
    stale: AtomicU64,
}

impl StageWriter {
    /// Says that bytes before `end` did not verify, and may be written again.
    pub fn distrust(&self, end: u64) {
        self.stale.fetch_max(end, Ordering::Relaxed);
    }
}

impl WriteAt for &StageWriter {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if !is_hole(bytes) {
            return self.file.write_all_at(bytes, offset);
        }
        // Where nothing was written before, there is a hole already.
        if offset >= self.stale.load(Ordering::Relaxed) { Ok(()) } else { punch(&self.file, bytes, offset) }
    }
}

/// Whether `bytes` are to become a hole.
fn is_hole(bytes: &[u8]) -> bool {
    bytes.len() >= HOLE && bytes.iter().all(|byte| *byte == 0)
}

/// Replaces bytes of the file with a hole; writes `zeros` where the file system cannot.
fn punch(file: &File, zeros: &[u8], offset: u64) -> io::Result<()> {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, punch, offset, zeros.len() as u64) {
        Ok(()) => Ok(()),
        Err(_) => file.write_all_at(zeros, offset),
    }
}
