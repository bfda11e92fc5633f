//! One end of the wire over any `Read + Write`: messages and chunks in step, buffered in both directions.
//!
//! A stream that fails with `WouldBlock` in place of waiting is as good: a call that returns that error has lost nothing,
//! and goes on where it was when it is repeated. [`Connection::send`] alone must not be repeated;
//! [`Connection::queue`] is for such streams.
//!
//! Deliberately elsewhere: what a body's bytes are and whether they verify (`body.rs`).

use std::io::{self, Read, Write};

use serde::Serialize;

use crate::frame::{self, ABORTED, ChunkPrefix, LENGTH};
use crate::message::{Aborted, Alive};
use crate::{Algorithm, Digest, Error, Header, MAX_HEADER, Refusal};

/// How many bytes a body is read, hashed and sent at a time. A power of two, so that BLAKE3 works on whole
/// subtrees; small enough to stay in a core's second-level cache between reading, hashing and sending.
pub const BLOCK: usize = 256 * 1024;

/// How many at the least, where many connections share the memory: BLAKE3 hashes so many bytes in parallel.
pub const MIN_BLOCK: usize = 16 * 1024;

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
    /// How many bytes of a body are held at a time, in each direction.
    block: usize,
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
    /// Reads once, behind what was not yet taken, so that there are `size` bytes at the most.
    fn read_more(&mut self, stream: &mut impl Read, size: usize) -> Result<usize, Error> {
        self.buffer.copy_within(self.taken..self.filled, 0);
        (self.taken, self.filled) = (0, self.filled - self.taken);
        self.buffer.try_reserve(size.saturating_sub(self.buffer.len())).map_err(io::Error::from)?;
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

/// Bytes that were queued and not yet written: `buffer[written..filled]`. It never shrinks, so that a block is zeroed
/// once only.
#[derive(Default)]
pub(crate) struct Output {
    buffer: Vec<u8>,
    written: usize,
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

    /// Makes sure that there is memory for the next `size` bytes.
    fn reserve(&mut self, size: usize) -> io::Result<()> {
        let more = (self.filled + size).saturating_sub(self.buffer.len());
        Ok(self.buffer.try_reserve(more)?)
    }

    pub(crate) fn advance(&mut self, used: usize) {
        self.filled += used;
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.spare(bytes.len()).copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// Writes what is queued, as far as the stream takes it.
    fn write_to(&mut self, stream: &mut impl Write) -> Result<(), Error> {
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
}

/// Where in an incoming body the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    /// In none: the next bytes are a message.
    Message,
    /// In front of the first chunk's length.
    Start,
    /// In a chunk with this many bytes left; none left means that a chunk's length is next.
    Chunk(usize),
    /// Behind the last chunk: the trailer is next.
    Trailer,
    /// Where the sender gave up: the error is next.
    Aborted,
}

/// What [`Connection::read_body`] came to.
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
    /// A connection at its start.
    pub fn new(stream: S) -> Self {
        let (input, output) = (Input::default(), Output::default());
        let (asked, sent, received, head) = Default::default();
        let (incoming, max_header, block) = (Incoming::Message, MAX_HEADER, BLOCK);
        Self { stream, input, output, incoming, max_header, block, asked, sent, received, head }
    }

    /// Receives no message that is longer, and reads no further ahead: what a peer may make this end hold.
    pub fn set_max_header(&mut self, bytes: usize) {
        self.max_header = bytes.min(MAX_HEADER);
    }

    /// How many bytes of a body are read, hashed and sent at a time.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Holds no more than so many bytes of a body at a time, in each direction: a power of two, from [`MIN_BLOCK`] to
    /// [`BLOCK`].
    pub fn set_block(&mut self, bytes: usize) {
        self.block = bytes.clamp(MIN_BLOCK, BLOCK);
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

    /// Queues a message, and writes what is queued once that is a block.
    pub fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        self.queue(message);
        self.make_room()
    }

    /// Queues a message, and writes nothing.
    pub fn queue(&mut self, message: &impl Serialize) {
        let mut bytes = Vec::with_capacity(256);
        frame::encode(message, &mut bytes);
        self.output.extend(&bytes);
        self.sent = bytes;
    }

    /// Says that this end is alive, though it takes nothing. No body belongs to that.
    pub fn send_alive(&mut self) -> Result<(), Error> {
        let mut bytes = Vec::new();
        frame::encode(&Alive { alive: true }, &mut bytes);
        self.output.extend(&bytes);
        self.flush()
    }

    /// Writes all that is queued.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.output.write_to(&mut self.stream)?;
        Ok(self.stream.flush()?)
    }

    /// Writes all that is queued, if that is a block or more: so much and no more is held back.
    pub fn make_room(&mut self) -> Result<(), Error> {
        if self.output.filled >= self.block { self.flush() } else { Ok(()) }
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
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Arrived::Part);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives back the memory that is not needed while nothing moves, be it in the middle of a request and its answer.
    pub fn rest(&mut self) {
        if self.output.filled == 0 {
            self.output = Output::default();
        }
        let input = &mut self.input;
        input.buffer.copy_within(input.taken..input.filled, 0);
        (input.taken, input.filled) = (0, input.filled - input.taken);
        input.buffer.truncate(input.filled);
        input.buffer.shrink_to_fit();
    }

    /// [`rest`](Self::rest) between two requests: nothing that was said before matters any more.
    pub fn rest_for_long(&mut self) {
        debug_assert!(!self.in_body(), "a body belongs to the message before it");
        self.rest();
        for last in [&mut self.asked, &mut self.sent, &mut self.received, &mut self.head] {
            *last = Vec::new();
        }
    }

    /// Receives a message; `None` where the peer closed in place of sending one. A body that the message announces begins
    /// with [`begin_body`](Self::begin_body).
    pub fn receive(&mut self) -> Result<Option<Header>, Error> {
        debug_assert!(!self.in_body(), "a body is drained before the next message is received");
        self.read_header()
    }

    fn read_header(&mut self) -> Result<Option<Header>, Error> {
        let Some(prefix) = self.peek_length()? else {
            return if self.has_input() { Err(Error::Closed) } else { Ok(None) };
        };
        let length = frame::header_length(prefix, self.max_header)?;
        if !self.have(LENGTH + length)? {
            return Err(Error::Closed);
        }
        let json = self.input.rest()[LENGTH..LENGTH + length].to_vec();
        self.input.taken += LENGTH + length;
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
        self.incoming = Incoming::Start;
    }

    /// Whether a body was begun and nothing of it was taken.
    pub fn is_at_start_of_body(&self) -> bool {
        self.incoming == Incoming::Start
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
        let mut block = [0; 4096];
        loop {
            match self.read_body(&mut block, &mut 0)? {
                BodyPart::Full => {}
                BodyPart::End => return self.read_trailer().map(drop),
                BodyPart::Aborted(_) => return Ok(()),
            }
        }
    }

    /// Reads body bytes into `buffer` behind those of them that are `filled`, until it is full or the body ends.
    pub(crate) fn read_body(&mut self, buffer: &mut [u8], filled: &mut usize) -> Result<BodyPart, Error> {
        loop {
            match self.incoming {
                Incoming::Message | Incoming::Trailer => return Ok(BodyPart::End),
                Incoming::Aborted => {
                    let Aborted { error } = self.read_message()?;
                    return Ok(BodyPart::Aborted(error));
                }
                Incoming::Start | Incoming::Chunk(0) => {
                    let prefix = self.peek_length()?.ok_or(Error::Closed)?;
                    self.incoming = match frame::chunk_prefix(prefix)? {
                        ChunkPrefix::Chunk(length) => Incoming::Chunk(length),
                        ChunkPrefix::End => Incoming::Trailer,
                        ChunkPrefix::Aborted => Incoming::Aborted,
                    };
                    self.input.taken += LENGTH;
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

    /// Reads what follows a body's last chunk; the body is then over.
    pub(crate) fn read_trailer(&mut self) -> Result<crate::message::Trailer, Error> {
        debug_assert_eq!(self.incoming, Incoming::Trailer, "the chunks come first");
        self.read_message()
    }

    /// Reads a message that must be there and of this form, and that ends a body.
    fn read_message<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Error> {
        let header = self.read_header()?.ok_or(Error::Closed)?;
        self.incoming = Incoming::Message;
        header.decode().map_err(|e| Error::Malformed(e.to_string()))
    }

    /// Queues one chunk of what `fill` puts into the given buffer of a block, if any; tells how much.
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

    /// Queues the end of a body's chunks; the trailer comes next.
    pub(crate) fn queue_end(&mut self) {
        self.output.extend(&[0; LENGTH]);
    }

    /// Queues the end of a body that has no trailer, but an error.
    pub(crate) fn queue_abort(&mut self, error: Refusal) {
        self.output.extend(&ABORTED.to_be_bytes());
        self.queue(&Aborted { error });
    }

    /// The length that a message or a chunk begins with, left where it is; `None` where the peer closed before it was whole.
    fn peek_length(&mut self) -> Result<Option<[u8; LENGTH]>, Error> {
        self.have(LENGTH)?;
        Ok(self.input.rest().first_chunk().copied())
    }

    /// Reads until so many bytes are here; `false` where the peer closed before that.
    fn have(&mut self, bytes: usize) -> Result<bool, Error> {
        while self.input.rest().len() < bytes {
            let wanted = self.read_ahead().max(bytes);
            if self.read_behind_output(|input, stream| input.read_more(stream, wanted))? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what is queued, which the peer may be waiting for, and reads then. A peer that takes nothing any more may have
    /// said why before it closed: its last words are read, and behind them it is told that nothing could be written.
    fn read_behind_output(
        &mut self,
        read: impl FnOnce(&mut Input, &mut S) -> Result<usize, Error>,
    ) -> Result<usize, Error> {
        let flushed = match self.flush() {
            Err(error) if error.is_timeout() => return Err(error),
            flushed => flushed,
        };
        match (read(&mut self.input, &mut self.stream), flushed) {
            (Ok(0) | Err(_), Err(error)) => Err(error),
            (read, _) => read,
        }
    }

    /// Reads at least one byte into `out`, which is not empty.
    fn read_into(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        if !self.has_input() {
            if out.len() >= self.read_ahead() {
                // Large reads go straight to where they belong.
                return match self.read_behind_output(|_, stream| read_some(stream, out))? {
                    0 => Err(Error::Closed),
                    read => Ok(read),
                };
            }
            if !self.have(1)? {
                return Err(Error::Closed);
            }
        }
        let take = out.len().min(self.input.rest().len());
        out[..take].copy_from_slice(&self.input.rest()[..take]);
        self.input.taken += take;
        Ok(take)
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
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return Ok(other?),
        }
    }
}
