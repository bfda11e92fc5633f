//! Ranges: bodies of several ranges of a file, one after the other. The trailer has the digest of the ranges' bytes,
//! and that of the whole file if the sender knows it.
//!
//! Deliberately elsewhere: which ranges are missing, and what proves the file (`blocks/assembly.rs`).

use std::io::{Read, Write};
use std::ops::Range;

use super::Watch;
use super::error::{BodyError, SendError};
use super::receive::BodyReceiver;
use super::send::{BodySender, Sent};
use crate::blocks::{Assembly, Gather, Scatter, WriteAt};
use crate::{Algorithm, Connection, Digest};

/// Sends the `ranges` of a file, which `source` yields one after the other. The digests of their blocks are recorded in
/// `assembly`. If that then has all blocks, the trailer has the digest of the whole file.
pub fn send_ranges<S: Read + Write>(
    connection: &mut Connection<S>,
    source: &mut impl Read,
    assembly: &mut Assembly,
    ranges: Vec<Range<u64>>,
    algorithm: Algorithm,
    watch: &mut Watch<'_, S>,
) -> Result<Sent, SendError> {
    let hasher = (!merges(&ranges, assembly, algorithm)).then(|| algorithm.hasher());
    let mut sender = BodySender::of(connection, hasher, algorithm);
    let mut gather = Gather::new(source, assembly.blocks(), ranges);
    sender.run(connection, &mut gather, watch)?;
    gather.into_digests().into_iter().for_each(|(index, digest)| assembly.note(index, digest));
    let file = assembly.digest();
    // A source that ended early has left blocks out, and there is no digest. The receiver notices that by the length.
    let digest = sender.take_digest().or(file).unwrap_or_else(|| algorithm.digest(&[]));
    let sent = sender.queue_trailer(connection, digest, None, file);
    connection.make_room()?;
    Ok(sent)
}

/// Ranges of a file that are being received.
pub struct RangesReceiver<'a, W> {
    body: BodyReceiver,
    scatter: Scatter<'a, W>,
    total: u64,
}

impl<'a, W: WriteAt> RangesReceiver<'a, W> {
    /// Receives `ranges` of a file into `sink`. `assembly` knows which blocks of the rest are present.
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

    /// Receives a block; `false` after the last one.
    pub fn step<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Result<bool, BodyError> {
        self.body.step(connection, &mut self.scatter)
    }

    /// As [`BodyReceiver::rest`].
    pub fn rest(&mut self) {
        self.body.rest();
    }

    /// Receives the trailer, verifies what arrived, and adds its blocks to `assembly`. Returns the digest of the whole
    /// file, if the sender gave it.
    pub fn finish<S: Read + Write>(
        &mut self,
        connection: &mut Connection<S>,
        assembly: &mut Assembly,
    ) -> Result<Option<Digest>, BodyError> {
        let mut arrived = assembly.clone();
        self.scatter.digests().iter().for_each(|(index, digest)| arrived.receive(*index, *digest));
        let merged = if self.body.is_hashed() { None } else { arrived.digest() };
        if !self.body.is_hashed() && merged.is_none() {
            return Err(BodyError::TooShort { announced: self.total, received: self.body.received() });
        }
        let digest = |_| merged.expect("where nothing is hashed, the blocks merge");
        let (_, trailer) = self.body.verify(connection, digest)?;
        *assembly = arrived;
        Ok(trailer.file)
    }
}

/// Receives `ranges` of a file into `sink`, and adds their blocks to `assembly` once they are verified. Returns the
/// digest of the whole file, if the sender gave it.
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

/// Whether the blocks' digests merge into the digest of the body itself, so that its bytes need not be hashed twice.
fn merges(ranges: &[Range<u64>], assembly: &Assembly, algorithm: Algorithm) -> bool {
    let size = assembly.blocks().size();
    algorithm == Algorithm::Blake3 && matches!(ranges, [whole] if *whole == (0..size))
}
