//! The order of a walk through a tree, in which both ends tell of theirs: a directory, then what is in it by the bytes
//! of the names, each directory among them followed at once by what is in that. Two trees in this order are compared
//! as they come, and neither need be held.

use std::cmp::Ordering;

use crate::RemotePath;
use crate::message::{Kind, Node};

/// Which of two paths a walk meets first.
pub fn walk_order(a: &RemotePath, b: &RemotePath) -> Ordering {
    a.components().cmp(b.components())
}

/// Holds a listing of a tree to its order: whoever sends it cannot name anything twice, nor anything in what is no
/// directory.
#[derive(Clone, Debug, Default)]
pub struct WalkOrder {
    last: Option<RemotePath>,
    /// The directories that lead to `last`, itself among them where it is one.
    dirs: Vec<RemotePath>,
}

impl WalkOrder {
    /// Takes note of the next node; why it cannot be the next one, if it cannot.
    pub fn admit(&mut self, node: &Node) -> Result<(), &'static str> {
        if let Some(last) = &self.last {
            if walk_order(last, &node.path) != Ordering::Less {
                return Err("it is out of order");
            }
            let parent = node.path.parent();
            while self.dirs.last().is_some_and(|dir| Some(dir) != parent.as_ref()) {
                self.dirs.pop();
            }
            if self.dirs.is_empty() {
                return Err("it is in no directory that was told of");
            }
        } else if !node.path.is_root() {
            return Err("the top of the tree comes first");
        }
        let is_told = |first: &RemotePath| walk_order(first, &node.path) == Ordering::Less;
        if node.same.as_ref().is_some_and(|first| node.kind != Kind::File || !is_told(first)) {
            return Err("it is said to be a file that was not told of");
        }
        if node.kind == Kind::Dir {
            self.dirs.push(node.path.clone());
        }
        self.last = Some(node.path.clone());
        Ok(())
    }

    /// The last node that was admitted.
    pub fn last(&self) -> Option<&RemotePath> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, kind: Kind) -> Node {
        Node::new(path.parse().unwrap(), kind)
    }

    /// Directories are written with a slash.
    #[track_caller]
    fn check(paths: &[&str], fault: Option<&str>) {
        let mut order = WalkOrder::default();
        let admitted = paths.iter().try_for_each(|path| match path.strip_suffix('/') {
            Some(dir) => order.admit(&node(dir, Kind::Dir)),
            None => order.admit(&node(path, Kind::File)),
        });
        assert_eq!(admitted.err(), fault, "{paths:?}");
    }

    #[test]
    fn a_walk_goes_into_a_directory_before_it_goes_on() {
        check(&["./", "a/", "a/b", "a-b", "c/", "c/d/", "c/d/e", "c/f"], None);
        check(&["."], None);
    }

    #[test]
    fn only_a_file_is_the_same_as_one_that_came_before() {
        let admit = |kind: Kind, same: &str| {
            let mut order = WalkOrder::default();
            let nodes = [(".", Kind::Dir), ("b", Kind::File)].map(|(path, kind)| node(path, kind));
            nodes.iter().try_for_each(|node| order.admit(node)).unwrap();
            order.admit(&Node { same: Some(same.parse().unwrap()), ..node("c", kind) }).is_ok()
        };
        assert!(admit(Kind::File, "b") && admit(Kind::File, "a/x"));
        assert!(!admit(Kind::File, "c") && !admit(Kind::File, "c/d") && !admit(Kind::File, "d"));
        assert!([Kind::Dir, Kind::Link, Kind::Other].iter().all(|kind| !admit(*kind, "b")));
    }

    #[test]
    fn what_is_out_of_order_or_in_no_directory_is_not_admitted() {
        check(&["a/"], Some("the top of the tree comes first"));
        check(&["./", "b", "a"], Some("it is out of order"));
        check(&["./", "a", "a"], Some("it is out of order"));
        check(&["./", "a-b", "a/", "a/b"], Some("it is out of order"));
        check(&["./", "a", "a/b"], Some("it is in no directory that was told of"));
        check(&["./", "a/b"], Some("it is in no directory that was told of"));
        check(&["./", "a/", "b/", "b/c/d"], Some("it is in no directory that was told of"));
        check(&[".", "a"], Some("it is in no directory that was told of"));
    }
}
