//! `df`: the space of a file system, or of a quota.

use ftpish_protocol::message::PathArgs;
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub async fn run(args: &PathArgs, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let space = if root.has_quota() {
        let (root, path) = (root.clone(), args.path.clone());
        exchange.while_working(move |_| root.space(&path)).await?
    } else {
        root.space(&args.path)?
    };
    exchange.grant(&space)
}
