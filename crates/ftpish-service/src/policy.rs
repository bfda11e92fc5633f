//! What nobody may do, whatever rights they have.

use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::is_partial;

use crate::Right;
use crate::operations::Operation;

/// What clients may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Nothing may be changed.
    pub read_only: bool,
}

impl Policy {
    /// Whether anybody may do this.
    pub(crate) fn permit(self, operation: &dyn Operation) -> Result<(), Refusal> {
        operation.accesses().into_iter().try_for_each(|(right, path)| self.permit_access(right, path))
    }

    fn permit_access(self, right: Right, path: &RemotePath) -> Result<(), Refusal> {
        let changes = matches!(right, Right::Write | Right::Delete);
        let why = if changes && self.read_only {
            "the server is read-only"
        } else if right == Right::Delete && path.is_root() {
            "the served root itself stays where it is"
        } else if path.components().any(is_partial) {
            "this name is kept for partial files"
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::Forbidden, why))
    }
}
