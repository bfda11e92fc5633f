//! `put`: a body becomes a file, if it verifies.

use ftpish_protocol::message::{Put, Stored};
use ftpish_storage::{Root, Stage};

use crate::exchange::{Exchange, Failure};

/// From how many bytes on space is set aside first, and the sync at the end is slow enough to tell the client
/// that work goes on.
const LARGE: u64 = 16 * 1024 * 1024;

pub fn run(args: &Put, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let mut stage = root.stage(&args.path, args.replace, args.mtime)?;
    let received = match reserve(&stage, args.size) {
        Ok(()) => exchange.receive(args, &mut stage),
        Err(failure) => Err(failure),
    };
    let verified = match received {
        Ok(verified) => verified,
        Err(failure) => {
            stage.discard();
            return Err(failure);
        }
    };
    let stored = Stored { size: verified.length(), digest: verified.digest() };
    if stored.size < LARGE {
        stage.commit(verified, args.mode)?;
    } else {
        exchange.while_working(|_| stage.commit(verified, args.mode))??;
    }
    exchange.grant(&stored)
}

fn reserve(stage: &Stage, size: Option<u64>) -> Result<(), Failure> {
    match size {
        Some(size) if size >= LARGE => Ok(stage.reserve(size)?),
        _ => Ok(()),
    }
}
