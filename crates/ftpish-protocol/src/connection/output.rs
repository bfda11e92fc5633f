//! Bytes that were queued and not yet written.

use std::io::{self, Write};

use crate::Error;

/// The buffer in front of the stream: `buffer[written..filled]` is yet to be written. The buffer does not shrink while
/// it is used, so that its memory is zeroed only once.
#[derive(Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
    written: usize,
    filled: usize,
}

impl Output {
    /// Room for the next `size` bytes; [`advance`](Self::advance) says how many of them were used.
    pub(super) fn spare(&mut self, size: usize) -> &mut [u8] {
        if self.buffer.len() < self.filled + size {
            self.buffer.resize(self.filled + size, 0);
        }
        &mut self.buffer[self.filled..self.filled + size]
    }

    /// Makes sure that there is memory for the next `size` bytes.
    pub(super) fn reserve(&mut self, size: usize) -> io::Result<()> {
        let more = (self.filled + size).saturating_sub(self.buffer.len());
        Ok(self.buffer.try_reserve(more)?)
    }

    /// Queues the first `used` bytes of the room that [`spare`](Self::spare) gave.
    pub(super) fn advance(&mut self, used: usize) {
        self.filled += used;
    }

    /// Queues `bytes`.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.spare(bytes.len()).copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// How many bytes the buffer holds. Bytes of a write that was only partly done count until all are written.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Writes all that is queued. After an error, the next call continues behind what was written.
    pub(super) fn write_to(&mut self, stream: &mut impl Write) -> Result<(), Error> {
        while self.written < self.filled {
            match stream.write(&self.buffer[self.written..self.filled]) {
                Ok(0) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        (self.written, self.filled) = (0, 0);
        Ok(())
    }

    /// Releases the memory, if nothing is queued.
    pub(super) fn shrink(&mut self) {
        if self.filled == 0 {
            *self = Self::default();
        }
    }
}
