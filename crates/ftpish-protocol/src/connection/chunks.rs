//! Bodies as chunks on the wire: each chunk has its length in front, and the last is followed by a trailer, or by an
//! error if the sender gave up.
//!
//! Deliberately elsewhere: whether a body's bytes are right (`body`).

use std::io::{self, Read, Write};

use super::Connection;
use crate::frame::{self, ABORTED, ChunkPrefix, LENGTH};
use crate::message::{Aborted, Trailer};
use crate::{Error, Refusal};

/// Where in an incoming body the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// In no body: the next bytes are a message.
    Message,
    /// In front of the first chunk's length.
    Start,
    /// In a chunk with this many bytes left. If none are left, the next chunk's length follows.
    Chunk(usize),
    /// Behind the last chunk: the trailer is next.
    Trailer,
    /// Where the sender gave up: the error is next.
    Aborted,
}

/// The result of [`Connection::read_body`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyPart {
    /// The buffer is full.
    Full,
    /// The body has no more bytes: its trailer is next.
    End,
    /// The body ended with this error in place of a trailer. The stream is in step.
    Aborted(Refusal),
}

impl<S: Read + Write> Connection<S> {
    /// Begins the body of the message just received.
    pub fn begin_body(&mut self) {
        self.heads.begin_body();
        self.incoming = Incoming::Start;
    }

    /// Whether a body was begun and nothing of it was read.
    pub fn is_at_start_of_body(&self) -> bool {
        self.incoming == Incoming::Start
    }

    /// Whether a body was begun and is not yet read to its end.
    pub fn in_body(&self) -> bool {
        self.incoming != Incoming::Message
    }

    /// Reads and discards the rest of a body, so that the next message can be received.
    pub fn drain_body(&mut self) -> Result<(), Error> {
        if !self.in_body() {
            return Ok(());
        }
        let mut block = [0; 4096];
        loop {
            match self.read_body(&mut block, &mut 0)? {
                BodyPart::Full => {}
                BodyPart::End => return self.read_trailer().map(drop),
                BodyPart::Aborted(_) => return Ok(()),
            }
        }
    }

    /// Reads bytes of the body into `buffer[filled..]`, until the buffer is full or the body ends. `filled` counts the
    /// bytes, so that a call that failed with `WouldBlock` can be repeated.
    pub(crate) fn read_body(&mut self, buffer: &mut [u8], filled: &mut usize) -> Result<BodyPart, Error> {
        loop {
            match self.incoming {
                Incoming::Message | Incoming::Trailer => return Ok(BodyPart::End),
                Incoming::Aborted => {
                    let Aborted { error } = self.read_last()?;
                    return Ok(BodyPart::Aborted(error));
                }
                Incoming::Start | Incoming::Chunk(0) => {
                    let prefix = self.peek_length()?.ok_or(Error::Closed)?;
                    self.incoming = match frame::chunk_prefix(prefix)? {
                        ChunkPrefix::Chunk(length) => Incoming::Chunk(length),
                        ChunkPrefix::End => Incoming::Trailer,
                        ChunkPrefix::Aborted => Incoming::Aborted,
                    };
                    self.input.take(LENGTH);
                }
                Incoming::Chunk(left) => {
                    let wanted = left.min(buffer.len() - *filled);
                    if wanted == 0 {
                        return Ok(BodyPart::Full);
                    }
                    let read = self.read_into(&mut buffer[*filled..*filled + wanted])?;
                    *filled += read;
                    self.incoming = Incoming::Chunk(left - read);
                }
            }
        }
    }

    /// Reads the trailer, which ends the body.
    pub(crate) fn read_trailer(&mut self) -> Result<Trailer, Error> {
        debug_assert_eq!(self.incoming, Incoming::Trailer, "the chunks come first");
        self.read_last()
    }

    /// Reads the message that ends a body. It must be there, and must be a `T`.
    fn read_last<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Error> {
        let header = self.read_header()?.ok_or(Error::Closed)?;
        self.incoming = Incoming::Message;
        header.decode().map_err(|e| Error::Malformed(e.to_string()))
    }

    /// Queues one chunk with the bytes that `fill` puts into a buffer of one block. Returns how many they are; none make
    /// no chunk.
    pub(crate) fn queue_chunk(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.output.reserve(LENGTH + self.block)?;
        let spare = self.output.spare(LENGTH + self.block);
        let length = fill(&mut spare[LENGTH..])?;
        if length > 0 {
            let prefix = u32::try_from(length).expect("a block is far below 4 GiB");
            spare[..LENGTH].copy_from_slice(&prefix.to_be_bytes());
            self.output.advance(LENGTH + length);
        }
        Ok(length)
    }

    /// Queues the end of a body's chunks. The trailer comes next.
    pub(crate) fn queue_end(&mut self) {
        self.output.extend(&[0; LENGTH]);
    }

    /// Queues the end of a body that has an error in place of a trailer.
    pub(crate) fn queue_abort(&mut self, error: Refusal) {
        self.output.extend(&ABORTED.to_be_bytes());
        self.queue(&Aborted { error });
    }
}
