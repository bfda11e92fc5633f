//! What becomes of the files and the links of the source.

use ftpish_protocol::message::{Kind, LinkTarget, Node, Replace};
use ftpish_protocol::{Code, Refusal};

use super::Plan;
use super::removals::has_directory;
use crate::Way;
use crate::tree::{Compare, LinkPolicy, Step};

impl Plan {
    pub(super) fn take_file(&mut self, source: Node, target: Option<&Node>) {
        let is_dressed = target.is_some_and(|there| self.is_dressed(there, &source));
        let Node { path, size, mtime, mode, same, .. } = source;
        let first = same.filter(|first| self.rules.hard_links && !self.is_left_out(first));
        let replaces = target.is_some_and(|there| there.kind != Kind::Dir);
        let moving = match &first {
            None => Step::Move { path: path.clone(), size, replaces },
            Some(first) => Step::HardLink { path: path.clone(), first: first.clone(), size, mtime, replaces },
        };
        let there = match target.map(|target| target.kind) {
            Some(Kind::Dir) => return self.take_place(moving, target),
            Some(Kind::File) => target.filter(|target| target.size == size),
            _ => None,
        };
        let there = match &first {
            // What the other names of this file are compared with.
            None => there.inspect(|there| self.aliases.note(&path, there.same.as_ref())),
            Some(first) => there.filter(|there| self.aliases.are_same(first, there)),
        };
        let step = match (self.rules.compare, there) {
            (Some(Compare::Time), Some(there)) if there.mtime.is_same(mtime) => {
                if is_dressed {
                    self.unchanged += 1;
                    return;
                }
                Step::Set { path, is_dir: false, mtime, mode: Some(mode), if_changed: false }
            }
            // Size and time do not tell where the disk may keep no such time. As FAT keeps it, it is set already.
            (Some(compare), Some(there))
                if compare == Compare::Digest || there.mtime.is_near(mtime) || !mtime.is_in_range() =>
            {
                let is_set = is_dressed
                    || compare == Compare::Time
                        && there.mtime.is_near(mtime)
                        && (there.mode == mode || !self.rules.perms);
                let set = (!is_set).then_some((mtime, self.rules.perms.then_some(mode)));
                // It may be another.
                self.prepare_backup();
                let first = first.map(|first| (first, mtime));
                let remote = match self.rules.way {
                    Way::Get => &self.source,
                    Way::Put => &self.target,
                };
                let listed = remote.passed.as_ref().and_then(|passed| passed.place.clone());
                Step::Compare { path, size, set, same: first, listed }
            }
            _ => {
                if replaces {
                    self.expect_backup();
                }
                moving
            }
        };
        self.steps.push_back(step);
    }

    pub(super) fn take_link(&mut self, source: Node, target: Option<&Node>) {
        let Node { path, target: held, error, .. } = source;
        let held = held.unwrap_or_else(|| LinkTarget(Vec::new()));
        match self.rules.links {
            LinkPolicy::Skip => self.protect(&path, target),
            LinkPolicy::Follow => {
                let refusal = error.unwrap_or_else(|| Refusal::new(Code::NotFound, "the link leads nowhere"));
                self.incomplete = true;
                self.steps.push_back(Step::Problem { path, refusal });
            }
            LinkPolicy::Keep => {
                let same = |there: &&Node| there.kind == Kind::Link && there.target.as_ref() == Some(&held);
                if target.is_some_and(|there| there.kind == Kind::Dir) {
                    self.take_place(Step::Link { path, target: held, replaces: false }, target);
                } else if self.rules.compare.is_none() || target.filter(same).is_none() {
                    let replaces = target.is_some();
                    if replaces {
                        self.expect_backup();
                    }
                    self.steps.push_back(Step::Link { path, target: held, replaces });
                } else {
                    self.unchanged += 1;
                }
            }
        }
    }

    /// Something takes the place of a directory: as the last of all, if that may be removed.
    fn take_place(&mut self, step: Step, target: Option<&Node>) {
        match (self.rules.delete, target) {
            (Some(most), Some(target)) if self.rules.replace == Replace::Always => {
                self.change_last();
                self.extras.add(target, Some(step), most);
            }
            _ => {
                let path = step.path().clone();
                self.protect(&path, target);
                self.steps.push_back(has_directory(path));
            }
        }
    }
}
