//! Digests: what proves that bytes arrived. Besides `blocks/digest.rs`, this is the only file that names a hash crate.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use blake3::hazmat::HasherExt as _;
use md5::Md5;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::Meter;

/// How many bytes are read and digested at a time.
const BUFFER: usize = 256 * 1024;

/// How many at first: a small file needs no more, and to clear the rest takes longer than to read it.
const FIRST_BUFFER: usize = 16 * 1024;

/// A digest algorithm that both ends may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// BLAKE3, 32 bytes: preferred wherever both ends have it. What `b3sum` prints.
    Blake3,
    /// SHA-256 (FIPS 180-4), 32 bytes. What `sha256sum` prints.
    Sha256,
    /// MD5 (RFC 1321), 16 bytes: every implementation has it. It finds damage, not malice. What `md5sum` prints.
    Md5,
}

impl Algorithm {
    /// All algorithms, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Blake3, Self::Sha256, Self::Md5];

    /// The name on the wire and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
            Self::Md5 => "md5",
        }
    }

    /// The digest's length in bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Blake3 | Self::Sha256 => 32,
            Self::Md5 => 16,
        }
    }

    /// A hasher that has seen nothing yet.
    pub fn hasher(self) -> Hasher {
        Hasher(match self {
            Self::Blake3 => Inner::Blake3(Box::default()),
            Self::Sha256 => Inner::Sha256(Sha256::new()),
            Self::Md5 => Inner::Md5(Md5::new()),
        })
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of all that `source` yields; `meter` counts the bytes, and may stop it.
    pub fn digest_of(self, source: &mut impl Read, meter: &Meter) -> io::Result<Digest> {
        let mut hasher = self.hasher();
        read_through(source, meter, |bytes| hasher.update(bytes))?;
        Ok(hasher.finish())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        Self::ALL.into_iter().find(|a| a.name() == text).ok_or(ParseDigestError)
    }
}

/// Gives all that `source` yields to `take`, in pieces that BLAKE3 likes; `meter` counts the bytes, and may stop it.
pub fn read_through(source: &mut impl Read, meter: &Meter, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut reading = Reading::default();
    loop {
        match reading.step(source, &mut take)? {
            0 => return Ok(()),
            read => meter.add(read as u64)?,
        }
    }
}

/// A buffer of zeros; an error where there is no memory for it, which need not end the process.
pub(crate) fn zeroed(size: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(size)?;
    buffer.resize(size, 0);
    Ok(buffer)
}

/// Reads a source to be digested, in pieces that BLAKE3 likes.
pub struct Reading {
    buffer: Vec<u8>,
    wanted: usize,
}

impl Default for Reading {
    fn default() -> Self {
        Self { buffer: Vec::new(), wanted: FIRST_BUFFER }
    }
}

impl Reading {
    /// Gives the next bytes to `take`, and tells how many there were: none at the end.
    pub fn step(&mut self, source: &mut impl Read, take: impl FnOnce(&[u8])) -> io::Result<usize> {
        if self.buffer.is_empty() {
            self.buffer = zeroed(self.wanted)?;
        }
        loop {
            match source.read(&mut self.buffer[..self.wanted]) {
                Ok(0) => return Ok(0),
                Ok(read) => {
                    take(&self.buffer[..read]);
                    if self.buffer.len() < BUFFER && read == self.wanted {
                        // Up to where pieces of this size begin.
                        (self.buffer, self.wanted) = (zeroed(BUFFER)?, BUFFER - read);
                    } else {
                        self.wanted = self.buffer.len();
                    }
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the memory back: the next step costs an allocation.
    pub fn rest(&mut self) {
        if self.wanted == self.buffer.len() {
            self.buffer = Vec::new();
        }
    }
}

/// A digest in the making.
#[derive(Clone)]
pub struct Hasher(Inner);

#[derive(Clone)]
enum Inner {
    Blake3(Box<blake3::Hasher>),
    Subtree(Box<blake3::Hasher>),
    Sha256(Sha256),
    Md5(Md5),
}

impl Hasher {
    /// Digests a subtree of a file that begins at `offset`: a BLAKE3 chaining value, as a block's.
    pub(crate) fn of_subtree(offset: u64) -> Self {
        let mut hasher = Box::<blake3::Hasher>::default();
        hasher.set_input_offset(offset);
        Self(Inner::Subtree(hasher))
    }

    /// Takes in the next bytes. BLAKE3 is fastest with 16 KiB or more at a time, aligned to that size.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Inner::Blake3(hasher) | Inner::Subtree(hasher) => {
                hasher.update(bytes);
            }
            Inner::Sha256(hasher) => hasher.update(bytes),
            Inner::Md5(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        match self.0 {
            Inner::Blake3(hasher) => Digest::new(Algorithm::Blake3, hasher.finalize().as_bytes()),
            Inner::Subtree(hasher) => Digest::new(Algorithm::Blake3, &hasher.finalize_non_root()),
            Inner::Sha256(hasher) => Digest::new(Algorithm::Sha256, &hasher.finalize()),
            Inner::Md5(hasher) => Digest::new(Algorithm::Md5, &hasher.finalize()),
        }
    }
}

/// A digest and the algorithm that made it, written `blake3:` and lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// Zero beyond the algorithm's length.
    bytes: [u8; 32],
}

impl Digest {
    pub(crate) fn blake3(bytes: [u8; 32]) -> Self {
        Self { algorithm: Algorithm::Blake3, bytes }
    }

    fn new(algorithm: Algorithm, digest: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes[..algorithm.digest_len()].copy_from_slice(digest);
        Self { algorithm, bytes }
    }

    /// The algorithm that made it.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_len()]
    }

    /// The digest as lower-case hex, as `md5sum`, `sha256sum` and `b3sum` print it.
    pub fn hex(&self) -> String {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        self.as_bytes().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(ParseDigestError)?;
        let algorithm: Algorithm = algorithm.parse()?;
        let hex = hex.as_bytes();
        if hex.len() != 2 * algorithm.digest_len() {
            return Err(ParseDigestError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self { algorithm, bytes })
    }
}

fn nibble(digit: u8) -> Result<u8, ParseDigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(ParseDigestError),
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not an algorithm's name, or not such a name, a colon and its number of lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: expected blake3, sha256 or md5, a colon, and lower-case hex")]
pub struct ParseDigestError;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(algorithm: Algorithm, of: &[u8], digest: &str) {
        let made = algorithm.digest(of);
        assert_eq!(made.to_string(), digest);
        assert_eq!(digest.parse(), Ok(made));
    }

    #[test]
    fn published_vectors() {
        check(Algorithm::Md5, b"abc", "md5:900150983cd24fb0d6963f7d28e17f72");
        check(
            Algorithm::Sha256,
            b"abc",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        check(
            Algorithm::Blake3,
            b"",
            "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        );
    }

    #[test]
    fn hashing_in_pieces_is_hashing_the_whole() {
        let data = [7; 100_000];
        for algorithm in Algorithm::ALL {
            let mut hasher = algorithm.hasher();
            data.chunks(777).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish(), algorithm.digest(&data));
        }
    }

    #[test]
    fn a_digest_of_the_wrong_length_or_alphabet_is_refused() {
        for bad in [
            "",
            "md5",
            "md5:",
            "md5:900150983cd24fb0d6963f7d28e17f7",
            "md5:900150983cd24fb0d6963f7d28e17f7200",
            "md5:900150983CD24FB0D6963F7D28E17F72",
            "md5:é00150983cd24fb0d6963f7d28e17f7",
            "crc32:00000000",
        ] {
            assert_eq!(bad.parse::<Digest>(), Err(ParseDigestError), "{bad}");
        }
    }
}
