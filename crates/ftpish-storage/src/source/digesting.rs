//! Reading a range of a file that may grow meanwhile, as a log does. A second read proves that only new bytes were
//! added.

use std::io::{self, Read};

use ftpish_protocol::{Algorithm, Digest, Digested, Hasher, Meter};

use super::changed;
use super::ranges::RangesReader;
use super::reader::SourceReader;

/// Reads a range of a file, and digests it. If the file has grown by the end of the range, the range is read once more:
/// if the digest is the same, so are the bytes, and new ones were only appended. Any other change is an error, as with
/// [`SourceReader`].
pub struct DigestingReader {
    reader: SourceReader,
    /// Where the range begins.
    start: u64,
    algorithm: Algorithm,
    hasher: Hasher,
}

impl SourceReader {
    /// Digests the range while it is read. The file may then grow meanwhile.
    pub fn digesting(self, algorithm: Algorithm) -> DigestingReader {
        let hasher = algorithm.hasher();
        DigestingReader { start: self.at, reader: self, algorithm, hasher }
    }
}

impl DigestingReader {
    /// Reads the range once more, and compares the digests.
    fn prove(&self) -> io::Result<()> {
        let SourceReader { source, at, .. } = &self.reader;
        // Limited by `take`, so that the reader does not come to its end, where a file that has grown is an error.
        let range = RangesReader::new(source, std::iter::once(self.start..*at).collect());
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
            // The size is asked after the error, because the file can grow at any moment.
            Err(_) if self.reader.left == 0 && self.reader.source.has_grown() => self.prove().map(|()| 0),
            read => read.inspect(|read| self.hasher.update(&buffer[..*read])),
        }
    }
}
