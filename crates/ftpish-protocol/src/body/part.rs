//! Parts: bodies that are one subtree of a file each. A part's digest is the subtree's chaining value, so a part is
//! verified on its own, and all parts together give the digest of the whole file.
//!
//! Deliberately elsewhere: how verified parts become a whole file (`blocks/assembly.rs`).

use std::io::{Read, Write};
use std::ops::Range;

use super::Watch;
use super::error::{BodyError, SendError};
use super::receive::BodyReceiver;
use super::send::{BodySender, Sent};
use crate::blocks::{BlockDigest, Blocks, Gather, Part, Scatter, WriteAt, is_subtree, subtree_of};
use crate::{Algorithm, Connection, Digest};

/// Sends all that `source` yields, which is a [subtree](is_subtree) of a file and begins at `offset`. The trailer's
/// digest is its chaining value.
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

/// As [`send_subtree`], for an aligned `range`. Returns the digests of the blocks in it, too.
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

/// A part of a file that is being received.
pub struct PartReceiver<'a, W> {
    body: BodyReceiver,
    scatter: Scatter<'a, W>,
    blocks: Blocks,
    total: u64,
}

impl<'a, W: WriteAt> PartReceiver<'a, W> {
    /// Receives an aligned `range` of a file into `sink`. The range is a subtree, and its chaining value proves it.
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

    /// Receives a block; `false` after the last one.
    pub fn step<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Result<bool, BodyError> {
        self.body.step(connection, &mut self.scatter)
    }

    /// As [`BodyReceiver::rest`].
    pub fn rest(&mut self) {
        self.body.rest();
    }

    /// Receives the trailer, and verifies what arrived.
    pub fn finish<S: Read + Write>(&mut self, connection: &mut Connection<S>) -> Result<Part, BodyError> {
        let digests = self.scatter.digests();
        let (total, blocks) = (self.total, self.blocks);
        let _proof = self.body.verify(connection, |length| proof(digests, length, total, blocks))?;
        Ok(Part::new(self.blocks, self.scatter.take_digests()))
    }
}

/// Receives an aligned `range` of a file into `sink`, as described at [`PartReceiver::new`].
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

/// The chaining value of a part of `total` bytes. Where only `length` of them passed, the digest of no bytes: an
/// incomplete part proves nothing.
fn proof(digests: &[(usize, BlockDigest)], length: u64, total: u64, blocks: Blocks) -> Digest {
    if length == total { subtree_of(digests, total, blocks) } else { Algorithm::Blake3.digest(&[]) }
}
