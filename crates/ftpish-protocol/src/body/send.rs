//! The sender's role: a body's chunks and its trailer, from any source.
//!
//! Deliberately elsewhere: what is added for parts (`part`) and ranges (`ranges`) of a file.

use std::io::{self, Read, Write};

use super::error::SendError;
use super::{Watch, update};
use crate::message::Trailer;
use crate::{Algorithm, Code, Connection, Digest, Hasher, Refusal};

/// What was sent: the content of the trailer, computed from the bytes that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many bytes.
    pub length: u64,
    /// Their digest.
    pub digest: Digest,
}

/// A source that digests its own bytes while they are read, so that it can check them at the end.
pub trait Digested: Read {
    /// The digest of all bytes that it has yielded.
    fn digest(&self) -> Digest;
}

/// A body that is being sent. It belongs to the last message sent before it.
pub struct BodySender {
    /// `None` where the source hashes what it yields.
    hasher: Option<Hasher>,
    head: Digest,
    length: u64,
}

impl BodySender {
    /// A body with a digest of its own.
    pub fn new<S: Read + Write>(connection: &Connection<S>, algorithm: Algorithm) -> Self {
        Self::of(connection, Some(algorithm.hasher()), algorithm)
    }

    /// A body that is a [subtree](crate::blocks::is_subtree) of a file and begins at `offset`. Its digest is the
    /// chaining value.
    pub fn of_subtree<S: Read + Write>(connection: &Connection<S>, offset: u64) -> Self {
        Self::of(connection, Some(Hasher::of_subtree(offset)), Algorithm::Blake3)
    }

    /// A body whose source digests what it yields, with `algorithm`.
    pub fn undigested<S: Read + Write>(connection: &Connection<S>, algorithm: Algorithm) -> Self {
        Self::of(connection, None, algorithm)
    }

    /// A body that `hasher` digests, if there is one. The trailer's `head` uses `algorithm`.
    pub(super) fn of<S: Read + Write>(
        connection: &Connection<S>,
        hasher: Option<Hasher>,
        algorithm: Algorithm,
    ) -> Self {
        Self { hasher, head: connection.sent_head(algorithm), length: 0 }
    }

    /// Queues the next block from `source`. `false` where the source has ended: the trailer comes next. A source that
    /// fails aborts the body with [`Refusal::from_io`].
    pub fn step<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
        source: &mut impl Read,
    ) -> Result<bool, SendError> {
        connection.make_room()?;
        let hasher = &mut self.hasher;
        let read = connection.queue_chunk(|block| {
            let read = read_some(source, block)?;
            update(hasher, &block[..read]);
            Ok(read)
        });
        match read {
            Ok(0) => {
                connection.queue_end();
                Ok(false)
            }
            Ok(read) => {
                self.length += read as u64;
                Ok(true)
            }
            Err(error) => {
                connection.queue_abort(Refusal::from_io(&error));
                Err(SendError::Source(error))
            }
        }
    }

    /// Queues the trailer. That of a listing has its number of entries.
    pub fn finish<S: Read + Write>(mut self, connection: &mut Connection<S>, entries: Option<u64>) -> Sent {
        let digest = self.take_digest().expect("only bodies with a digest of their own end so");
        self.queue_trailer(connection, digest, entries, None)
    }

    /// Queues the trailer with `digest`, which the source has computed of all that it yielded.
    pub fn finish_as<S: Read + Write>(self, connection: &mut Connection<S>, digest: Digest) -> Sent {
        self.queue_trailer(connection, digest, None, None)
    }

    /// The digest of the bytes that have left, if they were hashed here.
    pub(super) fn take_digest(&mut self) -> Option<Digest> {
        self.hasher.take().map(Hasher::finish)
    }

    /// Queues the trailer. `file` is the digest of the whole file that the body's ranges belong to.
    pub(super) fn queue_trailer<S: Read + Write>(
        self,
        connection: &mut Connection<S>,
        digest: Digest,
        entries: Option<u64>,
        file: Option<Digest>,
    ) -> Sent {
        let (length, head) = (self.length, Some(self.head));
        connection.queue(&Trailer { length, digest, entries, file, head });
        Sent { length, digest }
    }

    /// Sends all that `source` yields, without the trailer. Returns how many bytes that were.
    pub(super) fn run<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
        source: &mut impl Read,
        watch: &mut Watch<'_, S>,
    ) -> Result<u64, SendError> {
        loop {
            if !watch(connection, self.length) {
                connection.queue_abort(Refusal::new(Code::Cancelled, "the sender stopped"));
                connection.make_room()?;
                return Err(SendError::Stopped);
            }
            if !self.step(connection, source)? {
                return Ok(self.length);
            }
        }
    }
}

/// Sends all that `source` yields as a body with its trailer.
///
/// `watch` is called before each chunk; if it returns `false`, the body is aborted. A source that fails aborts it with
/// [`Refusal::from_io`].
pub fn send_body<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Read,
    algorithm: Algorithm,
    watch: &mut Watch<'_, S>,
) -> Result<Sent, SendError> {
    let mut sender = BodySender::new(connection, algorithm);
    sender.run(connection, source, watch)?;
    Ok(sender.finish(connection, None))
}

/// As [`send_body`], for a `source` that digests itself with `algorithm`. The trailer has the source's
/// [digest](Digested::digest).
pub fn send_digested<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Digested,
    algorithm: Algorithm,
    watch: &mut Watch<'_, S>,
) -> Result<Sent, SendError> {
    let mut sender = BodySender::undigested(connection, algorithm);
    sender.run(connection, source, watch)?;
    Ok(sender.finish_as(connection, source.digest()))
}

fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
