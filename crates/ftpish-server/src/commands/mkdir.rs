//! `mkdir`: a new directory. It is durable when the group is settled that the session has it wait in.

use ftpish_protocol::message::Mkdir;
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};
use crate::group::Group;

pub fn run(args: &Mkdir, root: &Root, group: &mut Group, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    root.make_dir(&args.path, args.parents, args.mode)?;
    group.add_made(exchange.id(), [args.path.clone()]);
    Ok(())
}
