//! `put`: a body becomes a file, if it verifies. It brings the whole file, or the ranges that are missing after a `resume`.

use ftpish_protocol::message::Put;
use ftpish_protocol::{Code, Refusal};
use ftpish_storage::{Root, Stage};

use crate::exchange::{Exchange, Failure};
use crate::group::Group;
use crate::upload::{Offered, Receiving};

/// `offered` is the upload that this connection has announced. It is left there if `args` does not complete it.
pub async fn run(
    args: &Put,
    root: &Root,
    offered: &mut Option<Box<Offered>>,
    group: &mut Group,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    let receiving = match &args.ranges {
        None => Receiving::whole(stage(args, root, group)?, args, root)?,
        Some(ranges) => {
            let line = "ranges of a file follow a `resume` of the same path and size";
            let offered = offered.take_if(|offered| offered.is_for(args));
            let offered = offered.ok_or_else(|| Refusal::new(Code::BadRange, line))?;
            offered.accept(args, ranges, root, exchange).await?
        }
    };
    let complete = receiving.receive(args, root, exchange).await?;
    if Group::admits_put(args) {
        let (ready, stored) = complete.into_ready();
        group.add(exchange.id(), &args.path, ready, stored);
        return Ok(());
    }
    let stored = complete.commit(exchange).await?;
    exchange.grant(&stored)
}

/// A new partial file. A small one can use the directory that the last one has open. While a large one arrives, the path
/// can come to lead to another directory, so it always looks.
fn stage(args: &Put, root: &Root, group: &mut Group) -> Result<Stage, Refusal> {
    if Group::admits_put(args) {
        root.stage_near(&mut group.nearby, &args.path, args.replace, args.mtime)
    } else {
        root.stage(&args.path, args.replace, args.mtime)
    }
}
