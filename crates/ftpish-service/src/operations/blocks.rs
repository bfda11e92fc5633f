//! `blocks`: a file's digests by the block, so that a client keeps what it has of it and fetches the rest.

use ftpish_protocol::blocks::{Assembler, Blocks};
use ftpish_protocol::message::{BlocksArgs, Cut};
use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::Last;

use super::Operation;
use crate::{Caller, Front, Right};

impl Operation for BlocksArgs {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::Read, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Followed)]
    }
}

/// Reads and digests a file by the block. Returns the reply, and one block's digest after the other.
pub async fn digest<F: Front>(
    caller: &Caller,
    args: &BlocksArgs,
    front: &mut F,
) -> Result<(Cut, Vec<u8>), F::Failure> {
    let file = caller.root().open_file(&args.path)?;
    let (size, mtime, tag) = (file.size(), file.mtime(), Some(file.identity().tag()));
    let Some(blocks) = Blocks::of(size) else {
        return Err(Refusal::new(Code::BadRange, "a file of one block or less has no blocks to tell").into());
    };
    let wanted = blocks.within(args.length.unwrap_or(size));
    let end = if wanted == 0 { 0 } else { blocks.range(wanted - 1).end };
    let mut reader = file.range(0, end)?;
    let mut assembler = Assembler::new(blocks);
    front.digest(&mut reader, end, |bytes| assembler.update(bytes)).await?;
    let digests = assembler.finish().to_bytes();
    let (block, length) = (blocks.block(), digests.len() as u64);
    Ok((Cut { size, mtime, block, length, tag, upload: None, ahead: false }, digests))
}
