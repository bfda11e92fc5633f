//! `hash`: a file's digest, from the server's disk.

use ftpish_protocol::message::{Hash, Hashed};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub async fn run(args: &Hash, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let file = root.open_file(&args.path)?;
    let (size, mut hasher) = (file.size(), args.digest.hasher());
    let size = exchange.digest(&mut file.reader(), size, |bytes| hasher.update(bytes)).await?;
    exchange.grant(&Hashed { size, digest: hasher.finish() })
}
