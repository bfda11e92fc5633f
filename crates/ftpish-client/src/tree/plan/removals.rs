//! What goes, which comes last, and what stays although the source does not have it.

use std::collections::HashSet;

use ftpish_protocol::message::{Kind, Node};
use ftpish_protocol::{Code, Refusal, RemotePath};

use super::Plan;
use super::dirs::{Open, unlock};
use super::extras::{Extra, Extras};
use crate::tree::Step;

impl Plan {
    /// How something goes.
    pub(super) fn removal(&mut self, path: RemotePath, is_dir: bool) -> Step {
        self.expect_backup();
        match self.rules.backup_of(&path) {
            _ if is_dir => Step::Remove(path),
            Ok(None) => Step::Remove(path),
            Ok(Some(to)) => Step::BackUp { path, to },
            Err(error) => {
                let refusal = Refusal::new(Code::BadPath, format!("its backup: {error}"));
                Step::Problem { path, refusal }
            }
        }
    }

    /// Leaves alone what is in a directory of the target that stays, although it is none in the source.
    pub(super) fn protect(&mut self, path: &RemotePath, target: Option<&Node>) {
        if target.is_some_and(|there| there.kind == Kind::Dir) {
            self.pruned[1] = Some(path.clone());
        }
    }

    /// Something that only the target has.
    pub(super) fn take_extra(&mut self, target: Node) {
        let Some(most) = self.rules.delete else { return };
        self.leave(Some(&target.path));
        self.change_last();
        self.extras.add(&target, None, most);
        if self.rules.backup.as_ref().is_some_and(|backup| backup.is_within(&target.path)) {
            self.extras.keep(&target.path);
        }
        // What is in it was not counted, so it does not go.
        if let Some(refusal) = target.error {
            self.extras.keep(&target.path);
            self.steps.push_back(Step::Problem { path: target.path, refusal });
        }
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.extras.close(None);
        let Extras { mut all, count, one_by_one, mut locked, .. } = std::mem::take(&mut self.extras);
        if one_by_one {
            // What is in a directory goes before it does.
            all.reverse();
        }
        let problem = |line: String| Step::Problem {
            path: RemotePath::root(),
            refusal: Refusal::new(Code::Forbidden, line),
        };
        if count > 0 && self.incomplete {
            let line = "nothing is removed, because the source could not be listed as a whole";
            self.steps.push_back(problem(line.to_owned()));
        } else if self.rules.delete.is_some_and(|most| count > most) {
            self.steps.push_back(problem(format!("nothing is removed, because {count} names would be")));
        } else {
            self.steps.extend(locked.iter().map(|(path, mode, _)| unlock(path, *mode)));
            let stay: HashSet<_> =
                all.iter().filter(|extra| extra.kept).map(|extra| extra.path.clone()).collect();
            locked.retain(|(path, ..)| stay.contains(path));
            for Extra { path, is_dir, kept, then } in all {
                match then {
                    Some(_) if kept => self.steps.push_back(has_directory(path)),
                    None if kept => {}
                    then => {
                        let removal = self.removal(path, is_dir);
                        self.steps.extend([removal].into_iter().chain(then));
                    }
                }
            }
            self.steps.extend(locked.into_iter().map(|(path, mode, mtime)| Step::Set {
                path,
                is_dir: true,
                mtime,
                mode: Some(mode),
                if_changed: false,
            }));
        }
        self.leave(None);
        let (backs_up, surely) = (self.backs_up, self.surely_backs_up);
        let above = std::mem::take(&mut self.above_backups).into_iter();
        let above = above.filter(|dir| dir.differs || dir.may_differ || backs_up);
        self.steps.extend(above.map(|dir| Open { differs: dir.differs || surely, ..dir }.set()));
    }
}

pub(super) fn has_directory(path: RemotePath) -> Step {
    Step::Problem { path, refusal: Refusal::new(Code::IsDirectory, "a directory has this name") }
}
