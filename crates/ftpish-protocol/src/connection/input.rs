//! Bytes that were read from the stream and not yet taken.

use std::io::{self, Read};

use crate::Error;

/// The buffer behind the stream: `buffer[taken..filled]` is yet to be taken.
#[derive(Default)]
pub(super) struct Input {
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
}

impl Input {
    /// Reads once, behind the bytes that are here, until there are at most `size` bytes.
    pub(super) fn read_more(&mut self, stream: &mut impl Read, size: usize) -> Result<usize, Error> {
        self.compact();
        self.buffer.try_reserve(size.saturating_sub(self.buffer.len())).map_err(io::Error::from)?;
        self.buffer.resize(size.max(self.filled), 0);
        let read = read_some(stream, &mut self.buffer[self.filled..])?;
        self.filled += read;
        Ok(read)
    }

    /// The bytes that are here.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.taken..self.filled]
    }

    /// Takes the first `count` of the bytes that are here.
    pub(super) fn take(&mut self, count: usize) {
        self.taken += count;
    }

    /// Releases all memory but that of the bytes that are here.
    pub(super) fn shrink(&mut self) {
        self.compact();
        self.buffer.truncate(self.filled);
        self.buffer.shrink_to_fit();
    }

    fn compact(&mut self) {
        self.buffer.copy_within(self.taken..self.filled, 0);
        (self.taken, self.filled) = (0, self.filled - self.taken);
    }
}

/// Reads once. An interrupted read is repeated.
pub(super) fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    loop {
        match stream.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return Ok(other?),
        }
    }
}
