//! What a user may do, where: rights for the whole root, and others below some directories.

use ftpish_protocol::RemotePath;
use serde::Deserialize;

/// One thing that may be done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Tell that it is there, and what it is.
    List,
    /// Tell what is in it.
    Read,
    /// Make or replace it.
    Write,
    /// Take it away.
    Delete,
}

/// The rights of one client. Of several directories that a path is in, the innermost decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Rights {
    everywhere: Vec<Right>,
    below: Vec<(RemotePath, Vec<Right>)>,
}

impl Rights {
    /// Every right that there is.
    pub const ALL: [Right; 4] = [Right::List, Right::Read, Right::Write, Right::Delete];

    /// The rights that change nothing.
    pub const READ: [Right; 2] = [Right::List, Right::Read];

    /// These rights everywhere, but others below some directories.
    pub fn new(everywhere: &[Right], below: Vec<(RemotePath, Vec<Right>)>) -> Self {
        Self { everywhere: everywhere.to_vec(), below }
    }

    /// Whether they are the same everywhere.
    pub fn are_uniform(&self) -> bool {
        self.below.is_empty()
    }

    /// Whether `right` holds for `path`.
    pub fn allow(&self, right: Right, path: &RemotePath) -> bool {
        let innermost = self
            .below
            .iter()
            .filter(|(top, _)| path.is_within(top))
            .max_by_key(|(top, _)| top.components().count());
        innermost.map_or(&self.everywhere, |(_, rights)| rights).contains(&right)
    }

    /// Whether `right` holds for `path` and for whatever is below it, as removing or renaming a directory needs.
    pub fn allow_below(&self, right: Right, path: &RemotePath) -> bool {
        let inner = self.below.iter().filter(|(top, _)| top.is_within(path));
        self.allow(right, path) && inner.into_iter().all(|(_, rights)| rights.contains(&right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        text.parse().unwrap()
    }

    fn rights() -> Rights {
        let below = [(path("foo"), Rights::ALL.to_vec()), (path("foo/kept"), vec![Right::List])];
        Rights::new(&Rights::READ, below.into())
    }

    #[test]
    fn the_innermost_directory_decides_and_a_prefix_ends_with_a_component() {
        for (at, writes) in
            [("foo", true), ("foo/a/b", true), ("foobar", false), (".", false), ("foo/kept/a", false)]
        {
            assert_eq!(rights().allow(Right::Write, &path(at)), writes, "{at}");
        }
        assert!(rights().allow(Right::Read, &path("foobar")));
        assert!(!rights().allow(Right::Read, &path("foo/kept")));
    }

    #[test]
    fn a_directory_goes_only_with_all_that_is_in_it() {
        assert!(rights().allow(Right::Delete, &path("foo")));
        assert!(!rights().allow_below(Right::Delete, &path("foo")));
        assert!(rights().allow_below(Right::Delete, &path("foo/a")));
    }
}
