//! `set`: another time and other permission bits for what is there.

use ftpish_protocol::message::{Set, WasSet};
use ftpish_protocol::{Refusal, RemotePath};
use ftpish_storage::{Last, Permissions};

use super::Operation;
use crate::{Caller, Right};

impl Operation for Set {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::Write, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Kept)]
    }
}

/// Sets what the request names. Returns what the file system did not take.
pub fn set(caller: &Caller, args: &Set) -> Result<WasSet, Refusal> {
    let permissions = Permissions::named(args.mode, !args.limited);
    Ok(WasSet { unset: caller.root().set(&args.path, args.mtime, permissions)? })
}
