//! `put`: a body becomes a file, if it verifies.

use ftpish_protocol::message::{Put, Stored, Unset};
use ftpish_protocol::{Code, Refusal, Verified};
use ftpish_storage::{Permissions, Ready, Root, Stage, met_a_link};

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

/// What is replied once the file has its name, as far as that is known before.
pub(super) fn stored(verified: &Verified) -> Stored {
    Stored { size: verified.length(), digest: verified.digest(), unset: Unset::default() }
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

/// Has the existing file kept, where the client says so.
pub(super) fn back_up(args: &Put, root: &Root, stage: &mut Stage) -> Result<(), Refusal> {
    if let Some(to) = &args.backup {
        stage.back_up(root.backup(&args.path, to)?);
    }
    Ok(())
}

/// Makes sure that the existing file is what the client expects, where it does, and that only that one is replaced.
/// Behind the body, because a client that sends one does not wait: reading a large file in front of it would take
/// longer than a peer may be silent.
pub(super) async fn require_expected(
    args: &Put,
    root: &Root,
    stage: &mut Stage,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    let Some(expect) = args.expect else { return Ok(()) };
    // Of a link that is the link itself: what it points at is not replaced.
    stage.replace_only(root.identity(&args.path)?);
    let file = root.open_file(&args.path).map_err(|refusal| match met_a_link(&refusal) {
        true => Refusal::new(
            Code::NotRegular,
            "the existing name is a link, which this user may not compare through",
        ),
        false => refusal,
    })?;
    let (size, mut hasher) = (file.size(), expect.algorithm().hasher());
    exchange.digest(&mut file.reader(), size, |bytes| hasher.update(bytes)).await?;
    let found = hasher.finish();
    if found == expect {
        return Ok(());
    }
    Err(Refusal::new(Code::Changed, format!("the existing file is {found}, not {expect}")).into())
}

fn reserve(stage: &mut Stage, args: &Put) -> Result<(), Failure> {
    let Some(size) = args.size else { return Ok(()) };
    stage.claim(size)?;
    if size >= LARGE && !args.sparse {
        stage.reserve(size)?;
    }
    Ok(())
}
