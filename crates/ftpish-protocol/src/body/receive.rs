//! The receiver's role: a body's bytes are hashed, written into a sink, and compared with the trailer.
//!
//! Deliberately elsewhere: what is added for parts (`part`) and ranges (`ranges`) of a file.

use std::io::{self, Read, Write};

use super::error::BodyError;
use super::{Watch, update};
use crate::connection::BodyPart;
use crate::digest::zeroed;
use crate::message::Trailer;
use crate::{Algorithm, Connection, Digest, Hasher, Verified};

/// A body that is being received, after [`Connection::begin_body`].
pub struct BodyReceiver {
    /// `None` where the body's blocks are hashed instead, and their digests merge.
    hasher: Option<Hasher>,
    /// The length that the header gave, if it gave one.
    announced: Option<u64>,
    /// How many bytes were hashed.
    received: u64,
    /// The current block: `block[..filled]`. While the body rests, it holds no memory.
    block: Vec<u8>,
    filled: usize,
    /// Set while `block[..filled]` is hashed and not yet written to its end.
    writing: Option<Writing>,
    /// The size of `block` while it holds memory.
    size: usize,
}

/// How far a block is written.
struct Writing {
    written: usize,
    /// Whether this is the last block of the body.
    ended: bool,
}

impl BodyReceiver {
    /// `announced` is the length that the header gave: no byte beyond it is written.
    pub fn new<S: Read + Write>(
        connection: &Connection<S>,
        algorithm: Algorithm,
        announced: Option<u64>,
    ) -> Self {
        Self::of(connection, Some(algorithm.hasher()), announced)
    }

    /// As [`new`](Self::new), with a hasher only where no merged digest is given to [`verify`](Self::verify).
    pub(super) fn of<S: Read + Write>(
        connection: &Connection<S>,
        hasher: Option<Hasher>,
        announced: Option<u64>,
    ) -> Self {
        // One more byte than announced is enough to notice that there are more. A small file needs no large block.
        let most = connection.block();
        let size =
            announced.map_or(most, |n| usize::try_from(n.saturating_add(1)).map_or(most, |n| n.min(most)));
        Self { hasher, announced, received: 0, block: Vec::new(), filled: 0, writing: None, size }
    }

    /// Releases the memory that is not needed while nothing arrives.
    pub fn rest(&mut self) {
        if self.filled == 0 {
            self.block = Vec::new();
        }
    }

    /// Receives a block, hashes it, and writes it into `sink`. `false` after the last block: the trailer comes next. A
    /// sink that cannot take more for the moment fails with `WouldBlock`, and the step is then repeated.
    pub fn step<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
        sink: &mut impl Write,
    ) -> Result<bool, BodyError> {
        let mut writing = match self.writing.take() {
            Some(writing) => writing,
            None => Writing { written: 0, ended: self.receive(connection)? },
        };
        while writing.written < self.filled {
            match sink.write(&self.block[writing.written..self.filled]) {
                Ok(0) => return Err(BodyError::Sink(io::ErrorKind::WriteZero.into())),
                Ok(count) => writing.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.writing = Some(writing);
                    return Err(BodyError::Sink(error));
                }
            }
        }
        self.filled = 0;
        Ok(!writing.ended)
    }

    /// Receives a block and hashes it. Returns whether the body has ended.
    fn receive<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Result<bool, BodyError> {
        if self.block.is_empty() {
            self.block = zeroed(self.size).map_err(BodyError::Sink)?;
        }
        let ended = match connection.read_body(&mut self.block, &mut self.filled)? {
            BodyPart::Full => false,
            BodyPart::End => true,
            BodyPart::Aborted(refusal) => return Err(BodyError::Aborted(refusal)),
        };
        let block = &self.block[..self.filled];
        let received = self.received + block.len() as u64;
        if let Some(announced) = self.announced.filter(|n| received > *n) {
            self.filled = 0;
            return Err(BodyError::TooLong { announced });
        }
        update(&mut self.hasher, block);
        self.received = received;
        Ok(ended)
    }

    /// Receives the trailer, and compares it with what arrived.
    pub fn finish<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
    ) -> Result<(Verified, Trailer), BodyError> {
        self.verify(connection, |_| unreachable!("only bodies with a digest of their own end so"))
    }

    /// As [`finish`](Self::finish). Where the bytes were not hashed here, `merged` computes the body's digest from those
    /// of its blocks; it is given the number of bytes that arrived.
    pub(super) fn verify<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
        merged: impl FnOnce(u64) -> Digest,
    ) -> Result<(Verified, Trailer), BodyError> {
        let trailer = connection.read_trailer()?;
        let received = self.received;
        let digest = self.hasher.take().map_or_else(|| merged(received), Hasher::finish);
        if let Some(announced) = self.announced.filter(|n| received != *n) {
            return Err(BodyError::TooShort { announced, received });
        }
        if trailer.digest != digest || trailer.length != received {
            return Err(BodyError::Mismatch { sent: trailer.digest, received: digest });
        }
        if trailer.head.is_some_and(|head| head != connection.received_head(head.algorithm())) {
            return Err(BodyError::Head);
        }
        Ok((Verified::new(received, digest), trailer))
    }

    /// Whether the bytes are hashed here.
    pub(super) fn is_hashed(&self) -> bool {
        self.hasher.is_some()
    }

    /// How many bytes have arrived.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Calls `watch`, and fails if it stops the body.
    pub(super) fn look<S: Read + Write>(
        &self,
        connection: &mut Connection<S>,
        watch: &mut Watch<'_, S>,
    ) -> Result<(), BodyError> {
        if watch(connection, self.received) { Ok(()) } else { Err(BodyError::Stopped) }
    }
}

/// Receives the body that [`Connection::begin_body`] began into `sink`, and verifies it.
///
/// `announced` is the length that the header gave: no byte beyond it is written. `watch` is called after each block; if
/// it returns `false`, receiving stops. A slow sink fails with `WouldBlock` each time that the sender is to be told that
/// this end is alive; the write is then repeated.
pub fn receive_body<S: Read + Write>(
    connection: &mut Connection<S>,
    sink: &mut impl Write,
    algorithm: Algorithm,
    announced: Option<u64>,
    watch: &mut Watch<'_, S>,
) -> Result<Verified, BodyError> {
    receive_with_trailer(connection, sink, algorithm, announced, watch).map(|(verified, _)| verified)
}

/// As [`receive_body`]. Returns the trailer too, because that of a listing says more.
pub(crate) fn receive_with_trailer<S: Read + Write>(
    connection: &mut Connection<S>,
    sink: &mut impl Write,
    algorithm: Algorithm,
    announced: Option<u64>,
    watch: &mut Watch<'_, S>,
) -> Result<(Verified, Trailer), BodyError> {
    let mut body = BodyReceiver::new(connection, algorithm, announced);
    loop {
        match body.step(connection, sink) {
            Ok(false) => return body.finish(connection),
            Ok(true) => {}
            Err(BodyError::Sink(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.send_alive()?;
            }
            Err(error) => return Err(error),
        }
        body.look(connection, watch)?;
    }
}
