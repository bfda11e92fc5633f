//! What is to be done so that one tree becomes like another, step by step, from the two walks as they come. Nothing is
//! held of them but the directories that lead to where they are; and what is to be removed, which comes last.
//!
//! Deliberately elsewhere: who walks, and who does it (`job.rs`).

mod aliases;
mod dirs;
mod extras;
mod feed;
mod files;
mod left_out;
mod removals;

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};

use ftpish_protocol::message::{Kind, Node};
use ftpish_protocol::{Code, RemotePath, walk_order};

use self::aliases::Aliases;
use self::dirs::Open;
use self::extras::Extras;
use self::feed::{Feed, Passed};
use super::{Compare, Step, Tree};
use crate::Way;

/// One of the two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Target,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Step(Step),
    /// More of this walk has to be known first.
    Starved(Side),
    End,
}

/// The rules, and how far the two walks have come.
#[derive(Debug)]
pub(super) struct Plan {
    rules: Tree,
    source: Feed,
    target: Feed,
    steps: VecDeque<Step>,
    open: Vec<Open>,
    /// Directories of the source in which that of the backups may yet be made.
    above_backups: Vec<Open>,
    /// Whether something is kept, or may be.
    backs_up: bool,
    /// Whether that does not depend on how files compare.
    surely_backs_up: bool,
    /// What is left out with all that is in it, in the source and in the target.
    pruned: [Option<RemotePath>; 2],
    /// What is on another mount, on either side.
    mounts: HashSet<RemotePath>,
    /// The directories that are not made, because nothing is.
    unmade: HashSet<RemotePath>,
    extras: Extras,
    /// Whether the source was not told as a whole: then nothing is removed.
    incomplete: bool,
    /// Of files with several names, the first in the source and the first in the target, where these are not the same.
    aliases: Aliases,
    /// How many bytes the files have that are to move.
    bytes: u64,
    /// How many files and links are there as they are to be.
    unchanged: u64,
    finished: bool,
}

impl Plan {
    pub(super) fn new(rules: Tree) -> Self {
        // What is there does not matter where everything moves and nothing is removed.
        let mut target = Feed { ended: rules.compare.is_none() && rules.delete.is_none(), ..Feed::default() };
        let mut source = Feed::default();
        if rules.compare == Some(Compare::Digest) {
            let remote = match rules.way {
                Way::Get => &mut source,
                Way::Put => &mut target,
            };
            remote.passed = Some(Passed::default());
        }
        let extras = Extras { one_by_one: rules.backup.is_some(), ..Extras::default() };
        Self {
            rules,
            source,
            target,
            steps: VecDeque::new(),
            open: Vec::new(),
            above_backups: Vec::new(),
            backs_up: false,
            surely_backs_up: false,
            pruned: [None, None],
            mounts: HashSet::new(),
            unmade: HashSet::new(),
            extras,
            incomplete: false,
            aliases: Aliases::default(),
            bytes: 0,
            unchanged: 0,
            finished: false,
        }
    }

    /// Adds what comes next in a walk. An error where that is no walk's order: whoever tells it so is not to be believed.
    pub(super) fn feed(
        &mut self,
        side: Side,
        nodes: impl IntoIterator<Item = Node>,
    ) -> Result<(), &'static str> {
        let feed = self.side(side);
        for node in nodes {
            feed.order.admit(&node)?;
            feed.nodes.push_back(node);
        }
        Ok(())
    }

    /// Says that nothing more comes.
    pub(super) fn end(&mut self, side: Side) {
        self.side(side).ended = true;
    }

    /// How many nodes of a walk wait to be looked at; `None` where no more are wanted.
    pub(super) fn waiting(&self, side: Side) -> Option<usize> {
        let feed = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        (!feed.ended).then_some(feed.nodes.len())
    }

    /// The last node of a walk that has come.
    pub(super) fn last(&self, side: Side) -> Option<&RemotePath> {
        match side {
            Side::Source => self.source.order.last(),
            Side::Target => self.target.order.last(),
        }
    }

    /// How many bytes the files have that are to move, as far as it is known.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many files and links are there as they are to be, as far as it is known.
    pub(super) fn unchanged(&self) -> u64 {
        self.unchanged
    }

    /// Whether all steps are known.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    fn side(&mut self, side: Side) -> &mut Feed {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }

    /// The next step.
    pub(super) fn next(&mut self) -> Next {
        loop {
            if let Some(step) = self.steps.pop_front() {
                if self.rules.only_remove && !self.is_of_removal(&step) {
                    continue;
                }
                if let Step::Move { size, .. } = &step {
                    // A listing may say anything.
                    self.bytes = self.bytes.saturating_add(*size);
                }
                return Next::Step(step);
            }
            if self.finished {
                return Next::End;
            }
            self.prune();
            if !self.steps.is_empty() {
                continue;
            }
            for side in [Side::Source, Side::Target] {
                if self.waiting(side) == Some(0) {
                    return Next::Starved(side);
                }
            }
            let order = match (self.source.nodes.front(), self.target.nodes.front()) {
                (None, None) => {
                    self.finish();
                    continue;
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(source), Some(target)) => walk_order(&source.path, &target.path),
            };
            let source = if order.is_le() { self.source.take() } else { None };
            let target = if order.is_ge() { self.target.take() } else { None };
            match (source, target) {
                (Some(source), target) => self.take(source, target),
                (None, Some(target)) => self.take_extra(target),
                (None, None) => {}
            }
        }
    }

    /// Whether a step belongs to what is removed: itself, or what it takes to change a directory, and to have that as it was.
    fn is_of_removal(&mut self, step: &Step) -> bool {
        match step {
            Step::MakeDir { path, .. } => {
                self.unmade.insert(path.clone());
                false
            }
            Step::Set { path, is_dir, .. } => *is_dir && !self.unmade.contains(path),
            Step::Remove(_) | Step::BackUp { .. } | Step::Unlock { .. } => true,
            Step::Move { .. }
            | Step::Compare { .. }
            | Step::Link { .. }
            | Step::HardLink { .. }
            | Step::Skip(_)
            | Step::LeaveOut { .. }
            | Step::Problem { .. } => false,
        }
    }

    /// Something that the source has, and perhaps the target, too.
    fn take(&mut self, source: Node, target: Option<Node>) {
        self.leave(Some(&source.path));
        // More may be there than was told.
        self.incomplete |= source.error.as_ref().is_some_and(|refusal| refusal.code != Code::NotRegular);
        let (above, before) = (self.open.len().checked_sub(1), self.steps.len());
        let there = target.as_ref();
        match source.kind {
            Kind::Dir => self.take_dir(&source, there),
            Kind::File => self.take_file(source, there),
            Kind::Link => self.take_link(source, there),
            Kind::Other => {
                self.protect(&source.path, there);
                self.steps.push_back(match source.error {
                    Some(refusal) if refusal.code != Code::NotRegular => {
                        Step::Problem { path: source.path, refusal }
                    }
                    _ => Step::Skip(source.path),
                });
            }
        }
        // What is put into a directory changes its time.
        let stays = |step: &Step| {
            matches!(step, Step::Problem { .. } | Step::Skip(_) | Step::LeaveOut { .. } | Step::Set { .. })
        };
        let Some(above) = above else { return };
        let mut changes = self.steps.iter().skip(before).filter(|step| !stays(step)).peekable();
        if changes.peek().is_none() {
            return;
        }
        let is_compared = changes.all(|step| matches!(step, Step::Compare { .. }));
        if is_compared && self.open[above].locked.is_none() {
            self.open[above].may_differ = true;
        } else {
            self.change(above, before);
        }
    }
}

#[cfg(test)]
mod hard_links;
#[cfg(test)]
mod tests;
