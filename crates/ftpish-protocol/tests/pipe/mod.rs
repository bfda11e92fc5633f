//! A stream in memory: what the peer sent is there to be read, what this end writes is kept. Reading can be slowed
//! down to a few bytes at a time, as a network may do.

use std::io::{self, Read, Write};

pub(crate) struct Pipe {
    received: Vec<u8>,
    taken: usize,
    at_a_time: usize,
    /// Whether the peer may yet send more: reads then fail with `WouldBlock` at the end of what is there.
    unfinished: bool,
    pub(crate) written: Vec<u8>,
}

impl Pipe {
    /// A peer that sent `received`, of which each read gives at most so many bytes, and then closed.
    pub(crate) fn new(received: &[u8], at_a_time: usize) -> Self {
        Self { received: received.to_vec(), taken: 0, at_a_time, unfinished: false, written: Vec::new() }
    }

    /// The same, but it did not close.
    #[allow(dead_code, reason = "not every test has such a peer")]
    pub(crate) fn unfinished(self) -> Self {
        Self { unfinished: true, ..self }
    }

    /// The peer sends the rest, and closes.
    #[allow(dead_code, reason = "not every test has such a peer")]
    pub(crate) fn go_on(&mut self, rest: &[u8]) {
        self.received.extend_from_slice(rest);
        self.unfinished = false;
    }

    /// A peer that says nothing.
    pub(crate) fn silent() -> Self {
        Self::new(&[], 1)
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.received[self.taken..];
        if left.is_empty() && self.unfinished {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = left.len().min(buffer.len()).min(self.at_a_time);
        buffer[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A source that yields these pieces, one a read, and then ends or fails.
pub(crate) struct Pieces<'a> {
    pub(crate) pieces: &'a [&'a [u8]],
    pub(crate) then: Option<io::Error>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.pieces.split_first() {
            Some((piece, rest)) => {
                self.pieces = rest;
                buffer[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            }
            None => self.then.take().map_or(Ok(0), Err),
        }
    }
}
