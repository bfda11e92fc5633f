//! `hash`: a file's digest, from the server's disk.

use ftpish_protocol::message::{Hash, Hashed};
use ftpish_protocol::{Digested as _, RemotePath};
use ftpish_storage::Last;

use super::Operation;
use crate::{Caller, Front, Right};

impl Operation for Hash {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::Read, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Followed)]
    }
}

/// Reads and digests a file.
pub async fn hash<F: Front>(caller: &Caller, args: &Hash, front: &mut F) -> Result<Hashed, F::Failure> {
    let file = caller.root().open_file(&args.path)?;
    let size = file.size();
    let mut reader = file.reader().digesting(args.digest);
    let size = front.digest(&mut reader, size, |_| {}).await?;
    Ok(Hashed { size, digest: reader.digest() })
}
