//! The directories of the source that the plan is in: what is made of them, and what they get when all is in them.

use ftpish_protocol::message::{Kind, Mode, Node, Replace, Time};
use ftpish_protocol::{Code, Refusal, RemotePath};

use super::Plan;
use super::extras::is_locked;
use crate::tree::Step;

/// A directory of the source that the plan is in.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) path: RemotePath,
    pub(super) mtime: Time,
    /// What it gets in the end, if its permission bits count.
    pub(super) mode: Option<Mode>,
    /// Whether it is not, or will not be, what it is in the source.
    pub(super) differs: bool,
    /// Whether that depends on how files in it compare.
    pub(super) may_differ: bool,
    /// The permission bits that it has, where they keep its own owner from changing what is in it.
    pub(super) locked: Option<Mode>,
}

pub(super) fn unlock(path: &RemotePath, mode: Mode) -> Step {
    Step::Unlock { path: path.clone(), mode: Mode::from_bits(mode.bits() | 0o700) }
}

impl Open {
    pub(super) fn set(self) -> Step {
        let Self { path, mtime, mode, differs, .. } = self;
        Step::Set { path, is_dir: true, mtime, mode, if_changed: !differs }
    }
}

impl Plan {
    /// Leaves the directories that `path` is not in.
    pub(super) fn leave(&mut self, path: Option<&RemotePath>) {
        while let Some(last) = self.open.last() {
            if path.is_some_and(|path| path.is_within(&last.path)) {
                return;
            }
            let Some(dir) = self.open.pop() else { return };
            if self.rules.backup.as_ref().is_some_and(|backup| backup.is_within(&dir.path)) {
                self.above_backups.push(dir);
            } else if dir.differs || dir.may_differ {
                self.steps.push_back(dir.set());
            }
        }
    }

    /// Something in a directory changes, by a step that is the one at `before`, or comes later.
    pub(super) fn change(&mut self, dir: usize, before: usize) {
        let dir = &mut self.open[dir];
        dir.differs = true;
        if let Some(mode) = dir.locked.take() {
            dir.mode.get_or_insert(mode);
            self.steps.insert(before, unlock(&dir.path, mode));
        }
    }

    /// The same, of the directory that the walks are in.
    pub(super) fn change_last(&mut self) {
        if let Some(last) = self.open.len().checked_sub(1) {
            self.change(last, self.steps.len());
        }
    }

    /// Something is kept by the next step, or a later one: the directories that backups are in change.
    pub(super) fn expect_backup(&mut self) {
        self.surely_backs_up = true;
        self.prepare_backup();
    }

    /// The same, if files differ that are yet to be compared.
    pub(super) fn prepare_backup(&mut self) {
        let Some(backup) = self.rules.backup.as_ref().filter(|_| !self.backs_up) else { return };
        self.backs_up = true;
        for dir in self.above_backups.iter_mut().chain(&mut self.open) {
            if backup.is_within(&dir.path)
                && let Some(mode) = dir.locked.take()
            {
                dir.mode.get_or_insert(mode);
                self.steps.push_back(unlock(&dir.path, mode));
            }
        }
    }

    pub(super) fn take_dir(&mut self, source: &Node, target: Option<&Node>) {
        let path = &source.path;
        let there = target.filter(|target| target.kind == Kind::Dir);
        if let (Some(_), None) = (target, there) {
            // Something else makes room for a directory as it does for a file, if it may, and if there is one to come.
            let refusal = match &source.error {
                Some(refusal) => Some(refusal.clone()),
                None if self.rules.replace == Replace::Always => None,
                None => Some(Refusal::new(Code::NotDirectory, "what has this name is not to be replaced")),
            };
            if let Some(refusal) = refusal {
                self.pruned[0] = Some(path.clone());
                return self.steps.push_back(Step::Problem { path: path.clone(), refusal });
            }
            let removal = self.removal(path.clone(), false);
            self.steps.push_back(removal);
        }
        if there.is_none() {
            self.steps.push_back(Step::MakeDir { path: path.clone(), mode: source.mode });
        }
        if let Some(refusal) = &source.error {
            self.steps.push_back(Step::Problem { path: path.clone(), refusal: refusal.clone() });
        }
        let differs = there.is_none_or(|there| !self.is_dressed(there, source));
        // What is there keeps its own, unless they are to be the same.
        let mode = (there.is_none() || self.rules.perms).then_some(source.mode);
        let locked = there.map(|there| there.mode).filter(|mode| is_locked(*mode));
        let (dir, mtime) = (path.clone(), source.mtime);
        let takes_backups = self.backs_up && self.rules.backup.as_ref().is_some_and(|to| to.is_within(path));
        let is_locked = locked.is_some();
        self.open.push(Open { path: dir, mtime, mode, differs, may_differ: false, locked });
        if takes_backups && (self.surely_backs_up || is_locked) {
            self.change_last();
        }
    }

    /// Whether what is there has the time that it has in the source, and its permission bits, if they are to be the same.
    pub(super) fn is_dressed(&self, there: &Node, source: &Node) -> bool {
        let time_is_same = match source.kind {
            Kind::Dir => there.mtime.is_near(source.mtime),
            _ => there.mtime.is_same(source.mtime),
        };
        time_is_same && (there.mode == source.mode || !self.rules.perms)
    }
}
