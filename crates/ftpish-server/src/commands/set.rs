//! `set`: another time and other permission bits for what is there.

use ftpish_protocol::message::{Set, WasSet};
use ftpish_storage::{Permissions, Root};

use crate::exchange::{Exchange, Failure};

pub fn run(args: &Set, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let unset = root.set(&args.path, args.mtime, Permissions::named(args.mode, !args.limited))?;
    exchange.grant(&WasSet { unset })
}
