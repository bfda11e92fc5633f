//! Plans for files with several names, carried out on models: random pairs, and the cases that matter.

use std::collections::BTreeMap;

use ftpish_protocol::message::Mode;
use proptest::prelude::*;

use super::tests::{moment, path, plan, rules, time};
use super::*;
use crate::tree::Filter;

/// A file: its number, and what tells its content.
#[derive(Clone, Copy, Debug, PartialEq)]
struct File {
    inode: u64,
    size: u64,
    mtime: i64,
    mode: u32,
}

/// The files of a tree without directories.
#[derive(Clone, Debug, Default, PartialEq)]
struct Files(BTreeMap<String, File>);

impl Files {
    /// As a walk tells them that remembers all.
    fn walk(&self) -> Vec<Node> {
        let (mtime, mode) = (time(1), Mode::from_bits(0o755));
        let mut nodes = vec![Node { mtime, mode, ..Node::new(RemotePath::root(), Kind::Dir) }];
        let mut firsts = BTreeMap::new();
        for (name, File { inode, size, mtime, mode }) in &self.0 {
            let same = firsts.get(inode).cloned();
            firsts.entry(*inode).or_insert_with(|| path(name));
            let (mtime, mode) = (time(*mtime), Mode::from_bits(*mode));
            nodes.push(Node { size: *size, mtime, mode, same, ..Node::new(path(name), Kind::File) });
        }
        nodes
    }

    /// Does what the steps say, as the job does; every link must be one that the disk grants.
    fn apply(&mut self, steps: &[Step], source: &Self) {
        let mut steps = steps.to_vec();
        steps.sort_by_key(|step| match step {
            Step::Set { is_dir: false, .. } => 1,
            Step::HardLink { .. } => 2,
            _ => 0,
        });
        for step in steps {
            let at = step.path().to_string();
            match step {
                Step::Move { .. } => {
                    let inode = 1 + self.0.values().map(|file| file.inode).max().unwrap_or(0);
                    self.0.insert(at.clone(), File { inode, ..source.0[&at] });
                }
                Step::HardLink { first, size, mtime, .. } => {
                    let file = self.0[&first.to_string()];
                    assert_eq!((file.size, file.mtime), (size, moment(mtime)), "{at} = {first}");
                    self.0.insert(at, file);
                }
                Step::Set { is_dir: false, mtime, mode, .. } => {
                    let inode = self.0[&at].inode;
                    let same = self.0.values_mut().filter(|file| file.inode == inode);
                    same.for_each(|file| {
                        (file.mtime, file.mode) = (moment(mtime), mode.map_or(file.mode, Mode::bits));
                    });
                }
                Step::Remove(_) => drop(self.0.remove(&at)),
                Step::Set { is_dir: true, .. } => {}
                step => panic!("{step:?}"),
            }
        }
    }

    /// Whether two names are the same file.
    fn are_same(&self, a: &str, b: &str) -> bool {
        self.0[a].inode == self.0[b].inode
    }
}

fn any_files() -> impl Strategy<Value = Files> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    let kinds = prop::collection::vec((0..2_u64, 1..3_i64, prop::sample::select(vec![0o600, 0o644])), 4);
    (prop::collection::btree_map(name, 0..4_usize, 0..7), kinds).prop_map(|(names, kinds)| {
        let file = |inode: usize| {
            let (size, mtime, mode) = kinds[inode];
            File { inode: inode as u64, size, mtime, mode }
        };
        Files(names.into_iter().map(|(name, inode)| (name.to_owned(), file(inode))).collect())
    })
}

fn with_hard_links() -> Tree {
    Tree { hard_links: true, ..rules() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_one_file_in_the_source_becomes_one_in_the_target_and_then_there_is_nothing_to_do(
        source in any_files(), target in any_files(), page in 1..9_usize, delete in any::<bool>(),
    ) {
        let rules = || Tree { delete: delete.then_some(u64::MAX), ..with_hard_links() };
        let mut made = target.clone();
        made.apply(&plan(rules(), source.walk(), target.walk(), page), &source);
        for (name, file) in &source.0 {
            let there = made.0[name];
            prop_assert_eq!((there.size, there.mtime), (file.size, file.mtime), "{}", name);
            for other in source.0.keys().filter(|other| source.are_same(name, other)) {
                prop_assert!(made.are_same(name, other), "{} and {}", name, other);
            }
        }
        let again = plan(rules(), source.walk(), made.walk(), page);
        let is_own = |step: &&Step| !matches!(step, Step::Set { .. });
        prop_assert_eq!(again.iter().find(is_own), None);
    }

    #[test]
    fn without_hard_links_each_name_moves_for_itself(source in any_files(), page in 1..9_usize) {
        let steps = plan(rules(), source.walk(), Files::default().walk(), page);
        prop_assert!(steps.iter().all(|step| !matches!(step, Step::HardLink { .. })), "{:?}", steps);
        prop_assert_eq!(steps.iter().filter(|step| matches!(step, Step::Move { .. })).count(), source.0.len());
    }
}

/// Files by their names: the letters of each word are names of one.
fn files(words: &[&str]) -> Vec<Node> {
    let words = words.iter().zip(0..);
    let names = words.flat_map(|(word, inode)| word.chars().map(move |name| (name.to_string(), inode)));
    let file = |(name, inode)| (name, File { inode, size: 1, mtime: 1, mode: 0o644 });
    Files(names.map(file).collect()).walk()
}

#[track_caller]
fn check(rules: Tree, source: &[&str], target: &[&str], expected: &[&str]) {
    let steps = plan(rules, files(source), files(target), 3);
    let told = steps.iter().filter_map(|step| match step {
        Step::Move { path, .. } => Some(format!("move {path}")),
        Step::HardLink { path, first, replaces: true, .. } => Some(format!("{path} = {first}, replacing")),
        Step::HardLink { path, first, .. } => Some(format!("{path} = {first}")),
        Step::Compare { path, same, .. } => {
            Some(format!("compare {path} {}", same.as_ref().map_or("", |_| "linked")))
        }
        Step::BackUp { path, .. } => Some(format!("back up {path}")),
        Step::Skip(path) => Some(format!("skip {path}")),
        Step::Problem { path, .. } => Some(format!("problem {path}")),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn a_name_whose_first_one_is_left_out_moves_for_itself() {
    let filter = || Filter::new(&["a".to_owned()], &[]).unwrap();
    let rules = || Tree { filter: filter(), ..with_hard_links() };
    check(rules(), &["abc"], &[], &["move b", "move c"]);
    check(rules(), &["abc"], &["a", "b"], &["move c"]);
    let backup = || Tree { backup: Some(path("a")), ..with_hard_links() };
    check(backup(), &["abc"], &[], &["move b", "move c"]);
}

#[test]
fn names_are_the_same_by_whatever_name_the_target_tells_them_first() {
    let keep = || Tree { delete: None, ..with_hard_links() };
    check(keep(), &["bc"], &["abc"], &[]);
    check(keep(), &["bc"], &["ac", "b"], &["c = b, replacing"]);
    check(keep(), &["bc", "d"], &["ab", "cd"], &["c = b, replacing"]);
    check(keep(), &["cb"], &["bc"], &[]);
}

#[test]
fn with_digests_a_name_that_is_the_same_already_is_compared_and_another_is_linked() {
    let digests = || Tree { compare: Some(Compare::Digest), ..with_hard_links() };
    check(digests(), &["ab"], &["ab"], &["compare a ", "compare b linked"]);
    check(digests(), &["ab"], &["a", "b"], &["compare a ", "b = a, replacing"]);
}

#[test]
fn a_name_that_is_replaced_by_a_link_is_kept() {
    let rules = Tree { backup: Some(path("old")), ..with_hard_links() };
    check(rules, &["ab"], &["a", "b", "c"], &["b = a, replacing", "back up c"]);
}
