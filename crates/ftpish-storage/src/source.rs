//! Files that are read to be sent: regular ones only, and a change while they are read is noticed.
//!
//! The size that a file system tells is not believed. Files are read to their end, and beyond: one that has more or fewer
//! bytes is refused as `changed`. Where the size looks like that of a file whose content is made when it is read, as
//! below /proc and /sys, the content is read when the file is opened, and that is its size.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{FileTypeExt as _, Metadata, MetadataExt as _};
use ftpish_protocol::message::{Mode, Time};
use ftpish_protocol::{Algorithm, Code, Digest, Digested, Hasher, Meter, Refusal};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::{Outcome, mtime, refuse};

/// What tells a file from another one that had, or has, its name. Its change time is left out: a rename or another link
/// changes that, and no byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: Time,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { dev: metadata.dev(), ino: metadata.ino(), size: metadata.len(), mtime: mtime(metadata) }
    }

    /// The same for a peer, who can compare it and learns nothing else.
    pub fn tag(&self) -> String {
        let Self { dev, ino, size, mtime } = self;
        let Time { seconds, nanoseconds } = mtime;
        let text = format!("{dev} {ino} {size} {seconds} {nanoseconds}");
        Algorithm::Blake3.digest(text.as_bytes()).hex()[..16].to_owned()
    }
}

/// The most bytes of a file that its file system may not tell of.
const MOST_UNTOLD: usize = 16 << 20;

/// The size that sysfs(5) tells of each of its files.
const PAGE: u64 = 4096;

/// A regular file that was opened to be read, and what it was then.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    metadata: Metadata,
    /// What it has, where that is not as much as its file system tells.
    content: Option<Arc<[u8]>>,
}

impl SourceFile {
    /// A fifo that nobody writes to must not block us, and a terminal must not become ours.
    pub(crate) const OPEN_FLAGS: i32 = (OFlags::NONBLOCK.bits() | OFlags::NOCTTY.bits()).cast_signed();

    /// Opens a file anywhere on this machine: one that a person named.
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

    /// The same file once more, as it was when it was opened.
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

    /// What tells it from others.
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
        Ok(RangesReader { source: self, ranges: ranges.into_iter(), current: 0..0 })
    }

    /// Copies the whole of it into the empty file `out`, whatever was read of it before, and tells how many bytes that
    /// were. Holes stay holes, where the file system tells of them (lseek(2), `SEEK_DATA`).
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

    /// Whether the file is still what it was when it was opened.
    pub fn check_unchanged(&self) -> Outcome<()> {
        self.check().map_err(refuse)
    }

    /// A reader of the whole file.
    pub fn reader(self) -> SourceReader {
        let size = self.size();
        SourceReader::new(self, 0, size)
    }

    /// Reads some bytes from `offset` on, where there is to be one at least.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = match &self.content {
            Some(content) => content.as_ref().get(offset as usize..).unwrap_or_default().read(buffer)?,
            None => self.file.read_at(buffer, offset)?,
        };
        if read == 0 && !buffer.is_empty() { Err(self.ended_at(offset)) } else { Ok(read) }
    }

    /// Whether the file is still what it was when it was opened.
    fn check(&self) -> io::Result<()> {
        let now = Metadata::from_file(&self.file)?;
        let is_same = self.content.is_some() || Identity::of(&now) == self.identity();
        if is_same { Ok(()) } else { Err(changed("the file changed while it was read")) }
    }

    /// Whether the file is longer by now than it was when it was opened.
    fn has_grown(&self) -> bool {
        let now = Metadata::from_file(&self.file);
        self.content.is_none() && now.is_ok_and(|now| now.len() > self.metadata.len())
    }

    /// The same, of a file that was read up to `end`: if that is its own end, there is nothing behind it.
    fn check_end(&self, end: u64) -> io::Result<()> {
        self.check()?;
        let is_longer = end == self.size() && self.content.is_none() && self.file.read_at(&mut [0], end)? > 0;
        let why = || format!("the file has more than the {end} bytes that its file system tells");
        if is_longer { Err(changed(why())) } else { Ok(()) }
    }

    /// Why a file has ended before its size.
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

/// What a file has that may have another size than its file system tells: none, or a page at the most, and no block of the
/// disk. `None` where it is as it says.
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

/// Reads a range of a file. Where the file changes meanwhile, its end is an error that carries a
/// [`Refusal`] with the code `changed`. Holes are not read: their zeros cost neither the disk nor the page cache.
#[derive(Debug)]
pub struct SourceReader {
    source: SourceFile,
    at: u64,
    left: u64,
    /// Where the file may have holes: what is known of the place at `at`.
    extent: Option<Extent>,
}

/// A stretch of a file that is all data, or all hole, up to its end.
#[derive(Clone, Copy, Debug)]
struct Extent {
    is_hole: bool,
    end: u64,
}

impl SourceReader {
    fn new(source: SourceFile, at: u64, left: u64) -> Self {
        let extent = source.is_sparse().then_some(Extent { is_hole: false, end: at });
        Self { source, at, left, extent }
    }

    /// What the place at `at` belongs to (lseek(2), `SEEK_DATA` and `SEEK_HOLE`). What is not told of is read.
    fn extent(&mut self) -> io::Result<Option<Extent>> {
        if self.extent.is_none_or(|extent| self.at < extent.end) {
            return Ok(self.extent);
        }
        let (size, file) = (self.source.size(), &self.source.file);
        self.extent = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(self.at)) {
            Ok(data) if data > self.at => Some(Extent { is_hole: true, end: data }),
            Err(Errno::NXIO) => Some(Extent { is_hole: true, end: size }),
            Ok(_) => rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(self.at))
                .ok()
                .map(|end| Extent { is_hole: false, end }),
            Err(_) => None,
        };
        // To look moves the place that is read from.
        if self.extent.is_none_or(|extent| !extent.is_hole) {
            self.source.file.seek(SeekFrom::Start(self.at))?;
        }
        Ok(self.extent)
    }
}

impl SourceReader {
    /// The same, which is digested as it is read, so that it may grow.
    pub fn digesting(self, algorithm: Algorithm) -> DigestingReader {
        let hasher = algorithm.hasher();
        DigestingReader { start: self.at, reader: self, algorithm, hasher }
    }
}

/// Reads a range of a file, and digests it. A file that has grown by the end of that, as a log does, is read once more: with the
/// same digest, it has the same bytes as when it was opened, and more behind them. Any other change is an error, as
/// [`SourceReader`]'s is.
pub struct DigestingReader {
    reader: SourceReader,
    /// Where the range begins.
    start: u64,
    algorithm: Algorithm,
    hasher: Hasher,
}

impl DigestingReader {
    /// Reads the range once more, and compares the digests.
    fn prove(&self) -> io::Result<()> {
        let SourceReader { source, at, .. } = &self.reader;
        let current = self.start..*at;
        let range = RangesReader { source, ranges: Vec::new().into_iter(), current };
        let mut range = range.take(at - self.start);
        let is_same = self.algorithm.digest_of(&mut range, &Meter::default())? == self.digest();
        if is_same { Ok(()) } else { Err(changed("the file changed while it was read")) }
    }
}

impl Digested for DigestingReader {
    fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }
}

impl Read for DigestingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buffer) {
            // Asked after the error, because it may grow at any moment.
            Err(_) if self.reader.left == 0 && self.reader.source.has_grown() => self.prove().map(|()| 0),
            read => read.inspect(|read| self.hasher.update(&buffer[..*read])),
        }
    }
}

impl Read for SourceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return self.source.check_end(self.at).map(|()| 0);
        }
        let extent = self.extent()?;
        let within = extent.map_or(u64::MAX, |extent| extent.end - self.at);
        let wanted = usize::try_from(within).unwrap_or(usize::MAX).min(wanted);
        let read = match extent {
            Some(Extent { is_hole: true, .. }) => {
                buffer[..wanted].fill(0);
                wanted
            }
            _ if self.source.content.is_some() => self.source.read_at(&mut buffer[..wanted], self.at)?,
            _ => self.source.file.read(&mut buffer[..wanted])?,
        };
        if read == 0 {
            return Err(self.source.ended_at(self.at));
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A socket cannot even be opened, nor can a device that nothing stands behind (open(2), `ENXIO`).
pub(crate) fn refuse_to_open(error: io::Error) -> Refusal {
    if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
        return Refusal::new(Code::NotRegular, "it is a socket or a device, not a regular file");
    }
    refuse(error)
}

/// Reads ranges of a file, one after the other. Where the file changes meanwhile, the end is an error as
/// [`SourceReader`]'s is.
#[derive(Debug)]
pub struct RangesReader<'a> {
    source: &'a SourceFile,
    ranges: std::vec::IntoIter<Range<u64>>,
    /// What is left of the range that is read; at the end, where that was.
    current: Range<u64>,
}

impl Read for RangesReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.ranges.next() {
                Some(range) => self.current = range,
                None => return self.source.check_end(self.current.end).map(|()| 0),
            }
        }
        let left = self.current.end - self.current.start;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.source.read_at(&mut buffer[..wanted], self.current.start)?;
        self.current.start += read as u64;
        Ok(read)
    }
}

fn changed(why: impl Into<String>) -> io::Error {
    Refusal::new(Code::Changed, why).into_io()
}

#[cfg(test)]
mod tests;
