//! `set`: another time and other permission bits for what is there.

use ftpish_protocol::message::{Done, Set};
use ftpish_storage::{Permissions, Root};

use crate::exchange::{Exchange, Failure};

pub fn run(args: &Set, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    root.set(&args.path, args.mtime, Permissions::named(args.mode, !args.limited))?;
    exchange.grant(&Done {})
}
