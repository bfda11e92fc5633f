//! What is left out: by a pattern, because backups are there, or because it is on another mount.

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::Kind;

use super::{Plan, Side};
use crate::tree::{LeftOut, Step};

impl Plan {
    /// Passes over what is left out. What one side has on another mount is left out on the other side, too.
    pub(super) fn prune(&mut self) {
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

    /// Whether a path is left out, or a directory that it is in.
    pub(super) fn is_left_out(&self, path: &RemotePath) -> bool {
        let (mut at, mut is_dir) = (Some(path.clone()), false);
        while let Some(path) = at {
            if self.rules.leaves_out(&path, is_dir).is_some() {
                return true;
            }
            (at, is_dir) = (path.parent(), true);
        }
        false
    }
}
