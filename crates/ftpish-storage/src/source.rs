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
mod tests {
    use super::*;

    fn scratch(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn ranges_are_read_exactly_and_must_lie_within_the_file() {
        let (_dir, path) = scratch(b"0123456789");
        let read = |offset, length| {
            let mut bytes = String::new();
            SourceFile::open(&path).unwrap().range(offset, length)?.read_to_string(&mut bytes).unwrap();
            Ok::<_, Refusal>(bytes)
        };
        assert_eq!(read(0, 10).unwrap(), "0123456789");
        assert_eq!(read(3, 4).unwrap(), "3456");
        assert_eq!(read(10, 0).unwrap(), "");
        for (offset, length) in [(0, 11), (11, 0), (u64::MAX, 1), (1, u64::MAX)] {
            assert_eq!(read(offset, length).unwrap_err().code, Code::BadRange);
        }
    }

    #[test]
    fn files_with_holes_are_read_as_they_look() {
        let (_dir, path) = scratch(b"");
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let mut whole = vec![0; 5 << 20];
        for (at, bytes) in [(0, &b"begins"[..]), (1 << 20, b"in the middle"), ((3 << 20) - 2, b"over a page")]
        {
            file.write_at(bytes, at as u64).unwrap();
            whole[at..at + bytes.len()].copy_from_slice(bytes);
        }
        file.set_len(whole.len() as u64).unwrap();
        let source = || SourceFile::open(&path).unwrap();
        assert!(source().is_sparse());
        let mut read = Vec::new();
        source().reader().read_to_end(&mut read).unwrap();
        assert!(read == whole);
        for (offset, length) in
            [(0, 10), (5, 1 << 20), ((1 << 20) + 5, 2 << 20), (4 << 20, 1 << 20), (5 << 20, 0)]
        {
            let mut read = Vec::new();
            source().range(offset as u64, length as u64).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == whole[offset..offset + length], "{offset} {length}");
        }
        let mut reader = source().reader();
        file.set_len(1 << 20).unwrap();
        assert_eq!(Refusal::from_io(&reader.read_to_end(&mut Vec::new()).unwrap_err()).code, Code::Changed);
    }

    #[test]
    fn what_is_made_when_it_is_read_has_the_size_that_it_has() {
        for path in ["/proc/version", "/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"] {
            let Ok(content) = std::fs::read(path) else { continue };
            let source = || SourceFile::open(Path::new(path)).unwrap();
            assert_ne!(source().metadata.len(), content.len() as u64, "{path}");
            let mut read = Vec::new();
            source().reader().read_to_end(&mut read).unwrap();
            assert_eq!((read.len() as u64, source().is_sparse()), (source().size(), false));
            if path != "/proc/self/status" {
                assert_eq!(read, content, "{path}");
                let mut end = Vec::new();
                source().ranges(vec![0..3, 5..source().size()]).unwrap().read_to_end(&mut end).unwrap();
                assert_eq!(end, [&content[..3], &content[5..]].concat());
                let mut middle = Vec::new();
                source().range(2, 4).unwrap().read_to_end(&mut middle).unwrap();
                assert_eq!(middle, content[2..6]);
                let (_dir, copy) = scratch(b"");
                let mut out = File::options().write(true).open(&copy).unwrap();
                assert_eq!(source().copy_to(&mut out).unwrap(), content.len() as u64);
                assert_eq!(std::fs::read(copy).unwrap(), content);
            }
        }
    }

    #[test]
    fn a_file_that_shrinks_or_grows_while_it_is_read_is_told() {
        for change in [b"short".as_slice(), b"longer than it was before"] {
            let (_dir, path) = scratch(b"0123456789");
            let mut reader = SourceFile::open(&path).unwrap().reader();
            std::fs::write(&path, change).unwrap();
            let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(Refusal::from_io(&error).code, Code::Changed);
        }
    }

    #[test]
    fn special_files_are_refused_at_once() {
        let (dir, _) = scratch(b"");
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::from_bits_truncate(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, code) in [
            (fifo.as_path(), Code::NotRegular),
            (socket.as_path(), Code::NotRegular),
            (Path::new("/dev/zero"), Code::NotRegular),
            (dir.path(), Code::IsDirectory),
            (&dir.path().join("missing"), Code::NotFound),
        ] {
            assert_eq!(SourceFile::open(path).unwrap_err().code, code, "{path:?}");
        }
    }

    #[test]
    fn a_file_may_grow_while_it_is_digested_and_not_change_otherwise() {
        use std::io::Seek as _;

        let read_while = |change: &dyn Fn(&mut File)| {
            let (_dir, path) = scratch(b"0123456789");
            let mut reader = SourceFile::open(&path).unwrap().range(2, 6).unwrap().digesting(Algorithm::Md5);
            let mut bytes = vec![0; 6];
            reader.read_exact(&mut bytes).unwrap();
            change(&mut File::options().write(true).open(&path).unwrap());
            let ended = reader.read(&mut [0; 9]).map_err(|error| Refusal::from_io(&error).code);
            assert_eq!(reader.digest(), Algorithm::Md5.digest(b"234567"));
            ended
        };
        let write = |file: &mut File, at: u64, bytes: &[u8]| {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(bytes).unwrap();
        };
        assert_eq!(read_while(&|_| {}), Ok(0));
        assert_eq!(read_while(&|file| write(file, 10, b"more")), Ok(0));
        // Outside of the range.
        assert_eq!(read_while(&|file| write(file, 0, b"?123456789more")), Ok(0));
        for changed in [
            read_while(&|file| write(file, 0, b"01?3456789more")),
            read_while(&|file| write(file, 7, b"?89more")),
            read_while(&|file| file.set_len(9).unwrap()),
            read_while(&|file| file.set_len(3).unwrap()),
        ] {
            assert_eq!(changed, Err(Code::Changed));
        }
    }
}
