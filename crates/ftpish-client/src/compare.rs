//! `verify`: whether a local and a remote file are the same, and if not, where they differ. Only digests move.

use std::ops::Range;
use std::path::Path;

use ftpish_protocol::blocks::Assembly;
use ftpish_protocol::message::{BlocksArgs, Command};
use ftpish_protocol::{Algorithm, Code, Digest, Digested as _, Meter, RemotePath, read_through};
use ftpish_storage::SourceFile;

use crate::{Client, Error, Progress};

/// A local and a remote file, held against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The local file's size in bytes.
    pub local: u64,
    /// The remote file's size in bytes.
    pub remote: u64,
    /// The ranges of bytes that differ, in order, as far as blocks tell: none where the files are the same.
    pub differing: Vec<Range<u64>>,
}

impl Client {
    /// Compares a local file with a remote one, block by block.
    pub fn compare(
        &mut self,
        local: &Path,
        remote: &RemotePath,
        progress: &Progress,
    ) -> Result<Comparison, Error> {
        let refused = |refusal| Error::Local { path: local.to_owned(), refusal };
        let file = SourceFile::open(local).map_err(refused)?;
        let size = file.size();
        let id = self.send(&Command::Blocks(BlocksArgs { path: remote.clone(), length: None }), false)?;
        let (cut, blocks, sender) = match self.receive_digests(id) {
            // No more than one block: the whole is compared.
            Err(Error::Refused(refusal)) if refusal.code == Code::BadRange => {
                return self.compare_whole(local, file, remote, progress);
            }
            received => received?,
        };
        let assembly = Assembly::of(&mut file.reader(), blocks, &self.meter());
        let mut assembly = assembly.map_err(|error| self.note(Error::local(local, error)))?;
        assembly.prove_all(&sender);
        let mut differing = assembly.missing();
        if size > cut.size {
            differing.push(cut.size..size);
        }
        Ok(Comparison { local: size, remote: cut.size, differing })
    }

    fn compare_whole(
        &mut self,
        local: &Path,
        file: SourceFile,
        remote: &RemotePath,
        progress: &Progress,
    ) -> Result<Comparison, Error> {
        let theirs = self.hash(remote, Algorithm::Blake3, progress)?;
        let size = file.size();
        let ours = digest_of(local, file, Algorithm::Blake3, &self.meter());
        let ours = ours.map_err(|error| self.note(error))?;
        let same = ours == theirs.digest && size == theirs.size;
        let whole = 0..size.max(theirs.size);
        let differing = if same { Vec::new() } else { Vec::from([whole]) };
        Ok(Comparison { local: size, remote: theirs.size, differing })
    }
}

/// The digest of a local file that was opened at `path`; `meter` may stop it.
pub fn digest_of(
    path: &Path,
    file: SourceFile,
    algorithm: Algorithm,
    meter: &Meter,
) -> Result<Digest, Error> {
    let mut reader = file.reader().digesting(algorithm);
    read_through(&mut reader, meter, |_| {}).map_err(|error| Error::local(path, error))?;
    Ok(reader.digest())
}
