//! `hash`: a file's digest, from the server's disk.

use ftpish_protocol::Digested as _;
use ftpish_protocol::message::{Hash, Hashed};
use ftpish_storage::Root;

use crate::exchange::{Exchange, Failure};

pub async fn run(args: &Hash, root: &Root, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let file = root.open_file(&args.path)?;
    let size = file.size();
    let mut reader = file.reader().digesting(args.digest);
    let size = exchange.digest(&mut reader, size, |_| {}).await?;
    exchange.grant(&Hashed { size, digest: reader.digest() })
}
