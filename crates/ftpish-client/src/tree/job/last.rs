//! What comes behind the files: what is set of them, other names of theirs, and then times and permission bits of
//! directories.

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::{Link, Mode, Time};
use ftpish_storage::descriptors;

use super::{MOST_LATE, Outcome, TreeJob};
use crate::transfer::Lane;
use crate::transfer::local;
use crate::tree::{Compare, Done, Step};
use crate::{Error, Way};

impl TreeJob {
    /// Whether so much is late that it is done before the plan goes on.
    pub(super) fn is_late(&self) -> bool {
        self.late.len() >= MOST_LATE || self.sets.len() >= MOST_LATE && self.tree.delete.is_none()
    }

    /// Whether a request sees all that the steps before it have made, without waiting for them: the server does one
    /// after the other, but what is compared may still have to move, and what is kept may have to be kept elsewhere.
    pub(super) fn is_in_order(&self) -> bool {
        let is_settled = self.tree.compare != Some(Compare::Digest) && self.tree.backup.is_none();
        self.tree.way == Way::Put && is_settled
    }

    /// Does what is late, or else what is last, if it can be done by now; whether it was something.
    pub(super) fn go_on_late(&mut self, pipe: &mut Lane<'_>, report: &mut dyn FnMut(&Step, Outcome)) -> bool {
        let may_end = self.tree.delete.is_none() || self.plan.is_finished();
        let steps = if !self.late.is_empty() {
            self.linking = true;
            let mut late = std::mem::take(&mut self.late);
            // A file has its time before it is asked for by that.
            late.sort_by_key(|step| matches!(step, Step::HardLink { .. }));
            late
        } else if may_end && (!self.linking || pipe.is_empty()) {
            let mut sets = std::mem::take(&mut self.sets);
            sets.retain(|step| {
                let was_changed = self.changed.remove(step.path());
                was_changed || !matches!(step, Step::Set { if_changed: true, .. })
            });
            sets
        } else {
            return false;
        };
        for step in &steps {
            if self.tree.dry_run {
                self.tell(step, Ok(Done::Nothing), report);
                continue;
            }
            while pipe.is_full() {
                pipe.receive();
            }
            let number = self.next_number();
            if let Err(error) = self.start_small((number, step.clone()), pipe, report) {
                report(step, Err(error));
            }
        }
        if self.tree.way == Way::Get && !self.tree.dry_run {
            let synced = self.here.iter().try_for_each(|root| {
                descriptors::patiently(|| root.sync_above(steps.iter().map(Step::path)))
            });
            if let Err(refusal) = synced {
                let top = Step::MakeDir { path: RemotePath::root(), mode: Mode::from_bits(0o777) };
                report(&top, Err(local(&self.tree.local, refusal)));
            }
        }
        !steps.is_empty()
    }

    /// Makes durable what is kept here.
    pub(super) fn sync_kept(&mut self) -> Result<(), Error> {
        let kept = std::mem::take(&mut self.kept);
        let synced = self.here.iter().try_for_each(|root| descriptors::patiently(|| root.sync_above(&kept)));
        synced.map_err(|refusal| local(&self.tree.local, refusal))
    }

    /// What gives a file another name, both of them as `place` says.
    pub(super) fn hard_link(
        &self,
        (first, path): (&RemotePath, &RemotePath),
        (size, mtime): (u64, Time),
        place: impl Fn(&Self, &RemotePath) -> Result<RemotePath, Error>,
    ) -> Result<Link, Error> {
        let backup = self.backup_of(path).map_err(Error::Refused)?;
        Ok(Link {
            from: place(self, first)?,
            to: place(self, path)?,
            size: Some(size),
            mtime: Some(mtime),
            replace: self.tree.replace,
            backup: backup.map(|backup| place(self, &backup)).transpose()?,
        })
    }
}
