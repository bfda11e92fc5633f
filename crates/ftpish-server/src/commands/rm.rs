//! `rm`: takes a name away, and what it names; or keeps that under another, which is durable when the group is settled
//! that the session has it wait in.

use ftpish_protocol::message::{Done, Rm};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};
use crate::group::Group;

pub async fn run(
    args: &Rm,
    root: &Root,
    group: &mut Group,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    if let Some(to) = &args.backup {
        root.move_away(&args.path, &root.backup(&args.path, to)?)?;
        group.add_made(exchange.id(), [args.path.clone(), to.clone()]);
        return Ok(());
    }
    if args.recursive {
        let (root, path) = (root.clone(), args.path.clone());
        exchange.while_working(move |_| root.remove(&path, true)).await?;
    } else {
        root.remove(&args.path, false)?;
    }
    exchange.grant(&Done {})
}
