//! What a name on a walk stands for: a file, a directory that the walk enters, or a link that it follows if it is to.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::{Dir, Metadata, MetadataExt as _};
use ftpish_protocol::message::{Entry, Kind, Node};
use ftpish_protocol::{Code, Refusal, RemotePath};
use rustix::fs::OFlags;

use super::mount::mount_of;
use super::{DIR, Links, Walk, open_anywhere};
use crate::descriptors::patiently;
use crate::dir::os_path;
use crate::refuse;
use crate::root::look::entry;

/// How to open something only to describe it: it may be a fifo, or not readable for this user.
#[cfg(target_os = "linux")]
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

impl Walk {
    /// Describes what `name` in the deepest directory stands for. If that is a directory, the walk enters it. `None`
    /// where the name is gone.
    pub(super) fn look(&mut self, name: &[u8]) -> Option<Node> {
        let level = self.levels.last_mut()?;
        let path = level.path.resolve(name).ok()?;
        let looked = self.look_patiently(&path, name);
        match looked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Node { error: Some(refuse(error)), ..Node::new(path, Kind::Other) }),
            Ok(node) => Some(node),
        }
    }

    /// If the process is out of file descriptors, closes those that the walk holds, and tries again. The walk opens the
    /// directories anew when it comes back to them.
    fn look_patiently(&mut self, path: &RemotePath, name: &[u8]) -> io::Result<Node> {
        let (depth, mut last) = (self.levels.len(), None);
        let looked = patiently(|| {
            let looked = self.try_look(path.clone(), name);
            let refusal = match &looked {
                Err(error) => Some(Refusal::from_io(error)),
                Ok(node) => node.error.clone(),
            };
            last = Some(looked);
            match refusal {
                Some(refusal) if refusal.is_out_of_descriptors() && self.levels.len() == depth => {
                    self.levels.iter_mut().for_each(|level| level.dir = None);
                    Err(refusal)
                }
                _ => Ok(()),
            }
        });
        last.unwrap_or_else(|| Err(looked.err().map_or(io::ErrorKind::NotFound.into(), Refusal::into_io)))
    }

    fn try_look(&mut self, path: RemotePath, name: &[u8]) -> io::Result<Node> {
        let (links, mount, file_name) = (self.links, self.mount, OsStr::from_bytes(name));
        let whole = self.top.resolve(path.as_bytes()).map_err(io::Error::other)?;
        let dir = self.deepest()?;
        let metadata = dir.symlink_metadata(file_name)?;
        if metadata.is_symlink() {
            let target = dir.read_link_contents(file_name)?;
            let mut link = node(path.clone(), &metadata, Some(target.into_os_string().into_encoded_bytes()));
            if links == Links::Tell {
                return Ok(link);
            }
            match self.follow(path, file_name, &whole) {
                Ok(node) => return Ok(node),
                Err(error) => link.error = Some(refuse(error)),
            }
            return Ok(link);
        }
        let is_mount = match mount {
            Some(mount) => mount_of(dir, file_name)? != mount,
            None => false,
        };
        if is_mount {
            return Ok(Node { mount: true, ..node(path, &metadata, None) });
        }
        let same = self.known.as_mut().and_then(|known| known.meet(&path, &metadata));
        let mut node = Node { same, ..node(path.clone(), &metadata, None) };
        if metadata.is_dir() {
            if links != Links::Tell && self.is_in(&metadata) {
                node.error = Some(in_itself());
                return Ok(node);
            }
            let flags = DIR | OFlags::NOFOLLOW;
            let entered = rustix::fs::openat(self.deepest()?, file_name, flags, rustix::fs::Mode::empty())
                .map_err(io::Error::from)
                .and_then(|opened| self.enter(path, Dir::from_std_file(File::from(opened))));
            node.error = entered.unwrap_or_else(|error| Some(refuse(error)));
        }
        Ok(node)
    }

    /// Describes what a link points at.
    fn follow(&mut self, path: RemotePath, name: &OsStr, whole: &RemotePath) -> io::Result<Node> {
        if !self.root.follows_links() {
            let why = "it may lead to where this user's rights are others";
            return Err(Refusal::new(Code::Forbidden, why).into_io());
        }
        let found = match self.links {
            Links::FollowAnywhere => {
                Some(rustix::fs::openat(self.deepest()?, name, LOOK, rustix::fs::Mode::empty())?)
            }
            Links::Tell | Links::Follow => None,
        };
        let metadata = match &found {
            Some(found) => Dir::from_std_file(File::from(found.try_clone()?)).dir_metadata()?,
            None => self.root.dir().metadata(os_path(whole))?,
        };
        let mut node = node(path.clone(), &metadata, None);
        if metadata.is_dir() {
            if self.is_in(&metadata) {
                return Err(in_itself().into_io());
            }
            let dir = match found {
                Some(found) => open_anywhere(&found, OsStr::new("."))?,
                None => self.root.dir().open_dir(os_path(whole))?,
            };
            node.error = self.enter(path, dir).unwrap_or_else(|error| Some(refuse(error)));
        }
        Ok(node)
    }

    /// Whether the walk is in this very directory already. To enter it again would be a loop without end.
    fn is_in(&self, dir: &Metadata) -> bool {
        self.levels.iter().any(|level| level.id == (dir.dev(), dir.ino()))
    }
}

fn in_itself() -> Refusal {
    Refusal::new(Code::Io, "by way of a link, it is a directory that it is in")
}

/// Describes what was found; `target` is what a link holds.
pub(super) fn node(path: RemotePath, metadata: &Metadata, target: Option<Vec<u8>>) -> Node {
    let Entry { kind, size, mtime, mode, target, .. } = entry(None, metadata, target);
    Node { size, mtime, mode, target, ..Node::new(path, kind) }
}
