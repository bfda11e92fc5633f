//! `mkdir`: a new directory.

use ftpish_protocol::message::Mkdir;
use ftpish_protocol::{Refusal, RemotePath};
use ftpish_storage::Last;

use super::Operation;
use crate::{Caller, Right};

impl Operation for Mkdir {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::Write, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Kept)]
    }

    fn adds(&self) -> Option<u64> {
        Some(0)
    }
}

/// Makes a directory. It is durable once the front has [synced](ftpish_storage::Root::sync_above) its name.
pub fn make(caller: &Caller, args: &Mkdir) -> Result<[RemotePath; 1], Refusal> {
    caller.root().make_dir(&args.path, args.parents, args.mode)?;
    Ok([args.path.clone()])
}
