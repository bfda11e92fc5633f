//! Where what is replaced or removed is kept.

use ftpish_protocol::{Code, PathError, Refusal, RemotePath};
use ftpish_storage::{Backup, Root};

use super::TreeJob;
use crate::Error;
use crate::tree::Step;

/// How many places beside its own are tried for what is to be kept.
const MOST_BESIDE: u32 = 9;

impl TreeJob {
    /// Where the server keeps what has a path.
    pub(super) fn backup(&self, path: &RemotePath) -> Result<Option<RemotePath>, Error> {
        let to = self.backup_of(path).map_err(Error::Refused)?;
        to.map(|to| self.remote(&to)).transpose()
    }

    /// Where it is kept, below the top of the tree.
    pub(super) fn backup_of(&self, path: &RemotePath) -> Result<Option<RemotePath>, Refusal> {
        let tries = self.beside.get(path).copied().unwrap_or(0);
        self.tree.backup_beside(path, tries).map_err(bad_backup)
    }

    /// Whether what was to be kept is, by a try whose reply was lost: a directory has the name by now.
    pub(super) fn was_kept(&self, step: &Step, error: &Error) -> bool {
        let is_directory = error.code() == Some(Code::IsDirectory);
        matches!(step, Step::BackUp { .. }) && is_directory && self.lost.contains(step.path())
    }

    /// Has a step done again that keeps what it replaces, or removes, beside what is in the way there; none where that was
    /// tried often enough, or it is not why it was refused.
    pub(super) fn beside(&mut self, step: &Step, error: &Error) -> Option<Step> {
        let keeps = matches!(
            step,
            Step::Move { .. } | Step::Link { .. } | Step::HardLink { .. } | Step::BackUp { .. }
        );
        let in_the_way = matches!(error.code(), Some(Code::NotDirectory | Code::IsDirectory));
        // What was in it is yet to be kept, beside.
        let is_too_early = matches!(step, Step::Remove(_)) && error.code() == Some(Code::NotEmpty);
        if self.tree.backup.is_none() || !(keeps && in_the_way || is_too_early) || self.was_kept(step, error)
        {
            return None;
        }
        let tries = self.beside.entry(step.path().clone()).or_default();
        *tries += 1;
        if *tries > MOST_BESIDE {
            return None;
        }
        match step {
            Step::BackUp { path, .. } => {
                let to = self.backup_of(path).ok()??;
                Some(Step::BackUp { path: path.clone(), to })
            }
            step => Some(step.clone()),
        }
    }

    /// Where it is kept on this side.
    pub(super) fn backup_here(&self, root: &Root, path: &RemotePath) -> Result<Option<Backup>, Refusal> {
        let to = self.backup_of(path)?;
        to.map(|to| root.backup(path, &to)).transpose()
    }
}

fn bad_backup(error: PathError) -> Refusal {
    Refusal::new(Code::BadPath, format!("its backup: {error}"))
}
