//! `get`: a file's bytes, or a range of them.

use ftpish_protocol::blocks::is_subtree;
use ftpish_protocol::message::{File, Get};
use ftpish_protocol::{Algorithm, Code, Refusal};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub async fn run(args: &Get, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let file = root.open_file(&args.path)?;
    let tag = Some(file.identity().tag());
    let (size, mtime, mode, sparse) = (file.size(), file.mtime(), file.mode(), file.is_sparse());
    let length = args.length.unwrap_or(size.saturating_sub(args.offset));
    // Who asks for the first part of a file need not know yet that there is no second.
    let is_all = args.subtree && args.offset == 0 && length >= size;
    let (length, subtree) = if is_all { (size, false) } else { (length, args.subtree) };
    let source = file.range(args.offset, length)?;
    let file = File { size, length, mtime, mode, sparse, tag, subtree };
    if !subtree {
        exchange.grant_with_file(&file, source.digesting(args.digest), args.digest).await
    } else if args.digest != Algorithm::Blake3 {
        Err(Refusal::new(Code::Unsupported, "only BLAKE3 is made of subtrees").into())
    } else if !is_subtree(&(args.offset..args.offset + length), size) {
        Err(Refusal::new(Code::BadRange, "that is no subtree of the file").into())
    } else {
        exchange.grant_with_subtree(&file, source, args.offset).await
    }
}
