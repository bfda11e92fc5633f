//! A walk as it comes: what was not yet looked at, and how far it is.

use std::collections::VecDeque;

use ftpish_protocol::message::{Kind, MAX_LISTED_DIGEST, Node};
use ftpish_protocol::{RemotePath, WalkOrder};

use crate::tree::Listed;

/// The part of a walk that has come and was not yet looked at.
#[derive(Debug, Default)]
pub(super) struct Feed {
    pub(super) nodes: VecDeque<Node>,
    pub(super) order: WalkOrder,
    pub(super) ended: bool,
    /// Where somebody asks for it.
    pub(super) passed: Option<Passed>,
}

/// The part of a walk that was looked at.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// The last node of it.
    pub(super) last: Option<RemotePath>,
    pub(super) nodes: u64,
    /// Of the files whose digests a listing tells.
    pub(super) bytes: u64,
    /// The place of the last one.
    pub(super) place: Option<Listed>,
}

impl Passed {
    fn note(&mut self, node: &Node) {
        let Self { nodes, bytes, .. } = *self;
        let after = self.last.replace(node.path.clone());
        self.place = after.map(|after| Listed { after, nodes, bytes });
        self.nodes += 1;
        if node.kind == Kind::File && node.size <= MAX_LISTED_DIGEST {
            self.bytes += node.size;
        }
    }
}

impl Feed {
    /// The next node, which is looked at now.
    pub(super) fn take(&mut self) -> Option<Node> {
        let node = self.nodes.pop_front()?;
        if let Some(passed) = &mut self.passed {
            passed.note(&node);
        }
        Some(node)
    }
}
