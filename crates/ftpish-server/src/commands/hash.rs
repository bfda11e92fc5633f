//! `hash`: a file's digest, from the server's disk.

use ftpish_protocol::message::{Hash, Hashed};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

/// From how many bytes on hashing waits for a turn of its own kind: less takes less time than that.
const LARGE: u64 = 1024 * 1024;

pub async fn run(args: &Hash, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let file = root.open_file(&args.path)?;
    if file.size() >= LARGE {
        exchange.begin_digest().await;
    }
    let mut hasher = args.digest.hasher();
    let size = exchange.digest(&mut file.reader(), |bytes| hasher.update(bytes)).await?;
    exchange.grant(&Hashed { size, digest: hasher.finish() })
}
