//! `ls`: the entries of a directory, streamed as they are read.

use ftpish_protocol::message::{Done, Ls};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub async fn run(args: &Ls, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    exchange.grant_with_listing(&Done {}, root.list(&args.path)?, args.digest).await
}
