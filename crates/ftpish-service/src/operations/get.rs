//! `get`: a file's bytes, or a range of them.

use ftpish_protocol::blocks::is_subtree;
use ftpish_protocol::message::{File, Get};
use ftpish_protocol::{Algorithm, Code, Refusal, RemotePath};
use ftpish_storage::{Last, SourceReader};

use super::Operation;
use crate::{Caller, Right};

impl Operation for Get {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::Read, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Followed)]
    }
}

/// Opens a file. Returns what the reply says of it, and the bytes that are asked for. If the reply says `subtree`, they are
/// proven as a subtree of the file that begins at the offset; else, by their digest.
pub fn open(caller: &Caller, args: &Get) -> Result<(File, SourceReader), Refusal> {
    let file = caller.root().open_file(&args.path)?;
    let tag = Some(file.identity().tag());
    let (size, mtime, mode, sparse) = (file.size(), file.mtime(), file.mode(), file.is_sparse());
    let length = args.length.unwrap_or(size.saturating_sub(args.offset));
    // A client that asks for the first part of a file need not know yet that there is no second.
    let is_all = args.subtree && args.offset == 0 && length >= size;
    let (length, subtree) = if is_all { (size, false) } else { (length, args.subtree) };
    let source = file.range(args.offset, length)?;
    if subtree && args.digest != Algorithm::Blake3 {
        return Err(Refusal::new(Code::Unsupported, "only BLAKE3 is made of subtrees"));
    }
    if subtree && !is_subtree(&(args.offset..args.offset + length), size) {
        return Err(Refusal::new(Code::BadRange, "that is no subtree of the file"));
    }
    Ok((File { size, length, mtime, mode, sparse, tag, subtree }, source))
}
