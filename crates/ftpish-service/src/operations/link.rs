//! `link`: another name for a file.

use ftpish_protocol::message::Link;
use ftpish_protocol::{Refusal, RemotePath};
use ftpish_storage::Last;

use super::{Operation, replacing, with_backup};
use crate::{Caller, Right};

impl Operation for Link {
    /// Under either name the file can be read, and its time and its bits be set.
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        [(Right::Read, &self.from), (Right::Write, &self.from)]
            .into_iter()
            .chain(replacing(&self.to, self.backup.as_ref()))
            .collect()
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        let mut paths = with_backup(&mut self.to, self.backup.as_mut());
        paths.push((&mut self.from, Last::Kept));
        paths
    }

    fn adds(&self) -> Option<u64> {
        Some(self.size.unwrap_or(0))
    }
}

/// Gives a file another name. It is durable once the front has [synced](ftpish_storage::Root::sync_above) that name.
pub fn link(caller: &Caller, args: &Link) -> Result<[RemotePath; 1], Refusal> {
    caller.root().link(args)?;
    Ok([args.to.clone()])
}
