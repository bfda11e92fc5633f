//! `symlink`: a symbolic link. Where it leads is looked at by those who follow it.

use ftpish_protocol::message::Symlink;
use ftpish_protocol::{Refusal, RemotePath};
use ftpish_storage::Last;

use super::{Operation, replacing, with_backup};
use crate::{Caller, Right};

impl Operation for Symlink {
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        replacing(&self.path, self.backup.as_ref())
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        with_backup(&mut self.path, self.backup.as_mut())
    }

    /// A link may be followed by somebody with fewer rights, or by a program that has all of them.
    fn needs_uniform_rights(&self) -> bool {
        true
    }

    fn adds(&self) -> Option<u64> {
        Some(0)
    }

    fn can_repeat(&self) -> bool {
        false
    }
}

/// Makes a symbolic link.
pub fn make(caller: &Caller, args: &Symlink) -> Result<(), Refusal> {
    let root = caller.root();
    let backup = args.backup.as_ref().map(|to| root.backup(&args.path, to)).transpose()?;
    root.make_link(&args.path, &args.target, args.replace, backup)
}
