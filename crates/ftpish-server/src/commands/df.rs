//! `df`: the space of a file system, or of a quota.

use ftpish_protocol::message::PathArgs;
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub fn run(args: &PathArgs, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let space = if root.has_quota() {
        exchange.while_working(|_| root.space(&args.path))??
    } else {
        root.space(&args.path)?
    };
    exchange.grant(&space)
}
