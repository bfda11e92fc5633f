//! Reading one range of a source file. Holes are skipped, and a change of the file is noticed at the end.

use std::io::{self, Read, Seek as _, SeekFrom};

use rustix::io::Errno;

use super::SourceFile;

/// Reads a range of a file. Where the file changes meanwhile, the end of the range is an error that carries a
/// [`Refusal`](ftpish_protocol::Refusal) with the code `changed`. Holes are not read: their zeros cost neither disk reads
/// nor page cache.
#[derive(Debug)]
pub struct SourceReader {
    pub(super) source: SourceFile,
    /// The offset of the next byte.
    pub(super) at: u64,
    /// How many bytes are left of the range.
    pub(super) left: u64,
    /// The extent around `at`, if the file may have holes.
    extent: Option<Extent>,
}

/// A run of data, or a hole.
#[derive(Clone, Copy, Debug)]
struct Extent {
    is_hole: bool,
    end: u64,
}

impl SourceReader {
    /// Reads `left` bytes. The file's position is at `at` already.
    pub(super) fn new(source: SourceFile, at: u64, left: u64) -> Self {
        let extent = source.is_sparse().then_some(Extent { is_hole: false, end: at });
        Self { source, at, left, extent }
    }

    /// The extent around `at` (lseek(2), `SEEK_DATA` and `SEEK_HOLE`). `None` where the file system does not tell: the
    /// bytes are then read.
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
        // The calls above have moved the file's position.
        if self.extent.is_none_or(|extent| !extent.is_hole) {
            self.source.file.seek(SeekFrom::Start(self.at))?;
        }
        Ok(self.extent)
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
