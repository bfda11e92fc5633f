//! Bodies: chunks, hashed in the same pass as they are read or written. Sender and receiver are roles; this is
//! the code of both, for both ends.
//!
//! [`BodySender`], [`BodyReceiver`] and what is built on them move a block at a time: each step may fail with `WouldBlock`
//! over a stream that does not wait, and is then repeated. [`send_body`], [`receive_body`] and their like move a body
//! to its end.

use std::io::{self, Read, Write};
use std::ops::Range;

use crate::blocks::{Assembly, BlockDigest, Blocks, Gather, Part, Scatter, WriteAt, is_subtree, subtree_of};
use crate::connection::BodyPart;
use crate::digest::zeroed;
use crate::message::Trailer;
use crate::{Algorithm, Code, Connection, Digest, Error, Hasher, Refusal, Verified};

/// What was sent: the trailer's content, as computed from the bytes that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many bytes.
    pub length: u64,
    /// Their digest.
    pub digest: Digest,
}

/// Why a body was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] Error),
    /// The source could not be read. The peer was told in-band; the connection is in step.
    #[error("{0}")]
    Source(io::Error),
    /// `watch` said to stop. The peer was told in-band; the connection is in step.
    #[error("stopped")]
    Stopped,
}

/// Why a body was not received and verified.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] Error),
    /// The sender gave up. The connection is in step.
    #[error("{0}")]
    Aborted(Refusal),
    /// The sink took no more. What is left of the body is not yet read: drain it, or drop the connection.
    #[error("{0}")]
    Sink(io::Error),
    /// `watch` said to stop. What is left of the body is not yet read.
    #[error("stopped")]
    Stopped,
    /// There are more bytes than were announced. What is left of the body is not yet read.
    #[error("more than the announced {announced} bytes arrived")]
    TooLong {
        /// What the header said.
        announced: u64,
    },
    /// There are fewer bytes than were announced. The connection is in step.
    #[error("{received} bytes arrived, {announced} were announced")]
    TooShort {
        /// What the header said.
        announced: u64,
        /// What came.
        received: u64,
    },
    /// The trailer tells of other bytes than those that arrived. The connection is in step.
    #[error("the sender's {sent} is not the {received} of what arrived")]
    Mismatch {
        /// What the trailer said.
        sent: Digest,
        /// What was computed.
        received: Digest,
    },
    /// The message before the body, or the request that it answers, arrived as another one than was sent. The connection
    /// is in step.
    #[error("the message in front of what arrived is not the one that was sent")]
    Head,
}

impl BodyError {
    /// The refusal that tells the sender of this; none where the connection is of no use or the sender knows.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Connection(_) | Self::Aborted(_) => None,
            Self::Sink(error) => Some(Refusal::from_io(error)),
            Self::Stopped => Some(Refusal::new(Code::Cancelled, "stopped")),
            Self::TooLong { .. } | Self::TooShort { .. } | Self::Mismatch { .. } | Self::Head => {
                Some(Refusal::new(Code::Mismatch, self.to_string()))
            }
        }
    }
}

/// Looks at a body between two blocks, told how many bytes have moved; `false` stops it. A sender may receive what
/// the peer has to say meanwhile: the two directions do not know of each other.
pub type Watch<'a, S> = dyn FnMut(&mut Connection<S>, u64) -> bool + 'a;

/// What digests itself while it is read, so that it can make sure of its own bytes at the end.
pub trait Digested: Read {
    /// The digest of all that it has yielded.
    fn digest(&self) -> Digest;
}

/// A body on its way out. The message that it belongs to was sent last.
pub struct BodySender {
    /// None where the source hashes what it yields.
    hasher: Option<Hasher>,
    head: Digest,
    length: u64,
}

impl BodySender {
    /// A body with a digest of its own.
    pub fn new<S: Read + Write>(connection: &Connection<S>, algorithm: Algorithm) -> Self {
        Self { hasher: Some(algorithm.hasher()), ..Self::undigested(connection, algorithm) }
    }

    /// A body that is a [subtree](is_subtree) of a file and begins at `offset`: its digest is the chaining value.
    pub fn of_subtree<S: Read + Write>(connection: &Connection<S>, offset: u64) -> Self {
        Self { hasher: Some(Hasher::of_subtree(offset)), ..Self::undigested(connection, Algorithm::Blake3) }
    }

    /// A body whose source digests what it yields, in this algorithm.
    pub fn undigested<S: Read + Write>(connection: &Connection<S>, algorithm: Algorithm) -> Self {
        Self { hasher: None, head: connection.sent_head(algorithm), length: 0 }
    }

    /// Queues the next block of what `source` yields, behind those before it; `false` where there is none: the trailer comes
    /// next. A source that fails aborts the body with [`Refusal::from_io`].
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

    /// Queues the trailer; that of a listing has its number of entries.
    pub fn finish<S: Read + Write>(mut self, connection: &mut Connection<S>, entries: Option<u64>) -> Sent {
        let hasher = self.hasher.take().expect("only bodies with a digest of their own end so");
        self.queue_trailer(connection, hasher.finish(), entries)
    }

    /// Queues the trailer, with the digest of all that an undigested source has yielded.
    pub fn finish_as<S: Read + Write>(self, connection: &mut Connection<S>, digest: Digest) -> Sent {
        self.queue_trailer(connection, digest, None)
    }

    fn queue_trailer<S: Read + Write>(
        self,
        connection: &mut Connection<S>,
        digest: Digest,
        entries: Option<u64>,
    ) -> Sent {
        let (length, head) = (self.length, Some(self.head));
        connection.queue(&Trailer { length, digest, entries, file: None, head });
        Sent { length, digest }
    }

    /// Moves all that `source` yields.
    fn run<S: Read + Write>(
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
/// `watch` is called before each chunk; where it says `false`, the body is aborted. A source that fails aborts it with
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

/// Sends all that `source` yields and digests itself, in this algorithm; [`Digested::digest`] is what the trailer has.
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

/// Sends all that `source` yields, which is a [subtree](is_subtree) of a file and begins at `offset`: the trailer's digest
/// is its chaining value.
pub fn send_subtree<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Read,
    offset: u64,
    watch: &mut Watch<'_, S>,
) -> Result<Sent, SendError> {
    let mut sender = BodySender::of_subtree(connection, offset);
    sender.run(connection, source, watch)?;
    Ok(sender.finish(connection, None))
}

/// [`send_subtree`], which tells the digests of the blocks that the subtree has.
pub fn send_part<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Read,
    blocks: Blocks,
    range: Range<u64>,
    watch: &mut Watch<'_, S>,
) -> Result<(Sent, Vec<(usize, BlockDigest)>), SendError> {
    let mut sender = BodySender::undigested(connection, Algorithm::Blake3);
    let total = range.end - range.start;
    let mut gather = Gather::new(source, blocks, vec![range]);
    let length = sender.run(connection, &mut gather, watch)?;
    let digests = gather.into_digests();
    let digest = proof(&digests, length, total, blocks);
    let sent = sender.finish_as(connection, digest);
    connection.make_room()?;
    Ok((sent, digests))
}

/// A part of a file on its way in.
pub struct PartReceiver<'a, W> {
    body: BodyReceiver,
    scatter: Scatter<'a, W>,
    blocks: Blocks,
    total: u64,
}

impl<'a, W: WriteAt> PartReceiver<'a, W> {
    /// An aligned `range` of a file, which goes into `sink`. It is a subtree, and proven by its chaining value.
    pub fn new<S: Read + Write>(
        connection: &Connection<S>,
        sink: &'a mut W,
        blocks: Blocks,
        range: Range<u64>,
    ) -> Self {
        debug_assert!(blocks.is_aligned(&range) && is_subtree(&range, blocks.size()));
        let total = range.end - range.start;
        let body = BodyReceiver::of(connection, None, Some(total));
        Self { body, scatter: Scatter::new(sink, blocks, vec![range]), blocks, total }
    }

    /// Receives a block; `false` where there is no more.
    pub fn step<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Result<bool, BodyError> {
        self.body.step(connection, &mut self.scatter)
    }

    /// As [`BodyReceiver::rest`].
    pub fn rest(&mut self) {
        self.body.rest();
    }

    /// Receives the trailer, and verifies what came.
    pub fn finish<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Result<Part, BodyError> {
        let digests = self.scatter.digests();
        let (total, blocks) = (self.total, self.blocks);
        let _proof = self.body.verify(connection, |length| proof(digests, length, total, blocks))?;
        Ok(Part::new(self.blocks, self.scatter.take_digests()))
    }
}

/// Receives an aligned `range` of a file into `sink`, as [`PartReceiver::new`] says.
pub fn receive_part<S: Read + Write>(
    connection: &mut Connection<S>,
    sink: &mut impl WriteAt,
    blocks: Blocks,
    range: Range<u64>,
    watch: &mut Watch<'_, S>,
) -> Result<Part, BodyError> {
    let mut part = PartReceiver::new(connection, sink, blocks, range);
    while part.step(connection)? {
        part.body.look(connection, watch)?;
    }
    part.finish(connection)
}

/// Sends the `ranges` of a file, which `source` yields one after the other. What `assembly` knows of the rest of the
/// file goes with them into the digest of the whole, which the trailer tells.
pub fn send_ranges<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Read,
    assembly: &mut Assembly,
    ranges: Vec<Range<u64>>,
    algorithm: Algorithm,
    watch: &mut Watch<'_, S>,
) -> Result<Sent, SendError> {
    let hasher = (!merges(&ranges, assembly, algorithm)).then(|| algorithm.hasher());
    let mut sender = BodySender { hasher, ..BodySender::undigested(connection, algorithm) };
    let mut gather = Gather::new(source, assembly.blocks(), ranges);
    let length = sender.run(connection, &mut gather, watch)?;
    gather.into_digests().into_iter().for_each(|(index, digest)| assembly.note(index, digest));
    let file = assembly.digest();
    // Blocks that were left out are for the receiver to miss.
    let hashed = sender.hasher.map(Hasher::finish).or(file).unwrap_or_else(|| algorithm.digest(&[]));
    connection.send(&Trailer { length, digest: hashed, entries: None, file, head: Some(sender.head) })?;
    Ok(Sent { length, digest: hashed })
}

/// Ranges of a file on their way in.
pub struct RangesReceiver<'a, W> {
    body: BodyReceiver,
    scatter: Scatter<'a, W>,
    total: u64,
}

impl<'a, W: WriteAt> RangesReceiver<'a, W> {
    /// `ranges` of a file, which go into `sink`; `assembly` tells what is here of the rest.
    pub fn new<S: Read + Write>(
        connection: &Connection<S>,
        sink: &'a mut W,
        assembly: &Assembly,
        ranges: Vec<Range<u64>>,
        algorithm: Algorithm,
    ) -> Self {
        let total = ranges.iter().map(|range| range.end - range.start).sum();
        let hasher = (!merges(&ranges, assembly, algorithm)).then(|| algorithm.hasher());
        let body = BodyReceiver::of(connection, hasher, Some(total));
        Self { body, scatter: Scatter::new(sink, assembly.blocks(), ranges), total }
    }

    /// Receives a block; `false` where there is no more.
    pub fn step<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Result<bool, BodyError> {
        self.body.step(connection, &mut self.scatter)
    }

    /// As [`BodyReceiver::rest`].
    pub fn rest(&mut self) {
        self.body.rest();
    }

    /// Receives the trailer, verifies what came, and notes its blocks in `assembly`. Tells the digest of the whole file,
    /// if the sender did.
    pub fn finish<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
        assembly: &mut Assembly,
    ) -> Result<Option<Digest>, BodyError> {
        let mut arrived = assembly.clone();
        self.scatter.digests().iter().for_each(|(index, digest)| arrived.receive(*index, *digest));
        let merged = if self.body.hasher.is_some() { None } else { arrived.digest() };
        if self.body.hasher.is_none() && merged.is_none() {
            return Err(BodyError::TooShort { announced: self.total, received: self.body.received });
        }
        let digest = |_| merged.expect("where nothing is hashed, the blocks merge");
        let (_, trailer) = self.body.verify(connection, digest)?;
        *assembly = arrived;
        Ok(trailer.file)
    }
}

/// Receives `ranges` of a file into `sink`, and notes their blocks in `assembly` once they are verified. Tells the
/// digest of the whole file, if the sender did.
pub fn receive_ranges<S: Read + Write>(
    connection: &mut Connection<S>,
    sink: &mut impl WriteAt,
    assembly: &mut Assembly,
    ranges: Vec<Range<u64>>,
    algorithm: Algorithm,
    watch: &mut Watch<'_, S>,
) -> Result<Option<Digest>, BodyError> {
    let mut receiver = RangesReceiver::new(connection, sink, assembly, ranges, algorithm);
    while receiver.step(connection)? {
        receiver.body.look(connection, watch)?;
    }
    receiver.finish(connection, assembly)
}

/// The chaining value of a subtree of which so many bytes went by. Of only a part of it nothing is proven.
fn proof(digests: &[(usize, BlockDigest)], length: u64, total: u64, blocks: Blocks) -> Digest {
    if length == total { subtree_of(digests, total, blocks) } else { Algorithm::Blake3.digest(&[]) }
}

/// Whether the blocks' digests merge into the digest of the body itself, so that it need not be hashed twice.
fn merges(ranges: &[Range<u64>], assembly: &Assembly, algorithm: Algorithm) -> bool {
    let size = assembly.blocks().size();
    algorithm == Algorithm::Blake3 && matches!(ranges, [whole] if *whole == (0..size))
}

fn update(hasher: &mut Option<Hasher>, bytes: &[u8]) {
    if let Some(hasher) = hasher {
        hasher.update(bytes);
    }
}

/// A body on its way in, which [`Connection::begin_body`] began.
pub struct BodyReceiver {
    /// None where the blocks that it consists of are hashed, and merge.
    hasher: Option<Hasher>,
    announced: Option<u64>,
    /// What was hashed.
    received: u64,
    /// What came behind that: `block[..filled]`. It has no memory while the body rests.
    block: Vec<u8>,
    filled: usize,
    /// What is hashed and not yet written: `block[written..filled]`; and whether the body ends behind it.
    writing: Option<Writing>,
    /// How large it is.
    size: usize,
}

/// Where the writing of a block is.
struct Writing {
    written: usize,
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

    fn of<S: Read + Write>(
        connection: &Connection<S>,
        hasher: Option<Hasher>,
        announced: Option<u64>,
    ) -> Self {
        // One byte beyond what is announced tells that there is more, and a small file needs no large block.
        let most = connection.block();
        let size =
            announced.map_or(most, |n| usize::try_from(n.saturating_add(1)).map_or(most, |n| n.min(most)));
        Self { hasher, announced, received: 0, block: Vec::new(), filled: 0, writing: None, size }
    }

    /// Gives back the memory that is not needed while nothing moves.
    pub fn rest(&mut self) {
        if self.filled == 0 {
            self.block = Vec::new();
        }
    }

    /// Receives a block, hashes it, and writes it into `sink`; `false` where there is no more: the trailer comes next. A sink
    /// that takes nothing for the moment fails with `WouldBlock`, and the step may be repeated.
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

    /// Receives a block and hashes it; whether the body has ended.
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

    /// Receives the trailer, and holds it against what arrived.
    pub fn finish<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
    ) -> Result<(Verified, Trailer), BodyError> {
        self.verify(connection, |_| unreachable!("only bodies with a digest of their own end so"))
    }

    /// [`finish`](Self::finish); `merged` tells the digest of so many bytes where none was made of them here.
    fn verify<S: Read + Write>(
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

    fn look<S: Read + Write>(
        &self,
        connection: &mut Connection<S>,
        watch: &mut Watch<'_, S>,
    ) -> Result<(), BodyError> {
        if watch(connection, self.received) { Ok(()) } else { Err(BodyError::Stopped) }
    }
}

/// Receives the body that [`Connection::begin_body`] began into `sink`, and verifies it.
///
/// `announced` is the length that the header gave: no byte beyond it is written. `watch` is called after each
/// block; where it says `false`, receiving stops. A sink that takes nothing for a while fails with `WouldBlock` each time that
/// the sender is to be told that this end is alive.
pub fn receive_body<S: Read + Write>(
    connection: &mut Connection<S>,
    sink: &mut impl Write,
    algorithm: Algorithm,
    announced: Option<u64>,
    watch: &mut Watch<'_, S>,
) -> Result<Verified, BodyError> {
    receive_with_trailer(connection, sink, algorithm, announced, watch).map(|(verified, _)| verified)
}

/// [`receive_body`], and the trailer for what else it says.
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

fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
