//! Plans carried out on models of trees: random pairs, and tables of the cases that matter.

use std::collections::BTreeMap;

use ftpish_protocol::Algorithm;
use ftpish_protocol::Refusal;
use ftpish_protocol::message::{LinkTarget, Mode, Replace, Time};
use proptest::prelude::*;

use super::*;
use crate::Way;
use crate::tree::{Filter, LinkPolicy};

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

/// A time that every disk keeps, and none takes for another.
pub(super) fn time(moment: i64) -> Time {
    Time { seconds: 1_000_000_000 + 10 * moment, nanoseconds: 0 }
}

/// Which that is.
pub(super) fn moment(time: Time) -> i64 {
    (time.seconds - 1_000_000_000) / 10
}

pub(super) fn path(text: &str) -> RemotePath {
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
        let (sets, rest): (Vec<_>, Vec<_>) = steps.iter().partition(|step| matches!(step, Step::Set { .. }));
        let mut problems = Vec::new();
        for step in rest.into_iter().chain(sets) {
            let at = step.path().to_string();
            let is_dir = |item: Option<&Item>| matches!(item, Some(Item::Dir { .. }));
            let above = RemotePath::parent(step.path()).map(|above| above.to_string());
            let is_locked = matches!(
                above.and_then(|above| self.0.get(&above)),
                Some(Item::Dir { mode, .. }) if mode & 0o300 != 0o300
            );
            match step {
                Step::Skip(_) | Step::LeaveOut { .. } => continue,
                Step::MakeDir { .. } | Step::Move { .. } | Step::Link { .. } | Step::Remove(_)
                    if is_locked =>
                {
                    panic!("{at} is in a directory that cannot be changed");
                }
                Step::Problem { .. } => {
                    problems.push(at);
                    continue;
                }
                Step::Set { mtime, mode, .. } => {
                    match self.0.get_mut(&at).expect(&at) {
                        Item::File { mtime: m, mode: b, .. } | Item::Dir { mtime: m, mode: b } => {
                            (*m, *b) = (moment(*mtime), mode.map_or(*b, Mode::bits));
                        }
                        item => panic!("{at} is {item:?}"),
                    }
                    continue;
                }
                Step::Unlock { mode, .. } => {
                    let Some(Item::Dir { mode: has, .. }) = self.0.get_mut(&at) else { panic!("{at}") };
                    assert_ne!(*has & 0o300, 0o300, "{at} is not locked");
                    *has = mode.bits();
                    continue;
                }
                Step::MakeDir { .. } => {
                    assert!(!self.0.contains_key(&at), "{at} is there");
                    self.0.insert(at.clone(), Item::Dir { mtime: NOW, mode: 0o700 });
                }
                Step::Move { .. } | Step::Compare { .. } | Step::Link { .. } | Step::HardLink { .. } => {
                    assert!(!is_dir(self.0.get(&at)), "{at} is a directory");
                    self.0.insert(at.clone(), source.0[&at].clone());
                }
                Step::Remove(_) | Step::BackUp { .. } => {
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
    let (mtime, mode) = (time(mtime), Mode::from_bits(mode));
    Node { size, mtime, mode, target, ..Node::new(path(at), kind) }
}

/// As `sync --delete` has them.
pub(super) fn rules() -> Tree {
    Tree {
        digest: Algorithm::Md5,
        sync: false,
        compare: Some(Compare::Time),
        delete: Some(u64::MAX),
        perms: true,
        ..Tree::new(Way::Get, RemotePath::root(), "/")
    }
}

/// The steps from two walks that come in pages of so many.
pub(super) fn plan(rules: Tree, source: Vec<Node>, target: Vec<Node>, page: usize) -> Vec<Step> {
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
        5 => (1..3_i64, prop::sample::select(vec![0o755, 0o700, 0o555]))
            .prop_map(|(mtime, mode)| Item::Dir { mtime, mode }),
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
    fn what_is_there_keeps_its_bits_where_they_are_not_to_be_the_same(
        source in any_tree(), target in any_tree(), page in 1..9_usize,
    ) {
        let rules = || Tree { perms: false, ..rules() };
        let mut made = target.clone();
        let steps = plan(rules(), source.walk(None), target.walk(None), page);
        prop_assert_eq!(made.apply(&steps, &source), Vec::<String>::new());
        for (path, item) in &made.0 {
            match (item, target.0.get(path), &source.0[path]) {
                (Item::Dir { mode, .. }, Some(Item::Dir { mode: had, .. }), _)
                | (Item::Dir { mode, .. }, _, Item::Dir { mode: had, .. }) => {
                    prop_assert_eq!(mode, had, "{}", path);
                }
                _ => {}
            }
        }
        prop_assert_eq!(plan(rules(), source.walk(None), made.walk(None), page), vec![]);
    }

    #[test]
    fn with_backups_nothing_goes_with_what_is_in_it_and_the_result_is_the_same(
        source in any_tree(), target in any_tree(), page in 1..9_usize,
    ) {
        let rules = Tree { backup: Some(path("kept")), ..rules() };
        let steps = plan(rules, source.walk(None), target.walk(None), page);
        let mut made = target.clone();
        let is_set = |step: &&Step| matches!(step, Step::Set { .. });
        for step in steps.iter().filter(|step| !is_set(step)).chain(steps.iter().filter(is_set)) {
            let at = step.path().to_string();
            let below = made.0.keys().filter(|path| is_in(path, &at)).count();
            let is_dir = matches!(made.0.get(&at), Some(Item::Dir { .. }));
            match step {
                Step::Remove(_) => prop_assert!(is_dir && below == 1, "{} has {} names", at, below),
                Step::BackUp { to, .. } => {
                    prop_assert!(!is_dir, "{} is a directory", at);
                    prop_assert_eq!(to.to_string(), format!("kept/{at}"));
                }
                _ => {}
            }
            made.apply(std::slice::from_ref(step), &source);
        }
        prop_assert_eq!(made, source);
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
        let is_top = matches!(top, Step::MakeDir { path, .. } if path.is_root());
        prop_assert!(is_top, "{:?}", top);
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
    check(rules(), &["d|"], &target, &["z"], &[]);
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
