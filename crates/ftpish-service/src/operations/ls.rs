//! `ls`: the entries of a directory, as they are read.

use std::io;

use ftpish_protocol::message::{Entry, Ls};
use ftpish_protocol::{Refusal, RemotePath};
use ftpish_storage::Last;

use super::Operation;
use crate::{Caller, Right};

impl Operation for Ls {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::List, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Followed)]
    }
}

/// The entries, in the order of the disk.
pub fn list(
    caller: &Caller,
    args: &Ls,
) -> Result<impl Iterator<Item = io::Result<Entry>> + Send + use<>, Refusal> {
    caller.root().list(&args.path)
}
