//! `blocks`: a file's digests by the block, so that a client keeps what it has of it and fetches the rest.

use ftpish_protocol::blocks::{Assembler, Blocks};
use ftpish_protocol::message::{BlocksArgs, Cut};
use ftpish_protocol::{Algorithm, Code, Refusal};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

/// The digest of bodies that are digests themselves.
pub(super) const DIGEST: Algorithm = Algorithm::Blake3;

pub async fn run(args: &BlocksArgs, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let file = root.open_file(&args.path)?;
    let (size, mtime, tag) = (file.size(), file.mtime(), Some(file.identity().tag()));
    let Some(blocks) = Blocks::of(size) else {
        return Err(Refusal::new(Code::BadRange, "a file of one block or less has no blocks to tell").into());
    };
    let wanted = blocks.within(args.length.unwrap_or(size));
    let end = if wanted == 0 { 0 } else { blocks.range(wanted - 1).end };
    let mut reader = file.range(0, end)?;
    let mut assembler = Assembler::new(blocks);
    exchange.digest(&mut reader, end, |bytes| assembler.update(bytes)).await?;
    let digests = assembler.finish().to_bytes();
    let (block, length) = (blocks.block(), digests.len() as u64);
    let cut = Cut { size, mtime, block, length, tag, upload: None, ahead: false };
    exchange.grant_with_body(&cut, &digests, DIGEST).await
}
