//! What is to be done so that one tree becomes like another, step by step, from the two walks as they come. Nothing is
//! held of them but the directories that lead to where they are; and what is to be removed, which comes last.
//!
//! Deliberately elsewhere: who walks, and who does it (`job.rs`).

use std::cmp::Ordering;
use std::collections::VecDeque;

use ftpish_protocol::message::{Kind, LinkTarget, Mode, Node, Replace, Time};
use ftpish_protocol::{Code, Refusal, RemotePath, WalkOrder, walk_order};

use super::{Compare, LinkPolicy, Step, Tree};

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

/// The part of a walk that has come and was not yet looked at.
#[derive(Debug, Default)]
struct Feed {
    nodes: VecDeque<Node>,
    order: WalkOrder,
    ended: bool,
}

/// A directory of the source that the plan is in.
#[derive(Debug)]
struct Open {
    path: RemotePath,
    mtime: Time,
    mode: Mode,
    /// Whether it is not, or will not be, what it is in the source.
    differs: bool,
}

/// A name of the target that the source does not have.
#[derive(Debug)]
struct Extra {
    path: RemotePath,
    /// Whether something in it stays, and so it does itself.
    kept: bool,
    /// What takes its place.
    then: Option<Step>,
}

/// What is to be removed, in walk order: of a directory that goes with all that is in it, the directory alone.
#[derive(Debug, Default)]
struct Extras {
    all: Vec<Extra>,
    /// Where in `all` the directories are that lead to where the walk is.
    dirs: Vec<usize>,
    /// How many names there are, those in a directory that goes among them.
    count: u64,
}

impl Extras {
    /// Adds a name, unless there are more than `most` by then: none is removed then, and none kept in mind.
    fn add(&mut self, path: RemotePath, is_dir: bool, then: Option<Step>, most: u64) {
        self.close(Some(&path));
        self.count += 1;
        if self.count > most {
            self.all.clear();
            self.dirs.clear();
            return;
        }
        if is_dir {
            self.dirs.push(self.all.len());
        }
        self.all.push(Extra { path, kept: false, then });
    }

    /// Says that what has this path stays, if it is in a directory that was to go.
    fn keep(&mut self, path: &RemotePath) {
        self.close(Some(path));
        for at in &self.dirs {
            self.all[*at].kept = true;
        }
    }

    /// Leaves the directories that `path` is not in: what is in them need not be told one by one, if all of it goes.
    fn close(&mut self, path: Option<&RemotePath>) {
        while let Some(&at) = self.dirs.last() {
            let dir = &self.all[at];
            if path.is_some_and(|path| is_below(path, &dir.path)) {
                return;
            }
            self.dirs.pop();
            if !dir.kept {
                self.all.truncate(at + 1);
            }
        }
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
    /// What is left out with all that is in it, on either side.
    pruned: [Option<RemotePath>; 2],
    extras: Extras,
    /// Whether the source was not told as a whole: then nothing is removed.
    incomplete: bool,
    /// How many bytes the files have that are to move.
    bytes: u64,
    finished: bool,
}

impl Plan {
    pub(super) fn new(rules: Tree) -> Self {
        // What is there does not matter where everything moves and nothing is removed.
        let target = Feed { ended: rules.compare.is_none() && rules.delete.is_none(), ..Feed::default() };
        Self {
            rules,
            source: Feed::default(),
            target,
            steps: VecDeque::new(),
            open: Vec::new(),
            pruned: [None, None],
            extras: Extras::default(),
            incomplete: false,
            bytes: 0,
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
            let source = if order.is_le() { self.source.nodes.pop_front() } else { None };
            let target = if order.is_ge() { self.target.nodes.pop_front() } else { None };
            match (source, target) {
                (Some(source), target) => self.take(source, target),
                (None, Some(target)) => self.take_extra(target),
                (None, None) => {}
            }
        }
    }

    /// Passes over what is left out.
    fn prune(&mut self) {
        let Self { rules, source, target, pruned, extras, .. } = self;
        for ((side, feed), pruned) in [(Side::Source, source), (Side::Target, target)].into_iter().zip(pruned)
        {
            while let Some(node) = feed.nodes.front() {
                let is_dir = node.kind == Kind::Dir;
                let inside = pruned.as_ref().is_some_and(|top| is_below(&node.path, top));
                if !inside && !rules.filter.excludes(&node.path, is_dir) {
                    break;
                }
                if !inside && side == Side::Target {
                    extras.keep(&node.path);
                }
                if !inside && is_dir {
                    *pruned = Some(node.path.clone());
                }
                feed.nodes.pop_front();
            }
        }
    }

    /// Leaves the directories that `path` is not in.
    fn leave(&mut self, path: Option<&RemotePath>) {
        while let Some(last) = self.open.last() {
            if path.is_some_and(|path| is_below(path, &last.path)) {
                return;
            }
            let Some(Open { path, mtime, mode, differs }) = self.open.pop() else { return };
            if differs {
                self.steps.push_back(Step::Set { path, mtime, mode });
            }
        }
    }

    /// Something that the source has, and perhaps the target, too.
    fn take(&mut self, source: Node, target: Option<Node>) {
        self.leave(Some(&source.path));
        // More may be there than was told.
        self.incomplete |= source.error.is_some();
        let (above, before) = (self.open.len().checked_sub(1), self.steps.len());
        let there = target.as_ref();
        match source.kind {
            Kind::Dir => self.take_dir(&source, there),
            Kind::File => self.take_file(source, there),
            Kind::Link => self.take_link(source, there),
            Kind::Other => {
                self.protect(&source.path, there);
                let line = "it is a fifo, a socket or a device";
                let refusal = source.error.unwrap_or_else(|| Refusal::new(Code::NotRegular, line));
                self.steps.push_back(Step::Problem { path: source.path, refusal });
            }
        }
        // What is put into a directory changes its time.
        let stays = |step: &Step| matches!(step, Step::Problem { .. } | Step::Set { .. });
        if let Some(above) = above
            && !self.steps.iter().skip(before).all(stays)
        {
            self.open[above].differs = true;
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
            self.steps.push_back(Step::Remove(path.clone()));
        }
        if there.is_none() {
            self.steps.push_back(Step::MakeDir(path.clone()));
        }
        if let Some(refusal) = &source.error {
            self.steps.push_back(Step::Problem { path: path.clone(), refusal: refusal.clone() });
        }
        let differs =
            there.is_none_or(|there| !same_time(there.mtime, source.mtime) || there.mode != source.mode);
        self.open.push(Open { path: path.clone(), mtime: source.mtime, mode: source.mode, differs });
    }

    fn take_file(&mut self, source: Node, target: Option<&Node>) {
        let Node { path, size, mtime, mode, .. } = source;
        let there = match target.map(|target| target.kind) {
            Some(Kind::Dir) => return self.take_place(Step::Move { path, size }, target),
            Some(Kind::File) => target.filter(|target| target.size == size),
            _ => None,
        };
        self.steps.push_back(match (self.rules.compare, there) {
            (Some(Compare::Time), Some(there)) if same_time(there.mtime, mtime) => {
                if there.mode == mode {
                    return;
                }
                Step::Set { path, mtime, mode }
            }
            (Some(Compare::Digest), Some(there)) => {
                let same = same_time(there.mtime, mtime) && there.mode == mode;
                Step::Compare { path, size, set: (!same).then_some((mtime, mode)) }
            }
            _ => Step::Move { path, size },
        });
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
                    self.take_place(Step::Link { path, target: held }, target);
                } else if self.rules.compare.is_none() || target.filter(same).is_none() {
                    self.steps.push_back(Step::Link { path, target: held });
                }
            }
        }
    }

    /// Something takes the place of a directory: as the last of all, if that may be removed.
    fn take_place(&mut self, step: Step, target: Option<&Node>) {
        let path = step.path().clone();
        match self.rules.delete {
            Some(most) if self.rules.replace == Replace::Always => {
                if let Some(above) = self.open.last_mut() {
                    above.differs = true;
                }
                self.extras.add(path, true, Some(step), most);
            }
            _ => {
                self.protect(&path, target);
                self.steps.push_back(has_directory(path));
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
        if let Some(above) = self.open.last_mut() {
            above.differs = true;
        }
        self.extras.add(target.path.clone(), target.kind == Kind::Dir, None, most);
        // What is in it was not counted, so it does not go.
        if let Some(refusal) = target.error {
            self.extras.keep(&target.path);
            self.steps.push_back(Step::Problem { path: target.path, refusal });
        }
    }

    fn finish(&mut self) {
        self.finished = true;
        self.extras.close(None);
        let Extras { all, count, .. } = std::mem::take(&mut self.extras);
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
            for Extra { path, kept, then } in all {
                match then {
                    Some(_) if kept => self.steps.push_back(has_directory(path)),
                    None if kept => {}
                    then => self.steps.extend([Step::Remove(path)].into_iter().chain(then)),
                }
            }
        }
        self.leave(None);
    }
}

fn has_directory(path: RemotePath) -> Step {
    Step::Problem { path, refusal: Refusal::new(Code::IsDirectory, "a directory has this name") }
}

/// Whether `path` is in the directory `dir`, or is it.
fn is_below(path: &RemotePath, dir: &RemotePath) -> bool {
    let mut components = path.components();
    dir.components().all(|component| components.next() == Some(component))
}

/// Whether two times are the same, as far as a file system keeps them: some have no parts of a second.
fn same_time(a: Time, b: Time) -> bool {
    a.seconds == b.seconds && (a.nanoseconds == b.nanoseconds || a.nanoseconds == 0 || b.nanoseconds == 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ftpish_protocol::Algorithm;
    use proptest::prelude::*;

    use super::super::{Filter, Way};
    use super::*;

    /// What a name stands for, and what tells it from another of its kind.
    #[derive(Clone, Debug, PartialEq)]
    enum Item {
        File { size: u64, mtime: i64, mode: u32 },
        Dir { mtime: i64, mode: u32 },
        Link(u8),
        Fifo,
    }

    /// A tree by its paths, its top among them.
    #[derive(Clone, Debug, PartialEq)]
    struct Model(BTreeMap<String, Item>);

    /// When whatever is done is done.
    const NOW: i64 = 1000;

    fn path(text: &str) -> RemotePath {
        text.parse().unwrap()
    }

    fn parent(path: &str) -> &str {
        path.rsplit_once('/').map_or(".", |(parent, _)| parent)
    }

    fn is_in(path: &str, dir: &str) -> bool {
        path == dir || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
    }

    impl Model {
        /// Adds what has a directory to be in.
        fn of(items: Vec<(String, Item)>) -> Self {
            let mut all = BTreeMap::from([(".".to_owned(), Item::Dir { mtime: 1, mode: 0o755 })]);
            for (path, item) in items {
                let fits = matches!(all.get(parent(&path)), Some(Item::Dir { .. }));
                if fits && !all.contains_key(&path) {
                    all.insert(path, item);
                }
            }
            Self(all)
        }

        /// As a walk tells it; `unread` is a directory that cannot be read, if it is one.
        fn walk(&self, unread: Option<&str>) -> Vec<Node> {
            let mut nodes: Vec<Node> = self.0.iter().map(|(path, item)| node(path, item)).collect();
            nodes.sort_by(|a, b| walk_order(&a.path, &b.path));
            if let Some(unread) = unread {
                nodes.retain(|node| {
                    node.path == path(unread) || unread != "." && !is_in(&node.path.to_string(), unread)
                });
                let unread = nodes.iter_mut().find(|node| node.path == path(unread));
                if let Some(node) = unread {
                    node.error = Some(Refusal::new(Code::PermissionDenied, "no"));
                }
            }
            nodes
        }

        /// Does what the steps say as the job does it, times and permission bits last; gives what could not be done.
        fn apply(&mut self, steps: &[Step], source: &Self) -> Vec<String> {
            let (sets, rest): (Vec<_>, Vec<_>) =
                steps.iter().partition(|step| matches!(step, Step::Set { .. }));
            let mut problems = Vec::new();
            for step in rest.into_iter().chain(sets) {
                let at = step.path().to_string();
                let is_dir = |item: Option<&Item>| matches!(item, Some(Item::Dir { .. }));
                match step {
                    Step::Problem { .. } => {
                        problems.push(at);
                        continue;
                    }
                    Step::Set { mtime, mode, .. } => {
                        match self.0.get_mut(&at).expect(&at) {
                            Item::File { mtime: m, mode: b, .. } | Item::Dir { mtime: m, mode: b } => {
                                (*m, *b) = (mtime.seconds, mode.bits());
                            }
                            item => panic!("{at} is {item:?}"),
                        }
                        continue;
                    }
                    Step::MakeDir(_) => {
                        assert!(!self.0.contains_key(&at), "{at} is there");
                        self.0.insert(at.clone(), Item::Dir { mtime: NOW, mode: 0o700 });
                    }
                    Step::Move { .. } | Step::Compare { .. } | Step::Link { .. } => {
                        assert!(!is_dir(self.0.get(&at)), "{at} is a directory");
                        self.0.insert(at.clone(), source.0[&at].clone());
                    }
                    Step::Remove(_) => {
                        assert!(self.0.contains_key(&at), "{at} is not there");
                        self.0.retain(|path, _| !is_in(path, &at));
                    }
                }
                match self.0.get_mut(parent(&at)) {
                    Some(Item::Dir { mtime, .. }) => *mtime = NOW,
                    above => panic!("{at} is in {above:?}"),
                }
            }
            problems
        }

        /// The paths of `other` that this does not have.
        fn lacks(&self, other: &Self) -> Vec<String> {
            other.0.keys().filter(|path| !self.0.contains_key(*path)).cloned().collect()
        }
    }

    fn node(at: &str, item: &Item) -> Node {
        let (kind, size, mtime, mode, target) = match item {
            Item::File { size, mtime, mode } => (Kind::File, *size, *mtime, *mode, None),
            Item::Dir { mtime, mode } => (Kind::Dir, 0, *mtime, *mode, None),
            Item::Link(to) => (Kind::Link, 1, 0, 0o777, Some(LinkTarget(vec![*to]))),
            Item::Fifo => (Kind::Other, 0, 0, 0o600, None),
        };
        let mtime = Time { seconds: mtime, nanoseconds: 0 };
        Node { path: path(at), kind, size, mtime, mode: Mode::from_bits(mode), target, error: None }
    }

    /// As `sync --delete` has them.
    fn rules() -> Tree {
        Tree {
            way: Way::Get,
            remote: RemotePath::root(),
            local: "/".into(),
            digest: Algorithm::Md5,
            replace: Replace::Always,
            sync: false,
            links: LinkPolicy::Keep,
            filter: Filter::default(),
            compare: Some(Compare::Time),
            delete: Some(u64::MAX),
            dry_run: false,
        }
    }

    /// The steps from two walks that come in pages of so many.
    fn plan(rules: Tree, source: Vec<Node>, target: Vec<Node>, page: usize) -> Vec<Step> {
        let mut plan = Plan::new(rules);
        let (mut source, mut target) = (source.into_iter(), target.into_iter());
        let mut steps = Vec::new();
        loop {
            match plan.next() {
                Next::Step(step) => steps.push(step),
                Next::End => return steps,
                Next::Starved(side) => {
                    let walk = if side == Side::Source { &mut source } else { &mut target };
                    let nodes: Vec<_> = walk.take(page).collect();
                    let is_last = nodes.len() < page;
                    plan.feed(side, nodes).unwrap();
                    if is_last {
                        plan.end(side);
                    }
                }
            }
        }
    }

    fn any_path() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "a-", "c"]), 1..4)
            .prop_map(|names| names.join("/"))
    }

    fn any_item() -> impl Strategy<Value = Item> {
        let mode = || prop::sample::select(vec![0o644, 0o755]);
        prop_oneof![
            3 => (0..2_u64, 1..3_i64, mode())
                .prop_map(|(size, mtime, mode)| Item::File { size, mtime, mode }),
            5 => (1..3_i64, mode()).prop_map(|(mtime, mode)| Item::Dir { mtime, mode }),
            1 => (b'x'..=b'y').prop_map(Item::Link),
        ]
    }

    fn any_tree() -> impl Strategy<Value = Model> {
        prop::collection::vec((any_path(), any_item()), 0..20).prop_map(|mut items| {
            items.sort_by_key(|(path, _)| path.matches('/').count());
            Model::of(items)
        })
    }

    /// Names of the target that the source does not have, and directories of the target that are none in the source.
    fn extras(source: &Model, target: &Model) -> usize {
        let is_dir = |item: Option<&Item>| matches!(item, Some(Item::Dir { .. }));
        let is_extra = |path: &&String| match (source.0.get(*path), target.0.get(*path)) {
            (None, _) => true,
            (there, here) => is_dir(here) && !is_dir(there),
        };
        target.0.keys().filter(is_extra).count()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_the_steps_make_of_the_target_is_the_source_and_then_there_is_nothing_to_do(
            source in any_tree(), target in any_tree(), page in 1..9_usize,
        ) {
            let mut made = target.clone();
            let steps = plan(rules(), source.walk(None), target.walk(None), page);
            prop_assert_eq!(made.apply(&steps, &source), Vec::<String>::new());
            prop_assert_eq!(&made, &source);
            prop_assert_eq!(plan(rules(), source.walk(None), made.walk(None), page), vec![]);
        }

        #[test]
        fn digests_that_are_compared_lead_to_the_same(
            source in any_tree(), target in any_tree(), page in 1..9_usize,
        ) {
            let mut made = target.clone();
            let rules = Tree { compare: Some(Compare::Digest), ..rules() };
            let steps = plan(rules, source.walk(None), target.walk(None), page);
            made.apply(&steps, &source);
            prop_assert_eq!(made, source);
        }

        #[test]
        fn without_delete_no_name_of_the_target_is_lost(
            source in any_tree(), target in any_tree(), page in 1..9_usize,
        ) {
            let mut made = target.clone();
            let rules = Tree { delete: None, ..rules() };
            let problems = made.apply(&plan(rules, source.walk(None), target.walk(None), page), &source);
            prop_assert_eq!(made.lacks(&target), Vec::<String>::new());
            for (path, item) in &source.0 {
                let is_told = problems.iter().any(|problem| is_in(path, problem));
                let is_made = match (item, made.0.get(path)) {
                    (Item::Dir { .. }, Some(Item::Dir { .. })) => true,
                    (item, made) => made == Some(item),
                };
                prop_assert!(is_made || is_told, "{} is {:?}", path, made.0.get(path));
            }
        }

        #[test]
        fn what_is_not_to_be_replaced_is_not_removed_for_a_directory_either(
            source in any_tree(), target in any_tree(), page in 1..9_usize,
        ) {
            for replace in [Replace::Never, Replace::Older] {
                let rules = Tree { delete: None, replace, ..rules() };
                let steps = plan(rules, source.walk(None), target.walk(None), page);
                prop_assert!(!steps.iter().any(|step| matches!(step, Step::Remove(_))), "{:?}", steps);
                target.clone().apply(&steps, &source);
            }
        }

        #[test]
        fn nothing_is_removed_where_the_source_could_not_be_read_as_a_whole(
            source in any_tree(), target in any_tree(), page in 1..9_usize, unread in any::<prop::sample::Index>(),
        ) {
            let dirs: Vec<_> =
                source.0.iter().filter(|(_, item)| matches!(item, Item::Dir { .. })).map(|(path, _)| path).collect();
            let unread = unread.get(&dirs);
            let mut made = target.clone();
            let steps = plan(rules(), source.walk(Some(unread)), target.walk(None), page);
            let problems = made.apply(&steps, &source);
            prop_assert!(problems.contains(unread), "{:?}", problems);
            prop_assert_eq!(made.lacks(&target), Vec::<String>::new());
        }

        #[test]
        fn no_more_is_removed_than_may_be_and_else_nothing(
            source in any_tree(), target in any_tree(), page in 1..9_usize, most in 0..9_u64,
        ) {
            let mut made = target.clone();
            let rules = Tree { delete: Some(most), ..rules() };
            made.apply(&plan(rules, source.walk(None), target.walk(None), page), &source);
            let lost = made.lacks(&target);
            if extras(&source, &target) as u64 <= most {
                prop_assert_eq!(made, source);
            } else {
                prop_assert_eq!(lost, Vec::<String>::new());
            }
        }

        #[test]
        fn what_is_filtered_neither_moves_nor_is_removed(
            source in any_tree(), target in any_tree(), page in 1..9_usize,
        ) {
            let mut made = target.clone();
            let filter = Filter::new(&["b".to_owned()], &[]).unwrap();
            let steps = plan(Tree { filter, ..rules() }, source.walk(None), target.walk(None), page);
            made.apply(&steps, &source);
            let excluded = |tree: &Model| -> Vec<(String, Item)> {
                let is_out = |path: &str| path.split('/').any(|name| name == "b");
                tree.0.iter().filter(|(path, _)| is_out(path)).map(|(p, i)| (p.clone(), i.clone())).collect()
            };
            prop_assert_eq!(excluded(&made), excluded(&target));
            // All else is as in the source, but for directories that something stays in.
            let stays = |path: &str| excluded(&target).iter().any(|(kept, _)| is_in(kept, path));
            for path in made.0.keys().chain(source.0.keys()) {
                let is_there = [&made, &source].map(|tree| tree.0.contains_key(path));
                let is_out = path.split('/').any(|name| name == "b");
                prop_assert!(is_out || stays(path) || is_there == [true, true], "{}: {:?}", path, is_there);
            }
        }

        #[test]
        fn everything_moves_and_nothing_is_removed_where_nothing_is_compared(
            source in any_tree(), page in 1..9_usize,
        ) {
            let rules = Tree { compare: None, delete: None, ..rules() };
            let mut made = Model(BTreeMap::new());
            made.0.insert("..".to_owned(), Item::Dir { mtime: 0, mode: 0 });
            let steps = plan(rules, source.walk(None), Vec::new(), page);
            let (top, rest) = steps.split_first().unwrap();
            prop_assert_eq!(top, &Step::MakeDir(RemotePath::root()));
            made.0 = BTreeMap::from([(".".to_owned(), Item::Dir { mtime: NOW, mode: 0o700 })]);
            prop_assert_eq!(made.apply(rest, &source), Vec::<String>::new());
            prop_assert_eq!(made, source);
        }
    }

    /// Trees are written as their paths: directories with a slash, links with `@`, fifos with `|`, and `!` behind what has
    /// an error.
    fn told(paths: &[&str]) -> Vec<Node> {
        let mut nodes = vec![node(".", &Item::Dir { mtime: 1, mode: 0o755 })];
        for word in paths {
            let (word, error) = word.strip_suffix('!').map_or((*word, false), |word| (word, true));
            let path = word.trim_end_matches(['/', '@', '|']);
            let item = match word.chars().last() {
                Some('/') => Item::Dir { mtime: 1, mode: 0o755 },
                Some('@') => Item::Link(b'x'),
                Some('|') => Item::Fifo,
                _ => Item::File { size: 1, mtime: 1, mode: 0o644 },
            };
            let error = error.then(|| Refusal::new(Code::PermissionDenied, "no"));
            nodes.push(Node { error, ..node(path, &item) });
        }
        nodes
    }

    /// What is removed, and what is told as a problem.
    #[track_caller]
    fn check(rules: Tree, source: &[&str], target: &[&str], removed: &[&str], problems: &[&str]) {
        let steps = plan(rules, told(source), told(target), 2);
        let paths = |which: fn(&Step) -> bool| -> Vec<String> {
            steps.iter().filter(|step| which(step)).map(|step| step.path().to_string()).collect()
        };
        assert_eq!(paths(|step| matches!(step, Step::Remove(_))), removed, "{steps:?}");
        assert_eq!(paths(|step| matches!(step, Step::Problem { .. })), problems, "{steps:?}");
    }

    fn without(pattern: &str) -> Tree {
        Tree { filter: Filter::new(&[pattern.to_owned()], &[]).unwrap(), ..rules() }
    }

    #[test]
    fn a_directory_that_something_stays_in_stays_and_all_else_in_it_goes() {
        let target = ["d/", "d/a", "d/e/", "d/e/f", "d/keep.o", "d/z", "x/", "x/y"];
        check(without("*.o"), &[], &target, &["d/a", "d/e", "d/z", "x"], &[]);
        check(without("*.o"), &["d"], &target, &["d/a", "d/e", "d/z", "x"], &["d"]);
        check(without("keep.o/"), &[], &["d/", "d/keep.o/", "d/keep.o/in"], &[], &[]);
    }

    #[test]
    fn what_could_not_be_looked_at_is_taken_for_whatever_it_may_be() {
        check(rules(), &["d|!"], &["d/", "d/a", "z"], &[], &["d", "."]);
        check(rules(), &["d/!"], &["d/", "d/a", "z"], &[], &["d", "."]);
        check(rules(), &["d/!"], &["d", "z"], &[], &["d", "."]);
        // Of the target's, what is in it was not counted.
        check(rules(), &[], &["d/", "d/a", "d/e/!", "z"], &["d/a", "z"], &["d/e"]);
    }

    #[test]
    fn what_is_in_the_place_of_something_that_does_not_move_stays() {
        let target = ["d/", "d/a", "z"];
        check(rules(), &["d|"], &target, &["z"], &["d"]);
        let skip = || Tree { links: LinkPolicy::Skip, ..rules() };
        check(skip(), &["d@"], &target, &["z"], &[]);
        check(skip(), &["z@"], &["z"], &[], &[]);
        let follow = Tree { links: LinkPolicy::Follow, ..rules() };
        check(follow, &["d@!"], &target, &[], &["d", "."]);
        let never = Tree { replace: Replace::Never, ..rules() };
        check(never, &["d", "z/", "z/in"], &target, &[], &["d", "z"]);
    }

    #[test]
    fn a_walk_out_of_order_is_not_taken() {
        let mut plan = Plan::new(rules());
        assert_eq!(
            plan.feed(Side::Source, told(&["d@", "d/file"])),
            Err("it is in no directory that was told of")
        );
        let mut plan = Plan::new(rules());
        plan.feed(Side::Source, told(&["b"])).unwrap();
        let late = told(&["a"]).pop();
        assert_eq!(plan.feed(Side::Source, late), Err("it is out of order"), "over pages, too");
    }
}
