//! `df`: the space of a file system.

use ftpish_protocol::message::PathArgs;
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub fn run(args: &PathArgs, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    exchange.grant(&root.space(&args.path)?)
}
