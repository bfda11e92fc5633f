//! `link`: another name for a file. It is durable when the group is settled that the session has it wait in.

use ftpish_protocol::message::Link;
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};
use crate::group::Group;

pub fn run(args: &Link, root: &Root, group: &mut Group, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    root.link(args)?;
    group.add_made(exchange.id(), [args.to.clone()]);
    Ok(())
}
