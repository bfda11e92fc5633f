//! Bodies: chunks, hashed in the same pass as they are read or written. Sender and receiver are roles; this is
//! the code of both, for both ends. Beside `blocks.rs` the only maker of [`Verified`].

use std::io::{self, Read, Write};
use std::ops::Range;

use crate::blocks::{Assembly, BlockDigest, Blocks, Gather, Part, Scatter, WriteAt, is_subtree, subtree_of};
use crate::connection::{BLOCK, BodyPart};
use crate::message::Trailer;
use crate::{Algorithm, Code, Connection, Digest, Error, Hasher, Refusal};

/// Proof that a body arrived whole: its length and digest were computed from the received bytes, and the
/// sender's trailer says the same. What stores a file takes one of these, so nobody can store what was not
/// verified.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was verified is worth nothing until it is committed"]
pub struct Verified {
    length: u64,
    digest: Digest,
}

impl Verified {
    pub(crate) fn new(length: u64, digest: Digest) -> Self {
        Self { length, digest }
    }

    /// How many bytes arrived.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

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
    let head = Some(connection.sent_head(algorithm));
    let sent = send_hashed(connection, source, algorithm.hasher(), watch)?;
    let Sent { length, digest } = sent;
    connection.send(&Trailer { length, digest, entries: None, file: None, head })?;
    Ok(sent)
}

/// Sends all that `source` yields, which is a [subtree](is_subtree) of a file and begins at `offset`: the trailer's digest
/// is its chaining value.
pub fn send_subtree<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Read,
    offset: u64,
    watch: &mut Watch<'_, S>,
) -> Result<Sent, SendError> {
    let head = Some(connection.sent_head(Algorithm::Blake3));
    let sent = send_hashed(connection, source, Hasher::of_subtree(offset), watch)?;
    let Sent { length, digest } = sent;
    connection.send(&Trailer { length, digest, entries: None, file: None, head })?;
    Ok(sent)
}

/// [`send_subtree`], which tells the digests of the blocks that the subtree has.
pub fn send_part<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Read,
    blocks: Blocks,
    range: Range<u64>,
    watch: &mut Watch<'_, S>,
) -> Result<(Sent, Vec<(usize, BlockDigest)>), SendError> {
    let head = Some(connection.sent_head(Algorithm::Blake3));
    let total = range.end - range.start;
    let mut gather = Gather::new(source, blocks, vec![range]);
    let length = send_chunks(connection, &mut gather, &mut |_| {}, watch)?;
    let digests = gather.into_digests();
    let digest = proof(&digests, length, total, blocks);
    connection.send(&Trailer { length, digest, entries: None, file: None, head })?;
    Ok((Sent { length, digest }, digests))
}

/// Receives an aligned `range` of a file into `sink`. It is proven by a digest of its bytes in this algorithm; or, where
/// there is none, by its chaining value: then it is a subtree.
pub fn receive_part<S: Read + Write>(
    connection: &mut Connection<S>,
    sink: &mut impl WriteAt,
    blocks: Blocks,
    range: Range<u64>,
    algorithm: Option<Algorithm>,
    watch: &mut Watch<'_, S>,
) -> Result<Part, BodyError> {
    debug_assert!(blocks.is_aligned(&range) && (algorithm.is_some() || is_subtree(&range, blocks.size())));
    let total = range.end - range.start;
    let mut hasher = algorithm.map(Algorithm::hasher);
    let mut scatter = Scatter::new(sink, blocks, vec![range]);
    let hash = &mut |bytes: &[u8]| update(&mut hasher, bytes);
    let length = receive_chunks(connection, &mut scatter, hash, Some(total), watch)?;
    let digests = scatter.into_digests();
    let digest = match hasher {
        Some(hasher) => hasher.finish(),
        None => proof(&digests, length, total, blocks),
    };
    let _proof = verify(connection, digest, length, Some(total))?;
    Ok(Part::new(blocks, digests))
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
    let mut hasher = (!merges(&ranges, assembly, algorithm)).then(|| algorithm.hasher());
    let head = Some(connection.sent_head(algorithm));
    let mut gather = Gather::new(source, assembly.blocks(), ranges);
    let length = send_chunks(connection, &mut gather, &mut |bytes| update(&mut hasher, bytes), watch)?;
    gather.into_digests().into_iter().for_each(|(index, digest)| assembly.note(index, digest));
    let file = assembly.digest();
    // Blocks that were left out are for the receiver to miss.
    let hashed = hasher.map(Hasher::finish).or(file).unwrap_or_else(|| algorithm.digest(&[]));
    connection.send(&Trailer { length, digest: hashed, entries: None, file, head })?;
    Ok(Sent { length, digest: hashed })
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
    let total = ranges.iter().map(|range| range.end - range.start).sum();
    let mut hasher = (!merges(&ranges, assembly, algorithm)).then(|| algorithm.hasher());
    let mut scatter = Scatter::new(sink, assembly.blocks(), ranges);
    let hash = &mut |bytes: &[u8]| update(&mut hasher, bytes);
    let length = receive_chunks(connection, &mut scatter, hash, Some(total), watch)?;
    let mut arrived = assembly.clone();
    scatter.into_digests().into_iter().for_each(|(index, digest)| arrived.receive(index, digest));
    let digest = hasher.map(Hasher::finish).or(arrived.digest());
    let digest = digest.ok_or(BodyError::TooShort { announced: total, received: length })?;
    let (_, trailer) = verify(connection, digest, length, Some(total))?;
    *assembly = arrived;
    Ok(trailer.file)
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

/// [`send_body`] without the trailer.
pub(crate) fn send_hashed<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Read,
    mut hasher: Hasher,
    watch: &mut Watch<'_, S>,
) -> Result<Sent, SendError> {
    let length = send_chunks(connection, source, &mut |bytes| hasher.update(bytes), watch)?;
    Ok(Sent { length, digest: hasher.finish() })
}

/// Sends all that `source` yields as chunks, each given to `hash`; tells how many bytes that were.
fn send_chunks<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Read,
    hash: &mut dyn FnMut(&[u8]),
    watch: &mut Watch<'_, S>,
) -> Result<u64, SendError> {
    let mut length = 0;
    loop {
        if !watch(connection, length) {
            connection.send_abort(Refusal::new(Code::Cancelled, "the sender stopped"))?;
            return Err(SendError::Stopped);
        }
        let read = connection.send_chunk(|block| {
            let read = read_some(source, block)?;
            hash(&block[..read]);
            Ok(read)
        })?;
        match read {
            Ok(0) => break,
            Ok(read) => length += read as u64,
            Err(error) => {
                connection.send_abort(Refusal::from_io(&error))?;
                return Err(SendError::Source(error));
            }
        }
    }
    connection.send_end();
    Ok(length)
}

/// Receives the body that [`Connection::begin_body`] began into `sink`, and verifies it.
///
/// `announced` is the length that the header gave: no byte beyond it is written. `watch` is called after each
/// block; where it says `false`, receiving stops.
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
    let mut hasher = algorithm.hasher();
    let length = receive_chunks(connection, sink, &mut |bytes| hasher.update(bytes), announced, watch)?;
    verify(connection, hasher.finish(), length, announced)
}

/// Receives the chunks of a body into `sink`, each block given to `hash` first; tells how many bytes that were.
fn receive_chunks<S: Read + Write>(
    connection: &mut Connection<S>,
    sink: &mut impl Write,
    hash: &mut dyn FnMut(&[u8]),
    announced: Option<u64>,
    watch: &mut Watch<'_, S>,
) -> Result<u64, BodyError> {
    let mut received = 0_u64;
    // One byte beyond what is announced tells that there is more, and a small file needs no large block.
    let wanted =
        announced.map_or(BLOCK, |n| usize::try_from(n.saturating_add(1)).map_or(BLOCK, |n| n.min(BLOCK)));
    let mut block = vec![0; wanted];
    loop {
        let read = match connection.read_body(&mut block)? {
            BodyPart::Bytes(read) => read,
            BodyPart::Aborted(refusal) => return Err(BodyError::Aborted(refusal)),
        };
        if let Some(announced) = announced.filter(|n| received + read as u64 > *n) {
            return Err(BodyError::TooLong { announced });
        }
        hash(&block[..read]);
        sink.write_all(&block[..read]).map_err(BodyError::Sink)?;
        received += read as u64;
        if read < block.len() {
            return Ok(received);
        }
        if !watch(connection, received) {
            return Err(BodyError::Stopped);
        }
    }
}

/// Reads the trailer, and holds it against what arrived.
fn verify<S: Read + Write>(
    connection: &mut Connection<S>,
    digest: Digest,
    received: u64,
    announced: Option<u64>,
) -> Result<(Verified, Trailer), BodyError> {
    let trailer = connection.read_trailer()?;
    if let Some(announced) = announced.filter(|n| received != *n) {
        return Err(BodyError::TooShort { announced, received });
    }
    if trailer.digest != digest || trailer.length != received {
        return Err(BodyError::Mismatch { sent: trailer.digest, received: digest });
    }
    if trailer.head.is_some_and(|head| head != connection.received_head(head.algorithm())) {
        return Err(BodyError::Head);
    }
    Ok((Verified { length: received, digest }, trailer))
}

fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
