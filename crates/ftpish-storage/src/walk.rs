//! Walks through a tree, in walk order. Little is held in memory: the sorted names of one directory a level. What a name
//! stands for is looked up when its turn comes, so a walk describes the tree as it is then.
//!
//! Deliberately elsewhere: one directory's listing (`root/look.rs`), and the order itself (`ftpish-protocol`).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use cap_std::fs::{Dir, Metadata, MetadataExt as _};
use ftpish_protocol::message::Node;
use ftpish_protocol::{Code, MAX_PATH, Refusal, RemotePath};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::dir::os_path;
use crate::known::Known;
use crate::without_links::refuse_link;
use crate::{Outcome, Root, refuse};

mod look;
mod mount;
mod names;

use look::node;
use names::Names;

/// How many directories are open at a time: the deepest ones. Those above are opened anew when the walk comes back.
const OPEN: usize = 8;

/// How a walk treats symbolic links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// Describe the link itself, and do not follow it.
    #[default]
    Tell,
    /// Describe what the link points at, as long as that is inside the root.
    Follow,
    /// Describe what the link points at, anywhere on this machine. For trees of the user who runs this process, and never
    /// for a peer.
    FollowAnywhere,
}

/// How to open a directory. A link to one is followed.
const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A walk through a directory and all that is below it: an iterator in [walk order](ftpish_protocol::walk_order).
/// Partial files are left out, and so is what disappears meanwhile. What cannot be described is reported as an error of
/// its node, and the walk continues.
#[derive(Debug)]
pub struct Walk {
    root: Root,
    top: RemotePath,
    links: Links,
    /// The files that were met, if hard links to them are reported.
    known: Option<Known>,
    /// The mount that the walk stays on, if it stays on one.
    mount: Option<u64>,
    /// The top itself, until the iterator has returned it.
    first: Option<Node>,
    levels: Vec<Level>,
}

/// A directory that the walk is in.
#[derive(Debug)]
struct Level {
    /// Relative to the top.
    path: RemotePath,
    /// Device and inode, to notice a link that leads back here.
    id: (u64, u64),
    /// `None` while it is closed.
    dir: Option<Dir>,
    names: Names,
}

impl Root {
    /// A walk through what `top` names: a tree, or a single file. A link at `top` itself is followed. With `after`, the
    /// walk begins behind that path. It is relative to `top`, and need not exist.
    pub fn walk(&self, top: &RemotePath, links: Links, after: Option<&RemotePath>) -> Outcome<Walk> {
        let metadata = self.metadata(top)?;
        let first = node(RemotePath::root(), &metadata, None);
        let mut walk = Walk {
            root: self.clone(),
            top: top.clone(),
            links,
            known: None,
            mount: None,
            first: Some(first),
            levels: Vec::new(),
        };
        if metadata.is_dir() {
            let dir = self.open_dir_to_read(top)?;
            let fault = walk.enter(RemotePath::root(), dir).map_err(refuse)?;
            if let Some(first) = &mut walk.first {
                first.error = fault;
            }
        }
        if let Some(after) = after {
            walk.skip_to(after);
        }
        Ok(walk)
    }

    /// The metadata of what `path` leads to.
    fn metadata(&self, path: &RemotePath) -> Outcome<Metadata> {
        if self.follows_links() {
            return self.dir().metadata(os_path(path)).map_err(refuse);
        }
        let (dir, at) = self.locate(path)?;
        let found = dir.symlink_metadata(at).map_err(refuse)?;
        if found.is_symlink() { Err(refuse_link(Errno::LOOP)) } else { Ok(found) }
    }
}

impl Walk {
    /// Reports hard links: a file that was met before under another name has that name in its node. There are three
    /// exceptions, which are reported as separate files: files that symbolic links point at; files beyond some tens of
    /// thousands that have further names to come; and files before the path that the walk begins behind.
    #[must_use]
    pub fn telling_same(self) -> Self {
        Self { known: Some(Known::default()), ..self }
    }

    /// Continues behind `after`.
    fn skip_to(&mut self, after: &RemotePath) {
        self.first = None;
        for component in after.components() {
            let Some(level) = self.levels.last_mut() else { return };
            if !level.names.skip_to(component) {
                return;
            }
            let depth = self.levels.len();
            // The node itself comes before `after`. Only what is in it is returned.
            let _before = self.look(component);
            if self.levels.len() == depth {
                return;
            }
        }
    }

    /// Enters a directory: its names come next. Returns a refusal if names had to be left out.
    fn enter(&mut self, path: RemotePath, dir: Dir) -> io::Result<Option<Refusal>> {
        let metadata = dir.dir_metadata()?;
        let room = MAX_PATH.saturating_sub(self.top.as_bytes().len() + path.as_bytes().len() + 2);
        let names = Names::of(&dir, room)?;
        let fault = names.left_out.then(|| {
            Refusal::new(Code::BadPath, format!("names in it make paths of more than {MAX_PATH} bytes"))
        });
        if let Some(above) = self.levels.len().checked_sub(OPEN) {
            self.levels[above].dir = None;
        }
        self.levels.push(Level { path, id: (metadata.dev(), metadata.ino()), dir: Some(dir), names });
        Ok(fault)
    }

    /// The directory that the walk is in. Opens it anew if it was closed.
    fn deepest(&mut self) -> io::Result<&Dir> {
        let Self { root, top, levels, links, .. } = self;
        let level = levels.last_mut().ok_or(io::ErrorKind::NotFound)?;
        match &mut level.dir {
            Some(dir) => Ok(dir),
            closed => {
                let whole = top.resolve(level.path.as_bytes()).map_err(io::Error::other)?;
                let dir = match links {
                    Links::FollowAnywhere => open_anywhere(root.dir(), os_path(&whole).as_os_str())?,
                    Links::Tell | Links::Follow => root.open_dir_to_read(&whole).map_err(Refusal::into_io)?,
                };
                Ok(closed.insert(dir))
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let Some(name) = self.levels.last_mut()?.names.next() else {
                self.levels.pop();
                continue;
            };
            if let Some(node) = self.look(&name) {
                return Some(node);
            }
        }
    }
}

/// Opens a directory, through links to anywhere.
fn open_anywhere(dir: impl AsFd, path: &OsStr) -> io::Result<Dir> {
    let opened = rustix::fs::openat(dir, path, DIR, rustix::fs::Mode::empty())?;
    Ok(Dir::from_std_file(File::from(opened)))
}

#[cfg(test)]
mod tests;
