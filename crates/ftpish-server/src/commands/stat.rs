//! `stat`: what one name is.

use ftpish_protocol::message::{PathArgs, Stat};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub fn run(args: &PathArgs, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    exchange.grant(&Stat { entry: root.stat(&args.path)? })
}
