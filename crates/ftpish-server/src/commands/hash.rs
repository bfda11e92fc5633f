//! `hash`: a file's digest, from the server's disk.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use ftpish_protocol::message::{Hash, Hashed};
use ftpish_protocol::{Algorithm, Refusal};
use ftpish_storage::{Root, SourceReader};

use crate::exchange::{Exchange, Failure};

/// From how many bytes on hashing is slow enough to tell the client that it goes on.
const LARGE: u64 = 64 * 1024 * 1024;

pub fn run(args: &Hash, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let file = root.open_file(&args.path)?;
    let size = file.size();
    let reader = file.reader();
    let hashed = if size < LARGE {
        hash(reader, args.digest, &AtomicU64::new(0))
    } else {
        exchange.while_working(|done| hash(reader, args.digest, done))?
    };
    exchange.grant(&hashed.map_err(|error| Refusal::from_io(&error))?)
}

fn hash(mut reader: SourceReader, algorithm: Algorithm, done: &AtomicU64) -> io::Result<Hashed> {
    let digest = algorithm.digest_of(&mut reader, done)?;
    Ok(Hashed { size: done.load(Ordering::Relaxed), digest })
}
