//! `df`: the space of a file system, or of a quota.

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::{DfArgs, Space};
use ftpish_storage::Last;

use super::Operation;
use crate::{Caller, Front, Right};

impl Operation for DfArgs {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::List, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Followed)]
    }
}

/// Tells the space. To know what is left of a quota, all that is in the root may have to be counted.
pub async fn df<F: Front>(caller: &Caller, args: &DfArgs, front: &mut F) -> Result<Space, F::Failure> {
    let root = caller.root();
    if !root.has_quota() {
        return Ok(root.space(&args.path)?);
    }
    let (root, path) = (root.clone(), args.path.clone());
    Ok(front.while_working(move |_| root.space(&path)).await?)
}
