//! `put`: a body becomes a file, if it verifies.

use ftpish_protocol::message::{Put, Stored};
use ftpish_protocol::{Code, Refusal, Verified};
use ftpish_storage::{Permissions, Ready, Root, Stage};

use super::replace::{back_up, require_expected, stored};
use super::resume::Upload;
use crate::exchange::{Exchange, Failure};
use crate::group::Group;

/// From how many bytes on space is set aside first, and the sync at the end is slow enough to tell the client
/// that work goes on.
const LARGE: u64 = 16 * 1024 * 1024;

pub async fn run(
    args: &Put,
    root: &Root,
    upload: &mut Option<Box<Upload>>,
    group: &mut Group,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    if let Some(ranges) = &args.ranges {
        let line = "ranges of a file follow a `resume` of the same path and size";
        let upload = upload.take_if(|upload| upload.is_for(args));
        let upload = upload.ok_or_else(|| Refusal::new(Code::BadRange, line))?;
        let stored = upload.finish(args, ranges, root, exchange).await?;
        return exchange.grant(&stored);
    }
    let ready = whole(args, root, group, exchange).await?;
    let stored = stored(&ready.verified);
    if Group::admits_put(args) {
        group.add(exchange.id(), &args.path, ready, stored);
        return Ok(());
    }
    let Ready { stage, verified, permissions } = ready;
    let unset = if stored.size < LARGE {
        stage.commit(verified, permissions)?
    } else {
        exchange.while_working(move |_| stage.commit(verified, permissions)).await?
    };
    exchange.grant(&Stored { unset, ..stored })
}

/// A file that comes as a whole: received and verified.
async fn whole(
    args: &Put,
    root: &Root,
    group: &mut Group,
    exchange: &mut Exchange<'_>,
) -> Result<Ready, Failure> {
    // A large file takes long enough for its directory to become another.
    let mut stage = if Group::admits_put(args) {
        root.stage_near(&mut group.nearby, &args.path, args.replace, args.mtime)?
    } else {
        root.stage(&args.path, args.replace, args.mtime)?
    };
    match receive(args, root, &mut stage, exchange).await {
        Ok(verified) => Ok(Ready { stage, verified, permissions: Permissions::named(args.mode, args.exact) }),
        Err(failure) => {
            stage.abandon();
            Err(failure)
        }
    }
}

async fn receive(
    args: &Put,
    root: &Root,
    stage: &mut Stage,
    exchange: &mut Exchange<'_>,
) -> Result<Verified, Failure> {
    reserve(stage, args)?;
    back_up(args, root, stage)?;
    let verified = exchange.receive(args, stage).await?;
    require_expected(args, root, stage, exchange).await?;
    Ok(verified)
}

fn reserve(stage: &mut Stage, args: &Put) -> Result<(), Failure> {
    let Some(size) = args.size else { return Ok(()) };
    stage.claim(size)?;
    if size >= LARGE && !args.sparse {
        stage.reserve(size)?;
    }
    Ok(())
}
