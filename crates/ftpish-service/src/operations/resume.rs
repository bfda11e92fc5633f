//! `resume`: announces a file that is about to be put. The reply tells, block by block, what the server has of it.

use ftpish_protocol::blocks::Blocks;
use ftpish_protocol::message::Resume;
use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::Last;

use super::Operation;
use crate::upload::{Offered, is_optimistic};
use crate::{Caller, Front, Right};

impl Operation for Resume {
    /// It tells of a file that is there already, too.
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::Read, &self.path), (Right::Write, &self.path)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Kept)]
    }

    fn adds(&self) -> Option<u64> {
        Some(if self.parts { self.size } else { 0 })
    }
}

/// Looks for what is there of a file, and holds it for the upload that follows.
pub async fn offer<F: Front>(caller: &Caller, args: &Resume, front: &mut F) -> Result<Offered, F::Failure> {
    let Some(blocks) = Blocks::of(args.size) else {
        return Err(Refusal::new(Code::BadRange, "a file of one block or less is put as a whole").into());
    };
    let (root, uploads) = (caller.root(), &caller.service().uploads);
    if is_optimistic(args) {
        Ok(Offered::fresh(args, blocks, root, uploads)?)
    } else {
        Offered::find(args, blocks, root, uploads, front).await
    }
}
