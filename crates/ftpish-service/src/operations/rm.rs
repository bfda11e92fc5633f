//! `rm`: takes a name away, and what it names; or keeps that under another.

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::Rm;
use ftpish_storage::Last;

use super::{Operation, with_backup};
use crate::{Caller, Front, Right};

impl Operation for Rm {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        match &self.backup {
            None => vec![(Right::Delete, &self.path)],
            // As if it were renamed.
            Some(to) => vec![(Right::Delete, &self.path), (Right::Read, &self.path), (Right::Write, to)],
        }
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        with_backup(&mut self.path, self.backup.as_mut())
    }

    fn is_recursive(&self) -> bool {
        true
    }

    fn adds(&self) -> Option<u64> {
        self.backup.is_some().then_some(0)
    }

    fn can_repeat(&self) -> bool {
        false
    }
}

/// Removes a name, durably. What is kept instead is durable once the front has
/// [synced](ftpish_storage::Root::sync_above) the names that are returned: the old one and the new one.
pub async fn remove<F: Front>(
    caller: &Caller,
    args: &Rm,
    front: &mut F,
) -> Result<Option<[RemotePath; 2]>, F::Failure> {
    let root = caller.root();
    if let Some(to) = &args.backup {
        root.move_away(&args.path, &root.backup(&args.path, to)?)?;
        return Ok(Some([args.path.clone(), to.clone()]));
    }
    if args.recursive {
        let (root, path) = (root.clone(), args.path.clone());
        front.while_working(move |_| root.remove(&path, true)).await?;
    } else {
        root.remove(&args.path, false)?;
    }
    Ok(None)
}
