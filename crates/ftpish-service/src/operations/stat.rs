//! `stat`: what one name is.

use ftpish_protocol::message::{Stat, StatArgs};
use ftpish_protocol::{Refusal, RemotePath};
use ftpish_storage::Last;

use super::Operation;
use crate::{Caller, Right};

impl Operation for StatArgs {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::List, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Kept)]
    }
}

/// Looks at a name; at a link, not at what it points to.
pub fn stat(caller: &Caller, args: &StatArgs) -> Result<Stat, Refusal> {
    Ok(Stat { entry: caller.root().stat(&args.path)? })
}
