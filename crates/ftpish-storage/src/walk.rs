//! Trees told in walk order, for both ends: what is there while it is walked, with little held. A directory's names are
//! held to be sorted, those of one directory a level and as bytes; what they stand for is looked at when its turn
//! comes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::{Dir, Metadata, MetadataExt as _};
use ftpish_protocol::message::{Entry, Kind, Node};
use ftpish_protocol::{Code, MAX_PATH, Refusal, RemotePath};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::descriptors::patiently;
use crate::dir::os_path;
use crate::known::Known;
use crate::partial::is_partial;
use crate::root::look::entry;
use crate::without_links::refuse_link;
use crate::{Outcome, Root, refuse};

/// How many directories are open at a time. Those above the deepest ones are opened anew when the walk comes back.
const OPEN: usize = 8;

/// What a walk makes of symbolic links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// They are told of, and not followed.
    #[default]
    Tell,
    /// What they stand for is told in their place, as long as that is inside the root.
    Follow,
    /// What they stand for is told in their place, wherever on this machine that is. For trees of whoever runs this, and
    /// no peer.
    FollowAnywhere,
}

/// How something is opened to be looked at, and not read: it may be a fifo, or not be ours to read.
#[cfg(target_os = "linux")]
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const LOOK: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// How a directory is opened, be it through a link.
const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A walk through a directory and all that is below it: an iterator in [walk order](ftpish_protocol::walk_order).
/// Partial files are left out, and so is what disappears meanwhile; what cannot be looked at is told as an error of its
/// node, and the walk goes on.
#[derive(Debug)]
pub struct Walk {
    root: Root,
    top: RemotePath,
    links: Links,
    /// The files that were met, where those are told that come again.
    known: Option<Known>,
    /// The mount that the top is on, where no other is walked into.
    mount: Option<u64>,
    /// The top itself, until it was told.
    first: Option<Node>,
    levels: Vec<Level>,
}

/// A directory that the walk is in.
#[derive(Debug)]
struct Level {
    /// Below the top.
    path: RemotePath,
    /// Device and inode: what a link may lead back to.
    id: (u64, u64),
    dir: Option<Dir>,
    names: Names,
}

impl Root {
    /// A walk through what `top` names: a tree, or a single file. A link at `top` itself is followed. With `after`, the
    /// walk begins behind that path, which is relative to `top` and need not exist.
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
}

impl Root {
    /// What `path` leads to.
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
    /// Tells of a file that was met before, under another name, which that is. Files that links stand for are told as files
    /// of their own, and so are those beyond some tens of thousands whose other names are still to come, and those that
    /// were met before the walk was begun behind a path.
    #[must_use]
    pub fn telling_same(self) -> Self {
        Self { known: Some(Known::default()), ..self }
    }

    /// Tells only that there is something, where something else is mounted: [`Node::mount`]. Behind links that are followed
    /// there may be anything.
    #[must_use]
    pub fn on_one_mount(self) -> Self {
        let top = self.root.open_dir_to_read(&self.top).ok();
        let mount = top.and_then(|top| mount_of(&top, OsStr::new(".")).ok());
        // Where that cannot be known, there is nothing on it: no mount has this number.
        Self { mount: Some(mount.unwrap_or(0)), ..self }
    }

    /// Goes on behind `after`.
    fn skip_to(&mut self, after: &RemotePath) {
        self.first = None;
        for component in after.components() {
            let Some(level) = self.levels.last_mut() else { return };
            if !level.names.skip_to(component) {
                return;
            }
            let depth = self.levels.len();
            // Told before; what is in it comes next.
            let _told = self.look(component);
            if self.levels.len() == depth {
                return;
            }
        }
    }

    /// Reads the names of a directory, which is the next one to be told of. Why some are missing, if they are.
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

    /// What a name in the deepest directory stands for; the walk is then in it, if that is a directory. `None` where it
    /// is gone.
    fn look(&mut self, name: &[u8]) -> Option<Node> {
        let level = self.levels.last_mut()?;
        let path = level.path.resolve(name).ok()?;
        let looked = self.look_patiently(&path, name);
        match looked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Node { error: Some(refuse(error)), ..Node::new(path, Kind::Other) }),
            Ok(node) => Some(node),
        }
    }

    /// Where there are no descriptors left, those are closed which the walk holds: it opens them anew when it comes back.
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

    /// What a link stands for.
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

    /// Whether the walk is in this very directory: it would never end.
    fn is_in(&self, dir: &Metadata) -> bool {
        self.levels.iter().any(|level| level.id == (dir.dev(), dir.ino()))
    }

    /// The directory that the walk is in.
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

fn open_anywhere(dir: impl AsFd, path: &OsStr) -> io::Result<Dir> {
    let opened = rustix::fs::openat(dir, path, DIR, rustix::fs::Mode::empty())?;
    Ok(Dir::from_std_file(File::from(opened)))
}

/// What tells the mount that a name is on from others: bind mounts are some of their own (statx(2), since Linux 5.8). Before that, and
/// elsewhere, the device.
fn mount_of(dir: &Dir, name: &OsStr) -> io::Result<u64> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, StatxFlags, statx};

        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match statx(dir, name, flags, StatxFlags::MNT_ID) {
            Ok(found) if found.stx_mask & StatxFlags::MNT_ID.bits() != 0 => return Ok(found.stx_mnt_id),
            Ok(_) | Err(Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dir.symlink_metadata(name)?.dev())
}

fn in_itself() -> Refusal {
    Refusal::new(Code::Io, "by way of a link, it is a directory that it is in")
}

fn node(path: RemotePath, metadata: &Metadata, target: Option<Vec<u8>>) -> Node {
    let Entry { kind, size, mtime, mode, target, .. } = entry(None, metadata, target);
    Node { size, mtime, mode, target, ..Node::new(path, kind) }
}

/// The names in a directory, sorted: a few bytes more than their own each.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    /// Where each begins, and its length: at most 255 on any file system.
    places: Vec<(u32, u16)>,
    next: usize,
    /// Whether some were too long.
    left_out: bool,
}

impl Names {
    /// Reads a directory's; those of more than `room` bytes are left out.
    fn of(dir: &Dir, room: usize) -> io::Result<Self> {
        let mut names = Self::default();
        for found in dir.entries()? {
            let name = found?.file_name();
            let name = name.as_bytes();
            if is_partial(name) {
                continue;
            }
            match (u32::try_from(names.bytes.len()), u16::try_from(name.len())) {
                (Ok(start), Ok(length)) if name.len() <= room => {
                    names.bytes.extend_from_slice(name);
                    names.places.push((start, length));
                }
                _ => names.left_out = true,
            }
        }
        let Self { bytes, places, .. } = &mut names;
        places.sort_unstable_by(|a, b| name_at(bytes, *a).cmp(name_at(bytes, *b)));
        names.bytes.shrink_to_fit();
        names.places.shrink_to_fit();
        Ok(names)
    }

    /// Goes on behind `name`; whether it is there.
    fn skip_to(&mut self, name: &[u8]) -> bool {
        let found = self.places.binary_search_by(|place| name_at(&self.bytes, *place).cmp(name));
        self.next = found.map_or_else(|at| at, |at| at + 1);
        found.is_ok()
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let place = *self.places.get(self.next)?;
        self.next += 1;
        Some(name_at(&self.bytes, place).to_vec())
    }
}

fn name_at(bytes: &[u8], (start, length): (u32, u16)) -> &[u8] {
    &bytes[start as usize..start as usize + usize::from(length)]
}

#[cfg(test)]
mod tests;
