//! One end of the wire over any `Read + Write`: messages and chunks in step, buffered in both directions.
//!
//! Deliberately elsewhere: what a body's bytes are and whether they verify (`body.rs`).

use std::io::{Read, Write};

use serde::Serialize;

use crate::frame::{self, ABORTED, ChunkPrefix, LENGTH};
use crate::message::Aborted;
use crate::{Algorithm, Digest, Error, Header, MAX_HEADER, Refusal};

/// How many bytes a body is read, hashed and sent at a time. A power of two, so that BLAKE3 works on whole
/// subtrees; small enough to stay in a core's second-level cache between reading, hashing and sending.
pub(crate) const BLOCK: usize = 256 * 1024;

/// How many bytes are asked of the stream at the most when only a message is expected.
const READ_AHEAD: usize = 16 * 1024;

/// One end of the wire. What is sent is held back until [`flush`](Self::flush), a full block, or a wait for the
/// peer, so that requests sent in a row leave together.
pub struct Connection<S> {
    stream: S,
    input: Input,
    output: Output,
    incoming: Incoming,
    /// The longest message that is received.
    max_header: usize,
    /// The request that the next body answers; empty where the body is a request's own.
    asked: Vec<u8>,
    /// The message that was sent last: what a body that is sent next belongs to.
    sent: Vec<u8>,
    /// The message that was received last: what a body that is begun next belongs to.
    received: Vec<u8>,
    /// The message that the body which is being received belongs to.
    head: Vec<u8>,
}

/// Bytes that were read from the stream and not yet taken.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
}

impl Input {
    /// Reads once, when all was taken: at most `ahead` bytes.
    fn read_from(&mut self, stream: &mut impl Read, ahead: usize) -> Result<usize, Error> {
        (self.taken, self.filled) = (0, 0);
        self.read_more(stream, ahead)
    }

    /// Reads once, behind what was not yet taken, so that there are `size` bytes at the most.
    fn read_more(&mut self, stream: &mut impl Read, size: usize) -> Result<usize, Error> {
        self.buffer.copy_within(self.taken..self.filled, 0);
        (self.taken, self.filled) = (0, self.filled - self.taken);
        self.buffer.resize(size.max(self.filled), 0);
        let read = read_some(stream, &mut self.buffer[self.filled..])?;
        self.filled += read;
        Ok(read)
    }

    /// What was not yet taken.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..self.filled]
    }
}

/// How much of the next message is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// All of it, or so much that [`Connection::receive`] knows what is wrong with it: it does not wait.
    Whole,
    /// Some of it, or nothing, and the peer may yet send the rest.
    Part,
    /// The peer closed.
    End,
}

/// Bytes that were queued and not yet written. `buffer` never shrinks, so that a block is zeroed once only.
#[derive(Default)]
pub(crate) struct Output {
    buffer: Vec<u8>,
    filled: usize,
}

impl Output {
    /// Room for the next `size` bytes; [`advance`](Self::advance) says how many were used.
    pub(crate) fn spare(&mut self, size: usize) -> &mut [u8] {
        if self.buffer.len() < self.filled + size {
            self.buffer.resize(self.filled + size, 0);
        }
        &mut self.buffer[self.filled..self.filled + size]
    }

    pub(crate) fn advance(&mut self, used: usize) {
        self.filled += used;
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.spare(bytes.len()).copy_from_slice(bytes);
        self.advance(bytes.len());
    }
}

/// Where in an incoming body the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    /// In none: the next bytes are a message.
    Message,
    /// In a chunk with this many bytes left; none left means that a chunk's length is next.
    Chunk(usize),
    /// Behind the last chunk: the trailer is next.
    Trailer,
}

/// What [`Connection::read_body`] found.
pub(crate) enum BodyPart {
    /// This many bytes, all that were asked for unless the body ended.
    Bytes(usize),
    /// The body ended with this error in place of a trailer. The stream is in step.
    Aborted(Refusal),
}

impl<S: Read + Write> Connection<S> {
    /// A connection at its start.
    pub fn new(stream: S) -> Self {
        let (input, output) = (Input::default(), Output::default());
        let (asked, sent, received, head) = Default::default();
        let (incoming, max_header) = (Incoming::Message, MAX_HEADER);
        Self { stream, input, output, incoming, max_header, asked, sent, received, head }
    }

    /// Receives no message that is longer, and reads no further ahead: what a peer may make this end hold.
    pub fn set_max_header(&mut self, bytes: usize) {
        self.max_header = bytes.min(MAX_HEADER);
    }

    /// How many bytes are asked of the stream when only a message is expected.
    fn read_ahead(&self) -> usize {
        self.max_header.min(READ_AHEAD)
    }

    /// The stream below: to set deadlines, or to look whether the peer has spoken.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Whether bytes of the peer were read and not yet taken.
    pub fn has_input(&self) -> bool {
        self.input.taken < self.input.filled
    }

    /// Queues a message.
    pub fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(256);
        frame::encode(message, &mut bytes);
        self.output.extend(&bytes);
        self.sent = bytes;
        self.flush_full()
    }

    /// Writes all that is queued.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.output.filled == 0 {
            return Ok(());
        }
        let filled = std::mem::take(&mut self.output.filled);
        self.stream.write_all(&self.output.buffer[..filled])?;
        Ok(self.stream.flush()?)
    }

    fn flush_full(&mut self) -> Result<(), Error> {
        if self.output.filled >= BLOCK { self.flush() } else { Ok(()) }
    }

    /// Reads the next message as far as it is here, over a stream whose reads fail with `WouldBlock` in place of waiting. A
    /// connection that has none can rest until its stream is readable: see [`rest`](Self::rest).
    pub fn arrive(&mut self) -> Result<Arrived, Error> {
        debug_assert!(!self.in_body(), "a body is drained before the next message is received");
        loop {
            let mut wanted = self.read_ahead();
            if let Some(&prefix) = self.input.rest().first_chunk() {
                let Ok(length) = frame::header_length(prefix, self.max_header) else {
                    return Ok(Arrived::Whole);
                };
                if self.input.rest().len() >= LENGTH + length {
                    return Ok(Arrived::Whole);
                }
                wanted = wanted.max(LENGTH + length);
            }
            match self.input.read_more(&mut self.stream, wanted) {
                // What is cut is no message, and `receive` says so.
                Ok(0) if self.has_input() => return Ok(Arrived::Whole),
                Ok(0) => return Ok(Arrived::End),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Ok(Arrived::Part);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives back the memory that is not needed while nothing moves.
    pub fn rest(&mut self) {
        debug_assert_eq!(self.output.filled, 0, "what is queued is written first");
        let input = &mut self.input;
        input.buffer.copy_within(input.taken..input.filled, 0);
        (input.taken, input.filled) = (0, input.filled - input.taken);
        input.buffer.truncate(input.filled);
        input.buffer.shrink_to_fit();
        self.output = Output::default();
        for last in [&mut self.asked, &mut self.sent, &mut self.received, &mut self.head] {
            *last = Vec::new();
        }
    }

    /// Receives a message; `None` where the peer closed in place of sending one. A body that the message announces begins
    /// with [`begin_body`](Self::begin_body).
    pub fn receive(&mut self) -> Result<Option<Header>, Error> {
        debug_assert!(!self.in_body(), "a body is drained before the next message is received");
        let mut prefix = [0; LENGTH];
        match self.fill(&mut prefix)? {
            0 => return Ok(None),
            LENGTH => {}
            _ => return Err(Error::Closed),
        }
        let mut json = vec![0; frame::header_length(prefix, self.max_header)?];
        self.fill_exact(&mut json)?;
        self.received.clone_from(&json);
        Ok(Some(Header(json)))
    }

    /// Says which request the next body answers, sent or received; none where the body is a request's own. The
    /// trailer's `head` covers it.
    pub fn answer(&mut self, request: Option<&Header>) {
        self.asked.clear();
        self.asked.extend(request.map_or(&[][..], |header| &header.0));
    }

    /// The message that was sent last.
    pub fn last_sent(&self) -> Header {
        Header(self.sent.get(LENGTH..).unwrap_or_default().to_vec())
    }

    /// What the trailer of a body that is sent says of the messages before it.
    pub(crate) fn sent_head(&self, algorithm: Algorithm) -> Digest {
        digest_of(algorithm, &self.asked, self.sent.get(LENGTH..).unwrap_or_default())
    }

    /// What the trailer of the body that was begun last must say of the messages before it.
    pub(crate) fn received_head(&self, algorithm: Algorithm) -> Digest {
        digest_of(algorithm, &self.asked, &self.head)
    }

    /// Says that the message just received has a body.
    pub fn begin_body(&mut self) {
        std::mem::swap(&mut self.head, &mut self.received);
        self.incoming = Incoming::Chunk(0);
    }

    /// Whether a body was begun and is not yet read to its end.
    pub fn in_body(&self) -> bool {
        self.incoming != Incoming::Message
    }

    /// Reads and throws away what is left of a body, so that the next message can be received.
    pub fn drain_body(&mut self) -> Result<(), Error> {
        if !self.in_body() {
            return Ok(());
        }
        let mut block = vec![0; self.read_ahead()];
        loop {
            match self.read_body(&mut block)? {
                BodyPart::Aborted(_) => return Ok(()),
                BodyPart::Bytes(read) if read < block.len() => break,
                BodyPart::Bytes(_) => {}
            }
        }
        self.read_trailer().map(drop)
    }

    /// Reads body bytes until `buffer` is full or the body ends.
    pub(crate) fn read_body(&mut self, buffer: &mut [u8]) -> Result<BodyPart, Error> {
        let mut read = 0;
        loop {
            match self.incoming {
                Incoming::Message | Incoming::Trailer => return Ok(BodyPart::Bytes(read)),
                Incoming::Chunk(0) => {
                    let mut prefix = [0; LENGTH];
                    self.fill_exact(&mut prefix)?;
                    match frame::chunk_prefix(prefix)? {
                        ChunkPrefix::Chunk(length) => self.incoming = Incoming::Chunk(length),
                        ChunkPrefix::End => self.incoming = Incoming::Trailer,
                        ChunkPrefix::Aborted => {
                            let Aborted { error } = self.read_message()?;
                            return Ok(BodyPart::Aborted(error));
                        }
                    }
                }
                Incoming::Chunk(left) => {
                    let wanted = left.min(buffer.len() - read);
                    if wanted == 0 {
                        return Ok(BodyPart::Bytes(read));
                    }
                    self.fill_exact(&mut buffer[read..read + wanted])?;
                    read += wanted;
                    self.incoming = Incoming::Chunk(left - wanted);
                }
            }
        }
    }

    /// Reads what follows a body's last chunk; the body is then over.
    pub(crate) fn read_trailer(&mut self) -> Result<crate::message::Trailer, Error> {
        debug_assert_eq!(self.incoming, Incoming::Trailer, "the chunks come first");
        self.read_message()
    }

    /// Reads a message that must be there and of this form, and that ends a body.
    fn read_message<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Error> {
        self.incoming = Incoming::Message;
        let header = self.receive()?.ok_or(Error::Closed)?;
        header.decode().map_err(|e| Error::Malformed(e.to_string()))
    }

    /// Queues one chunk of what `fill` puts into the given buffer of [`BLOCK`] bytes, if any; tells how much.
    pub(crate) fn send_chunk<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, Error> {
        let spare = self.output.spare(LENGTH + BLOCK);
        let length = match fill(&mut spare[LENGTH..]) {
            Ok(0) => return Ok(Ok(0)),
            Ok(length) => length,
            Err(error) => return Ok(Err(error)),
        };
        let prefix = u32::try_from(length).expect("a block is far below 4 GiB");
        spare[..LENGTH].copy_from_slice(&prefix.to_be_bytes());
        self.output.advance(LENGTH + length);
        self.flush_full()?;
        Ok(Ok(length))
    }

    /// Queues the end of a body's chunks; the trailer comes next.
    pub(crate) fn send_end(&mut self) {
        self.output.extend(&[0; LENGTH]);
    }

    /// Queues the end of a body that has no trailer, but an error.
    pub(crate) fn send_abort(&mut self, error: Refusal) -> Result<(), Error> {
        self.output.extend(&ABORTED.to_be_bytes());
        self.send(&Aborted { error })
    }

    /// Fills `out` as far as the stream goes; short only where the peer closed.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        let ahead = self.read_ahead();
        while done < out.len() {
            let input = &mut self.input;
            if input.taken < input.filled {
                let take = (out.len() - done).min(input.filled - input.taken);
                out[done..done + take].copy_from_slice(&input.buffer[input.taken..input.taken + take]);
                input.taken += take;
                done += take;
                continue;
            }
            // The peer may be waiting for what is queued.
            self.flush()?;
            // Large reads go straight to where they belong.
            let read = if out.len() - done >= ahead {
                let read = read_some(&mut self.stream, &mut out[done..])?;
                done += read;
                read
            } else {
                self.input.read_from(&mut self.stream, ahead)?
            };
            if read == 0 {
                break;
            }
        }
        Ok(done)
    }

    fn fill_exact(&mut self, out: &mut [u8]) -> Result<(), Error> {
        if self.fill(out)? == out.len() { Ok(()) } else { Err(Error::Closed) }
    }
}

fn digest_of(algorithm: Algorithm, asked: &[u8], head: &[u8]) -> Digest {
    let mut hasher = algorithm.hasher();
    hasher.update(asked);
    hasher.update(head);
    hasher.finish()
}

fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    loop {
        match stream.read(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            other => return Ok(other?),
        }
    }
}
