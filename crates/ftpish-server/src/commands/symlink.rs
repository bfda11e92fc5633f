//! `symlink`: a symbolic link. Where it leads is looked at by whoever follows it.

use ftpish_protocol::message::{Done, Symlink};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub fn run(args: &Symlink, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let backup = args.backup.as_ref().map(|to| root.backup(&args.path, to)).transpose()?;
    root.make_link(&args.path, &args.target, args.replace, backup)?;
    exchange.grant(&Done {})
}
