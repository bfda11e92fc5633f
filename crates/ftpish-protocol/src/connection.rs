//! One end of the wire over any `Read + Write`: messages and chunks in step, buffered in both directions.
//!
//! The stream may fail with `WouldBlock` in place of waiting. A call that returns that error has lost nothing, and
//! continues where it was when it is repeated. The exception is [`Connection::send`], which must not be repeated: use
//! [`Connection::queue`] over such streams.
//!
//! Deliberately elsewhere: what a body's bytes are, and whether they are right (`body.rs`).

mod chunks;
mod head;
mod input;
mod output;

use std::io::{self, Read, Write};

use serde::Serialize;

pub(crate) use chunks::BodyPart;
use chunks::Incoming;
use head::Heads;
use input::{Input, read_some};
use output::Output;

use crate::frame::{self, LENGTH};
use crate::message::Alive;
use crate::{Error, Header, MAX_HEADER};

/// How many bytes of a body are read, hashed and sent at a time. A power of two, so that BLAKE3 works on whole
/// subtrees; small enough to stay in a core's second-level cache between reading, hashing and sending.
pub const BLOCK: usize = 256 * 1024;

/// The smallest block, for ends with many connections that share their memory: BLAKE3 hashes so many bytes in parallel.
pub const MIN_BLOCK: usize = 16 * 1024;

/// Upper bound on the bytes that one read asks of the stream when only a message is expected.
const READ_AHEAD: usize = 16 * 1024;

/// One end of the wire. What is sent is held back until [`flush`](Self::flush), a full block, or a wait for the
/// peer, so that requests sent in a row leave together.
pub struct Connection<S> {
    stream: S,
    input: Input,
    output: Output,
    incoming: Incoming,
    heads: Heads,
    /// The longest message that is received.
    max_header: usize,
    /// How many bytes of a body are held at a time, in each direction.
    block: usize,
    /// Whether the peer knows `alive`.
    says_alive: bool,
}

/// How much of the next message is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// All of it, or enough for [`Connection::receive`] to say what is wrong with it. That call does not wait.
    Whole,
    /// Some of it, or nothing, and the peer may yet send the rest.
    Part,
    /// The peer closed.
    End,
}

impl<S: Read + Write> Connection<S> {
    /// A connection at its start.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            input: Input::default(),
            output: Output::default(),
            incoming: Incoming::Message,
            heads: Heads::default(),
            max_header: MAX_HEADER,
            block: BLOCK,
            says_alive: true,
        }
    }

    /// Sets the longest message that is received, at most [`MAX_HEADER`]. No more is read ahead. This bounds the memory
    /// that a peer can make this end hold.
    pub fn set_max_header(&mut self, bytes: usize) {
        self.max_header = bytes.min(MAX_HEADER);
    }

    /// How many bytes of a body are read, hashed and sent at a time.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Sets how many bytes of a body are held at a time, in each direction: a power of two, from [`MIN_BLOCK`] to
    /// [`BLOCK`].
    pub fn set_block(&mut self, bytes: usize) {
        self.block = bytes.clamp(MIN_BLOCK, BLOCK);
    }

    /// How many bytes one read asks of the stream when only a message is expected.
    fn read_ahead(&self) -> usize {
        self.max_header.min(READ_AHEAD)
    }

    /// The stream below: to set deadlines, or to check whether the peer has sent something.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Whether bytes from the peer were read and not yet taken.
    pub fn has_input(&self) -> bool {
        !self.input.bytes().is_empty()
    }

    /// Queues a message. Writes what is queued, once that is a block or more.
    pub fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        self.queue(message);
        self.make_room()
    }

    /// Queues a message, and writes nothing.
    pub fn queue(&mut self, message: &impl Serialize) {
        let mut bytes = Vec::with_capacity(256);
        frame::encode(message, &mut bytes);
        self.output.extend(&bytes);
        self.heads.note_sent(bytes);
    }

    /// Keeps [`alive`](Self::send_alive) from a peer that does not know it, and would take it for a malformed request.
    pub fn hold_alive_back(&mut self) {
        self.says_alive = false;
    }

    /// Tells the peer that this end is alive, although it reads nothing. This message never has a body.
    pub fn send_alive(&mut self) -> Result<(), Error> {
        if !self.says_alive {
            return Ok(());
        }
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

    /// Writes all that is queued, if that is a block or more. Less is held back.
    pub fn make_room(&mut self) -> Result<(), Error> {
        if self.output.filled() >= self.block { self.flush() } else { Ok(()) }
    }

    /// Reads what has arrived of the next message, over a stream whose reads fail with `WouldBlock` in place of waiting.
    /// While the message is not whole, the connection can [`rest`](Self::rest) until its stream is readable.
    pub fn arrive(&mut self) -> Result<Arrived, Error> {
        debug_assert!(!self.in_body(), "a body is drained before the next message is received");
        loop {
            let mut wanted = self.read_ahead();
            if let Some(&prefix) = self.input.bytes().first_chunk() {
                let Ok(length) = frame::header_length(prefix, self.max_header) else {
                    return Ok(Arrived::Whole);
                };
                if self.input.bytes().len() >= LENGTH + length {
                    return Ok(Arrived::Whole);
                }
                wanted = wanted.max(LENGTH + length);
            }
            match self.input.read_more(&mut self.stream, wanted) {
                // The message was cut off by the end, and `receive` says so.
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

    /// Releases the memory that is not needed while nothing moves. This can be called at any time, also between a
    /// request and its reply.
    pub fn rest(&mut self) {
        self.output.shrink();
        self.input.shrink();
    }

    /// As [`rest`](Self::rest), between two requests: earlier messages no longer matter, and are forgotten.
    pub fn rest_for_long(&mut self) {
        debug_assert!(!self.in_body(), "a body belongs to the message before it");
        self.rest();
        self.heads = Heads::default();
    }

    /// Receives a message. `None` where the peer closed the connection instead. If the message announces a body, that
    /// begins with [`begin_body`](Self::begin_body).
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
        let json = self.input.bytes()[LENGTH..LENGTH + length].to_vec();
        self.input.take(LENGTH + length);
        self.heads.note_received(&json);
        Ok(Some(Header(json)))
    }

    /// The length in front of a message or a chunk. It is not taken. `None` where the peer closed before it was whole.
    fn peek_length(&mut self) -> Result<Option<[u8; LENGTH]>, Error> {
        self.have(LENGTH)?;
        Ok(self.input.bytes().first_chunk().copied())
    }

    /// Reads until at least `bytes` bytes are here. `false` where the peer closed before that.
    fn have(&mut self, bytes: usize) -> Result<bool, Error> {
        while self.input.bytes().len() < bytes {
            let wanted = self.read_ahead().max(bytes);
            if self.read_behind_output(|input, stream| input.read_more(stream, wanted))? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what is queued, because the peer may be waiting for it, and then reads. If the write fails, the peer may
    /// have closed after it sent a reason: that is still read, and the write's error is returned behind it.
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
                // Large reads go straight into `out`, without a copy.
                return match self.read_behind_output(|_, stream| read_some(stream, out))? {
                    0 => Err(Error::Closed),
                    read => Ok(read),
                };
            }
            if !self.have(1)? {
                return Err(Error::Closed);
            }
        }
        let take = out.len().min(self.input.bytes().len());
        out[..take].copy_from_slice(&self.input.bytes()[..take]);
        self.input.take(take);
        Ok(take)
    }
}
