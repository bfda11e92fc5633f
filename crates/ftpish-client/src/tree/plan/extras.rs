//! What the target has and the source does not.

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::{Kind, Mode, Node, Time};

use crate::tree::Step;

/// A name of the target that the source does not have.
#[derive(Debug)]
pub(super) struct Extra {
    pub(super) path: RemotePath,
    pub(super) is_dir: bool,
    /// Whether something in it stays, and so it does itself.
    pub(super) kept: bool,
    /// What takes its place.
    pub(super) then: Option<Step>,
}

/// What is to be removed, in walk order: of a directory that goes with all that is in it, the directory alone.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) all: Vec<Extra>,
    /// Where in `all` the directories are that lead to where the walk is.
    pub(super) dirs: Vec<usize>,
    /// How many names there are, those in a directory that goes among them.
    pub(super) count: u64,
    /// Whether each name goes for itself, because it is kept elsewhere.
    pub(super) one_by_one: bool,
    /// The directories whose owner cannot change what is in them, those among them that go with another.
    pub(super) locked: Vec<(RemotePath, Mode, Time)>,
}

impl Extras {
    /// Adds a name, unless there are more than `most` by then: none is removed then, and none kept in mind.
    pub(super) fn add(&mut self, target: &Node, then: Option<Step>, most: u64) {
        let (path, is_dir) = (target.path.clone(), target.kind == Kind::Dir);
        self.close(Some(&path));
        self.count += 1;
        if self.count > most {
            self.all.clear();
            self.dirs.clear();
            self.locked.clear();
            return;
        }
        if is_dir {
            self.dirs.push(self.all.len());
        }
        if is_dir && is_locked(target.mode) {
            self.locked.push((path.clone(), target.mode, target.mtime));
        }
        self.all.push(Extra { path, is_dir, kept: false, then });
    }

    /// Says that what has this path stays, if it is in a directory that was to go.
    pub(super) fn keep(&mut self, path: &RemotePath) {
        self.close(Some(path));
        for at in &self.dirs {
            self.all[*at].kept = true;
        }
    }

    /// Leaves the directories that `path` is not in: what is in them need not be told one by one, if all of it goes.
    pub(super) fn close(&mut self, path: Option<&RemotePath>) {
        while let Some(&at) = self.dirs.last() {
            let dir = &self.all[at];
            if path.is_some_and(|path| path.is_within(&dir.path)) {
                return;
            }
            self.dirs.pop();
            if !dir.kept && !self.one_by_one {
                self.all.truncate(at + 1);
            }
        }
    }
}

/// Whether the owner of a directory with these bits cannot change what is in it.
pub(super) fn is_locked(mode: Mode) -> bool {
    mode.bits() & 0o300 != 0o300
}
