//! `get`: a file's bytes, or a range of them.

use ftpish_protocol::message::{File, Get};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub fn run(args: &Get, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let file = root.open_file(&args.path)?;
    let tag = Some(file.identity().tag());
    let (size, mtime, mode, sparse) = (file.size(), file.mtime(), file.mode(), file.is_sparse());
    let length = args.length.unwrap_or(size.saturating_sub(args.offset));
    let mut source = file.range(args.offset, length)?;
    exchange.grant_with_body(&File { size, length, mtime, mode, sparse, tag }, &mut source, args.digest)?;
    Ok(())
}
