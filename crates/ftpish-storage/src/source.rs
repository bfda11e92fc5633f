//! Files that are read to be sent. Only regular files are, and a change while they are read is noticed.
//!
//! The size that a file system reports is not trusted. A file is read to its end and beyond: one that has more or fewer
//! bytes is refused as `changed`. Below /proc and /sys, content is made when it is
//! read, and the reported size is zero or a page. A file with such a size is read when it is opened, and its size is that
//! of its content.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{FileTypeExt as _, Metadata, MetadataExt as _};
use ftpish_protocol::message::{Mode, Time};
use ftpish_protocol::{Code, Refusal};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::{Outcome, mtime, refuse};

mod digesting;
mod identity;
mod ranges;
mod reader;

pub use identity::Identity;
pub use ranges::RangesReader;
pub use reader::SourceReader;

/// The most bytes of a file whose size is not the one that its file system reports.
const MOST_UNTOLD: usize = 16 << 20;

/// The size that sysfs(5) reports for each of its files.
const PAGE: u64 = 4096;

/// A regular file that is open for reading, and its metadata when it was opened.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    metadata: Metadata,
    /// Its content, where that has another size than the file system reports.
    content: Option<Arc<[u8]>>,
}

impl SourceFile {
    /// To open a fifo without a writer must not block, and a terminal must not become this process's controlling one.
    pub(crate) const OPEN_FLAGS: i32 = (OFlags::NONBLOCK.bits() | OFlags::NOCTTY.bits()).cast_signed();

    /// Opens a file anywhere on this machine: one that the user named.
    pub fn open(path: &Path) -> Outcome<Self> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).custom_flags(Self::OPEN_FLAGS);
        Self::new(options.open(path).map_err(refuse_to_open)?)
    }

    pub(crate) fn new(file: File) -> Outcome<Self> {
        let metadata = Metadata::from_file(&file).map_err(refuse)?;
        let file_type = metadata.file_type();
        if file_type.is_file() {
            let content = untold_content(&file, &metadata)?;
            Ok(Self { file, metadata, content })
        } else if file_type.is_dir() {
            Err(Refusal::new(Code::IsDirectory, "it is a directory"))
        } else {
            let what = if file_type.is_fifo() { "fifo" } else { "device" };
            Err(Refusal::new(Code::NotRegular, format!("it is a {what}, not a regular file")))
        }
    }

    /// A second handle of the file, with the metadata of the first.
    pub(crate) fn try_clone(&self) -> Outcome<Self> {
        let (metadata, content) = (self.metadata.clone(), self.content.clone());
        Ok(Self { file: self.file.try_clone().map_err(refuse)?, metadata, content })
    }

    /// Its size in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.content.as_ref().map_or(self.metadata.len(), |content| content.len() as u64)
    }

    /// Its modification time when it was opened.
    pub fn mtime(&self) -> Time {
        mtime(&self.metadata)
    }

    /// Its permission bits when it was opened.
    pub fn mode(&self) -> Mode {
        Mode::from_bits(self.metadata.mode())
    }

    /// Its identity when it was opened.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.metadata)
    }

    /// Whether it has holes: fewer bytes on the disk than its size.
    pub fn is_sparse(&self) -> bool {
        self.content.is_none() && self.metadata.blocks().saturating_mul(512) < self.metadata.len()
    }

    /// A reader of `length` bytes from `offset` on, which must lie within the size.
    pub fn range(self, offset: u64, length: u64) -> Outcome<SourceReader> {
        if offset.checked_add(length).is_none_or(|end| end > self.size()) {
            let line = format!("the file has {} bytes", self.size());
            return Err(Refusal::new(Code::BadRange, line));
        }
        let mut reader = SourceReader::new(self, offset, length);
        if offset > 0 {
            reader.source.file.seek(SeekFrom::Start(offset)).map_err(refuse)?;
        }
        Ok(reader)
    }

    /// A reader of `ranges`, one after the other, which must lie within the size.
    pub fn ranges(&self, ranges: Vec<Range<u64>>) -> Outcome<RangesReader<'_>> {
        if ranges.iter().any(|range| range.start > range.end || range.end > self.size()) {
            return Err(Refusal::new(Code::BadRange, format!("the file has {} bytes", self.size())));
        }
        Ok(RangesReader::new(self, ranges))
    }

    /// Copies the whole file into the empty file `out`, from its beginning, and returns how many bytes it has. Holes stay
    /// holes, where the file system reports them (lseek(2), `SEEK_DATA`).
    pub(crate) fn copy_to(&self, out: &mut File) -> io::Result<u64> {
        if let Some(content) = &self.content {
            out.write_all(content)?;
            return Ok(self.size());
        }
        let (mut file, mut end) = (&self.file, 0);
        loop {
            let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(end)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL) if end == 0 => 0,
                Err(error) => return Err(error.into()),
            };
            end = match rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start)) {
                Ok(hole) => hole,
                Err(_) => self.size(),
            };
            file.seek(SeekFrom::Start(start))?;
            out.seek(SeekFrom::Start(start))?;
            io::copy(&mut file.take(end - start), out)?;
            if end >= self.size() {
                break;
            }
        }
        out.set_len(self.size())?;
        Ok(self.size())
    }

    /// Refuses a file that is not what it was when it was opened.
    pub fn check_unchanged(&self) -> Outcome<()> {
        self.check().map_err(refuse)
    }

    /// A reader of the whole file.
    pub fn reader(self) -> SourceReader {
        let size = self.size();
        SourceReader::new(self, 0, size)
    }

    /// Reads some bytes at `offset`, where at least one must be.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = match &self.content {
            Some(content) => content.as_ref().get(offset as usize..).unwrap_or_default().read(buffer)?,
            None => self.file.read_at(buffer, offset)?,
        };
        if read == 0 && !buffer.is_empty() { Err(self.ended_at(offset)) } else { Ok(read) }
    }

    /// As [`check_unchanged`](Self::check_unchanged), with an I/O error.
    fn check(&self) -> io::Result<()> {
        let now = Metadata::from_file(&self.file)?;
        let is_same = self.content.is_some() || Identity::of(&now) == self.identity();
        if is_same { Ok(()) } else { Err(changed("the file changed while it was read")) }
    }

    /// Whether the file is longer now than it was when it was opened.
    fn has_grown(&self) -> bool {
        let now = Metadata::from_file(&self.file);
        self.content.is_none() && now.is_ok_and(|now| now.len() > self.metadata.len())
    }

    /// As [`check`](Self::check), for a file that was read up to `end`. If that is the file's size, no bytes may follow.
    fn check_end(&self, end: u64) -> io::Result<()> {
        self.check()?;
        let is_longer = end == self.size() && self.content.is_none() && self.file.read_at(&mut [0], end)? > 0;
        let why = || format!("the file has more than the {end} bytes that its file system tells");
        if is_longer { Err(changed(why())) } else { Ok(()) }
    }

    /// The error of a file that has ended at `at`, before its size.
    fn ended_at(&self, at: u64) -> io::Error {
        match self.check() {
            Ok(()) => changed(format!(
                "the file ends at {at} of the {} bytes that its file system tells",
                self.size()
            )),
            Err(error) => error,
        }
    }
}

/// The content of a file, where that may have another size than the file system reports: a size of zero, or of at most a
/// page without a block on the disk. `None` where the reported size is right.
fn untold_content(file: &File, metadata: &Metadata) -> Outcome<Option<Arc<[u8]>>> {
    let size = metadata.len();
    if size > PAGE || size > 0 && metadata.blocks() > 0 {
        return Ok(None);
    }
    let mut content = Vec::new();
    let mut at_end = [0; PAGE as usize];
    loop {
        let read = file.read_at(&mut at_end, content.len() as u64).map_err(refuse)?;
        content.extend_from_slice(&at_end[..read]);
        if read == 0 {
            break;
        }
        if content.len() > MOST_UNTOLD {
            let why = format!("its file system tells {size} bytes, and it has more than {MOST_UNTOLD}");
            return Err(Refusal::new(Code::Changed, why));
        }
    }
    Ok((content.len() as u64 != size).then(|| content.into()))
}

/// The refusal of a file that cannot be opened. A socket cannot be, nor can a device without a driver (open(2), `ENXIO`).
pub(crate) fn refuse_to_open(error: io::Error) -> Refusal {
    if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
        return Refusal::new(Code::NotRegular, "it is a socket or a device, not a regular file");
    }
    refuse(error)
}

fn changed(why: impl Into<String>) -> io::Error {
    Refusal::new(Code::Changed, why).into_io()
}

#[cfg(test)]
mod tests;
