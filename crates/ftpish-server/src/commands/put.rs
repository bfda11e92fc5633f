//! `put`: a body becomes a file, if it verifies.

use ftpish_protocol::message::{Put, Stored};
use ftpish_protocol::{Code, Refusal};
use ftpish_storage::{Root, Stage};

use super::resume::Upload;
use crate::exchange::{Exchange, Failure};

/// From how many bytes on space is set aside first, and the sync at the end is slow enough to tell the client
/// that work goes on.
const LARGE: u64 = 16 * 1024 * 1024;

pub fn run(
    args: &Put,
    root: &Root,
    upload: &mut Option<Upload>,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    let stored = match &args.ranges {
        None => whole(args, root, exchange)?,
        Some(ranges) => {
            let line = "ranges of a file follow a `resume` of the same path and size";
            let upload = upload.take_if(|upload| upload.is_for(args));
            let upload = upload.ok_or_else(|| Refusal::new(Code::BadRange, line))?;
            upload.finish(args, ranges, root, exchange)?
        }
    };
    exchange.grant(&stored)
}

/// A file that comes as a whole.
fn whole(args: &Put, root: &Root, exchange: &mut Exchange<'_>) -> Result<Stored, Failure> {
    let mut stage = root.stage(&args.path, args.replace, args.mtime)?;
    let received = match reserve(&stage, args) {
        Ok(()) => exchange.receive(args, &mut stage),
        Err(failure) => Err(failure),
    };
    let verified = match received {
        Ok(verified) => verified,
        Err(failure) => {
            stage.abandon();
            return Err(failure);
        }
    };
    if let Err(failure) = require_expected(args, root, exchange) {
        stage.abandon();
        return Err(failure);
    }
    let stored = Stored { size: verified.length(), digest: verified.digest() };
    if stored.size < LARGE {
        stage.commit(verified, args.mode)?;
    } else {
        exchange.while_working(|_| stage.commit(verified, args.mode))??;
    }
    Ok(stored)
}

/// Makes sure that the existing file is what the client expects, where it does. Behind the body, because a client that
/// sends one does not wait: reading a large file in front of it would take longer than a peer may be silent.
pub(super) fn require_expected(args: &Put, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let Some(expect) = args.expect else { return Ok(()) };
    let mut reader = root.open_file(&args.path)?.reader();
    let found = exchange.while_working(|meter| expect.algorithm().digest_of(&mut reader, meter))?;
    let found = found.map_err(|error| Refusal::from_io(&error))?;
    if found == expect {
        return Ok(());
    }
    Err(Refusal::new(Code::Changed, format!("the existing file is {found}, not {expect}")).into())
}

fn reserve(stage: &Stage, args: &Put) -> Result<(), Failure> {
    match args.size {
        Some(size) if size >= LARGE && !args.sparse => Ok(stage.reserve(size)?),
        _ => Ok(()),
    }
}
