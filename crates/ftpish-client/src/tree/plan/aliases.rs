//! Files with several names, told under one first name in the source and under another in the target.

use std::collections::HashMap;

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::Node;

/// How many bytes of paths are held of files whose first name in the target is not their first name in the source.
/// Beyond that, names are given again that the files have already.
const MOST_ALIASES: usize = 4 * 1024 * 1024;

/// First names in the target by first names in the source.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    pub(super) all: HashMap<RemotePath, RemotePath>,
    pub(super) bytes: usize,
}

impl Aliases {
    pub(super) fn note(&mut self, first: &RemotePath, there: Option<&RemotePath>) {
        let Some(there) = there else { return };
        let cost = first.as_bytes().len() + there.as_bytes().len() + 96;
        if self.bytes + cost <= MOST_ALIASES {
            self.bytes += cost;
            self.all.insert(first.clone(), there.clone());
        }
    }

    /// Whether a file of the target is the one that has this first name in the source.
    pub(super) fn are_same(&self, first: &RemotePath, there: &Node) -> bool {
        there.same.as_ref().unwrap_or(&there.path) == self.all.get(first).unwrap_or(first)
    }
}
