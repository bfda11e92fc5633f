//! `mv`: a new name for what is there.

use ftpish_protocol::message::{Mv, Replace};
use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::Last;

use super::Operation;
use crate::{Caller, Right};

impl Operation for Mv {
    /// What is renamed can be read under its new name.
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        vec![(Right::Delete, &self.from), (Right::Read, &self.from), (Right::Write, &self.to)]
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.from, Last::Kept), (&mut self.to, Last::Kept)]
    }

    fn is_recursive(&self) -> bool {
        true
    }

    fn adds(&self) -> Option<u64> {
        Some(0)
    }

    fn can_repeat(&self) -> bool {
        false
    }
}

/// Renames, durably.
pub fn rename(caller: &Caller, args: &Mv) -> Result<(), Refusal> {
    if args.replace == Replace::Older {
        return Err(Refusal::new(Code::Unsupported, "mv replaces `always` or `never`"));
    }
    caller.root().rename(&args.from, &args.to, args.replace)
}
