//! `hash`: a file's digest, from the server's disk.

use std::io;

use ftpish_protocol::message::{Hash, Hashed};
use ftpish_protocol::{Algorithm, Meter, Refusal};
use ftpish_storage::{Root, SourceReader};

use crate::exchange::{Exchange, Failure};

/// From how many bytes on hashing is slow enough to tell the client that it goes on.
const LARGE: u64 = 64 * 1024 * 1024;

pub fn run(args: &Hash, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let file = root.open_file(&args.path)?;
    let size = file.size();
    let reader = file.reader();
    let hashed = if size < LARGE {
        hash(reader, args.digest, &Meter::default())
    } else {
        exchange.while_working(|meter| hash(reader, args.digest, meter))?
    };
    exchange.grant(&hashed.map_err(|error| Refusal::from_io(&error))?)
}

fn hash(mut reader: SourceReader, algorithm: Algorithm, meter: &Meter) -> io::Result<Hashed> {
    let digest = algorithm.digest_of(&mut reader, meter)?;
    Ok(Hashed { size: meter.done(), digest })
}
