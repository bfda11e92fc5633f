//! What is to be done so that one tree becomes like another, step by step, from the two walks as they come. Nothing is
//! held of them but the directories that lead to where they are; and what is to be removed, which comes last.
//!
//! Deliberately elsewhere: who walks, and who does it (`job.rs`).

mod aliases;
mod extras;
mod feed;

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};

use ftpish_protocol::message::{Kind, LinkTarget, Mode, Node, Replace, Time};
use ftpish_protocol::{Code, Refusal, RemotePath, walk_order};

use self::aliases::Aliases;
use self::extras::{Extra, Extras, is_locked};
use self::feed::{Feed, Passed};
use super::{Compare, LeftOut, LinkPolicy, Step, Tree};
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

/// A directory of the source that the plan is in.
#[derive(Debug)]
struct Open {
    path: RemotePath,
    mtime: Time,
    /// What it gets in the end, if its permission bits count.
    mode: Option<Mode>,
    /// Whether it is not, or will not be, what it is in the source.
    differs: bool,
    /// Whether that depends on how files in it compare.
    may_differ: bool,
    /// The permission bits that it has, where they keep its own owner from changing what is in it.
    locked: Option<Mode>,
}

fn unlock(path: &RemotePath, mode: Mode) -> Step {
    Step::Unlock { path: path.clone(), mode: Mode::from_bits(mode.bits() | 0o700) }
}

impl Open {
    fn set(self) -> Step {
        let Self { path, mtime, mode, differs, .. } = self;
        Step::Set { path, is_dir: true, mtime, mode, if_changed: !differs }
    }
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

    /// Passes over what is left out. What one side has on another mount is left out on the other side, too.
    fn prune(&mut self) {
        let mounts = self.mounts.len();
        for side in [Side::Source, Side::Target] {
            while self.prune_next(side) {}
        }
        if self.mounts.len() > mounts {
            while self.prune_next(Side::Source) {}
        }
    }

    /// Passes over the next node of a side, if it is left out.
    fn prune_next(&mut self, side: Side) -> bool {
        let is_source = side == Side::Source;
        let feed = if is_source { &mut self.source } else { &mut self.target };
        let pruned = &mut self.pruned[usize::from(!is_source)];
        let Some(node) = feed.nodes.front() else { return false };
        if !pruned.as_ref().is_some_and(|top| node.path.is_within(top)) {
            let is_dir = node.kind == Kind::Dir;
            let why = match node.mount || self.mounts.contains(&node.path) {
                true => Some(LeftOut::Mount),
                false => self.rules.leaves_out(&node.path, is_dir),
            };
            let Some(why) = why else { return false };
            if why == LeftOut::Mount {
                self.mounts.insert(node.path.clone());
            }
            if !is_source {
                self.extras.keep(&node.path);
            }
            if is_dir {
                *pruned = Some(node.path.clone());
            }
            if self.rules.tell_left_out && (is_source || self.rules.delete.is_some()) {
                self.steps.push_back(Step::LeaveOut { path: node.path.clone(), is_source, why });
            }
        }
        feed.take();
        true
    }

    /// Leaves the directories that `path` is not in.
    fn leave(&mut self, path: Option<&RemotePath>) {
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

    /// Something in a directory changes, by a step that is the one at `before`, or comes later.
    fn change(&mut self, dir: usize, before: usize) {
        let dir = &mut self.open[dir];
        dir.differs = true;
        if let Some(mode) = dir.locked.take() {
            dir.mode.get_or_insert(mode);
            self.steps.insert(before, unlock(&dir.path, mode));
        }
    }

    /// The same, of the directory that the walks are in.
    fn change_last(&mut self) {
        if let Some(last) = self.open.len().checked_sub(1) {
            self.change(last, self.steps.len());
        }
    }

    /// Something is kept by the next step, or a later one: the directories that backups are in change.
    fn expect_backup(&mut self) {
        self.surely_backs_up = true;
        self.prepare_backup();
    }

    /// The same, if files differ that are yet to be compared.
    fn prepare_backup(&mut self) {
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

    fn take_dir(&mut self, source: &Node, target: Option<&Node>) {
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
    fn is_dressed(&self, there: &Node, source: &Node) -> bool {
        let time_is_same = match source.kind {
            Kind::Dir => there.mtime.is_near(source.mtime),
            _ => there.mtime.is_same(source.mtime),
        };
        time_is_same && (there.mode == source.mode || !self.rules.perms)
    }

    fn take_file(&mut self, source: Node, target: Option<&Node>) {
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

    fn take_link(&mut self, source: Node, target: Option<&Node>) {
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

    /// Whether a path is left out, or a directory that it is in.
    fn is_left_out(&self, path: &RemotePath) -> bool {
        let (mut at, mut is_dir) = (Some(path.clone()), false);
        while let Some(path) = at {
            if self.rules.leaves_out(&path, is_dir).is_some() {
                return true;
            }
            (at, is_dir) = (path.parent(), true);
        }
        false
    }

    /// How something goes.
    fn removal(&mut self, path: RemotePath, is_dir: bool) -> Step {
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
    fn protect(&mut self, path: &RemotePath, target: Option<&Node>) {
        if target.is_some_and(|there| there.kind == Kind::Dir) {
            self.pruned[1] = Some(path.clone());
        }
    }

    /// Something that only the target has.
    fn take_extra(&mut self, target: Node) {
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

    fn finish(&mut self) {
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

fn has_directory(path: RemotePath) -> Step {
    Step::Problem { path, refusal: Refusal::new(Code::IsDirectory, "a directory has this name") }
}

#[cfg(test)]
mod hard_links;
#[cfg(test)]
mod tests;
