//! `resume`: announces a file that is about to be put. The reply tells, block by block, what the server has of it.

use ftpish_protocol::blocks::Blocks;
use ftpish_protocol::message::Resume;
use ftpish_protocol::{Code, Refusal};
use ftpish_storage::Root;

use super::blocks::DIGEST;
use crate::exchange::{Exchange, Failure};
use crate::upload::{Offered, Uploads, is_optimistic};

pub async fn run(
    args: &Resume,
    root: &Root,
    uploads: &Uploads,
    exchange: &mut Exchange<'_>,
) -> Result<Box<Offered>, Failure> {
    let Some(blocks) = Blocks::of(args.size) else {
        return Err(Refusal::new(Code::BadRange, "a file of one block or less is put as a whole").into());
    };
    let offered = if is_optimistic(args) {
        Offered::fresh(args, blocks, root, uploads)?
    } else {
        Offered::find(args, blocks, root, uploads, exchange).await?
    };
    let (cut, digests) = offered.reply(args);
    exchange.grant_with_body(&cut, &digests, DIGEST).await?;
    Ok(Box::new(offered))
}
