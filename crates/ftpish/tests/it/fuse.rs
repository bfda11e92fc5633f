//! A file system of the tests' own, in memory and behind FUSE, that does with sizes, times and permission bits what network
//! mounts do.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use crate::harness::skip;

/// How it differs from others.
#[derive(Clone, Copy, Default)]
pub struct Quirks {
    /// It refuses chmod(2).
    pub refuses_modes: bool,
    /// It refuses to set times.
    pub refuses_times: bool,
    /// It ignores a call that sets one time only, as libfuse 2 does.
    pub wants_both_times: bool,
    /// It gives a file that was written to another time when it is closed.
    pub stamps_at_close: bool,
    /// It keeps times as multiples of so many seconds.
    pub time_step: Option<u64>,
    /// It keeps no times after this one, in seconds since 1970.
    pub last_time: Option<u64>,
    /// What it tells of sizes, in bytes.
    pub told_size: Option<fn(u64) -> u64>,
}

/// Mounts one on `dir`, for all processes and as long as what is returned lives; `None`, said aloud, where this system does
/// not allow it.
pub fn mount(dir: &Path, quirks: Quirks) -> Option<BackgroundSession> {
    let top = Node::new(Content::Dir(BTreeMap::new()), 0o755);
    let tree = Tree { nodes: HashMap::from([(1, top)]), last: 1 };
    let mounted = fuser::spawn_mount(Odd { quirks, tree: Mutex::new(tree) }, dir, &Config::default());
    mounted.map_err(|error| skip(format!("FUSE: {error}"))).ok()
}

enum Content {
    File(Vec<u8>),
    Dir(BTreeMap<OsString, u64>),
    Link(PathBuf),
}

struct Node {
    content: Content,
    mode: u16,
    links: u32,
    was_written: bool,
    atime: SystemTime,
    mtime: SystemTime,
}

impl Node {
    fn new(content: Content, mode: u32) -> Self {
        let now = SystemTime::now();
        Self { content, mode: (mode & 0o7777) as u16, links: 1, was_written: false, atime: now, mtime: now }
    }

    fn kind(&self) -> FileType {
        match self.content {
            Content::File(_) => FileType::RegularFile,
            Content::Dir(_) => FileType::Directory,
            Content::Link(_) => FileType::Symlink,
        }
    }
}

struct Tree {
    nodes: HashMap<u64, Node>,
    last: u64,
}

type Done<T> = Result<T, Errno>;

impl Tree {
    fn node(&mut self, ino: INodeNo) -> Done<&mut Node> {
        self.nodes.get_mut(&ino.0).ok_or(Errno::ENOENT)
    }

    fn names(&mut self, ino: INodeNo) -> Done<&mut BTreeMap<OsString, u64>> {
        match &mut self.node(ino)?.content {
            Content::Dir(names) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn bytes(&mut self, ino: INodeNo) -> Done<&mut Vec<u8>> {
        match &mut self.node(ino)?.content {
            Content::File(bytes) => Ok(bytes),
            _ => Err(Errno::EISDIR),
        }
    }

    fn find(&mut self, parent: INodeNo, name: &OsStr) -> Done<INodeNo> {
        self.names(parent)?.get(name).map(|ino| INodeNo(*ino)).ok_or(Errno::ENOENT)
    }

    fn add(&mut self, parent: INodeNo, name: &OsStr, node: Node) -> Done<INodeNo> {
        let ino = self.last + 1;
        if self.names(parent)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.names(parent)?.insert(name.to_owned(), ino);
        self.nodes.insert(ino, node);
        self.last = ino;
        Ok(INodeNo(ino))
    }

    /// The node stays, for those that have it open.
    fn remove(&mut self, parent: INodeNo, name: &OsStr) -> Done<()> {
        let ino = self.find(parent, name)?;
        if matches!(&self.node(ino)?.content, Content::Dir(names) if !names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        self.node(ino)?.links -= 1;
        self.names(parent)?.remove(name);
        Ok(())
    }
}

struct Odd {
    quirks: Quirks,
    tree: Mutex<Tree>,
}

/// Nothing is cached.
const AT_ONCE: Duration = Duration::ZERO;
const FIRST: Generation = Generation(0);

impl Odd {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap()
    }

    fn attr(&self, ino: INodeNo) -> Done<FileAttr> {
        let mut tree = self.tree();
        let node = tree.node(ino)?;
        let has = match &node.content {
            Content::File(bytes) => bytes.len() as u64,
            Content::Link(to) => to.as_os_str().len() as u64,
            Content::Dir(_) => 0,
        };
        let tells = self.quirks.told_size.filter(|_| node.kind() == FileType::RegularFile);
        Ok(FileAttr {
            ino,
            size: tells.map_or(has, |told| told(has)),
            blocks: if tells.is_some() { 0 } else { has.div_ceil(512) },
            atime: node.atime,
            mtime: node.mtime,
            ctime: node.mtime,
            crtime: node.mtime,
            kind: node.kind(),
            perm: node.mode,
            nlink: node.links,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            rdev: 0,
            flags: 0,
            blksize: 4096,
        })
    }

    fn kept(&self, time: SystemTime) -> SystemTime {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = match self.quirks.time_step {
            Some(step) => Duration::from_secs(since.as_secs() / step * step),
            None => since,
        };
        let last = self.quirks.last_time.map_or(Duration::MAX, Duration::from_secs);
        UNIX_EPOCH + since.min(last)
    }

    fn entry(&self, made: Done<INodeNo>, reply: ReplyEntry) {
        match made.and_then(|ino| self.attr(ino)) {
            Ok(attr) => reply.entry(&AT_ONCE, &attr, FIRST),
            Err(error) => reply.error(error),
        }
    }

    fn open_flags(&self) -> FopenFlags {
        // Else the kernel reads no more than it was told.
        let is_direct = self.quirks.told_size.is_some();
        if is_direct { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() }
    }

    fn set(
        &self,
        ino: INodeNo,
        mode: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
    ) -> Done<()> {
        let Quirks { refuses_modes, refuses_times, wants_both_times, .. } = self.quirks;
        if mode.is_some() && refuses_modes || (atime.is_some() || mtime.is_some()) && refuses_times {
            return Err(Errno::EPERM);
        }
        let mut tree = self.tree();
        if let Some(size) = size {
            tree.bytes(ino)?.resize(size as usize, 0);
        }
        let node = tree.node(ino)?;
        if let Some(mode) = mode {
            node.mode = (mode & 0o7777) as u16;
        }
        if wants_both_times && atime.is_some() != mtime.is_some() {
            return Ok(());
        }
        for (time, place) in [(atime, &mut node.atime), (mtime, &mut node.mtime)] {
            match time {
                Some(TimeOrNow::SpecificTime(time)) => *place = self.kept(time),
                Some(TimeOrNow::Now) => *place = self.kept(SystemTime::now()),
                None => {}
            }
        }
        Ok(())
    }
}

fn done(outcome: Done<()>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Odd {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.tree().find(parent, name);
        self.entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Ok(attr) => reply.attr(&AT_ONCE, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.set(ino, mode, size, atime, mtime).and_then(|()| self.attr(ino)) {
            Ok(attr) => reply.attr(&AT_ONCE, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.tree().node(ino).map(|node| &node.content) {
            Ok(Content::Link(to)) => reply.data(to.as_os_str().as_encoded_bytes()),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let node = Node::new(Content::Dir(BTreeMap::new()), mode & !umask);
        let made = self.tree().add(parent, name, node);
        self.entry(made, reply);
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, to: &Path, reply: ReplyEntry) {
        let made = self.tree().add(parent, name, Node::new(Content::Link(to.to_owned()), 0o777));
        self.entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.tree().remove(parent, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.tree().remove(parent, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut tree = self.tree();
        let mut rename = || {
            let ino = tree.find(parent, name)?;
            if tree.find(to, new).is_ok() {
                if flags.contains(RenameFlags::RENAME_NOREPLACE) {
                    return Err(Errno::EEXIST);
                }
                tree.remove(to, new)?;
            }
            tree.names(parent)?.remove(name);
            tree.names(to)?.insert(new.to_owned(), ino.0);
            Ok(())
        };
        done(rename(), reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let link = || {
            let mut tree = self.tree();
            if tree.names(parent)?.contains_key(name) {
                return Err(Errno::EEXIST);
            }
            tree.node(ino)?.links += 1;
            tree.names(parent)?.insert(name.to_owned(), ino.0);
            Ok(ino)
        };
        self.entry(link(), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), self.open_flags());
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.tree().bytes(ino) {
            Ok(bytes) => {
                let rest = bytes.get(offset as usize..).unwrap_or_default();
                reply.data(&rest[..rest.len().min(size as usize)]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut tree = self.tree();
        if let Ok(node) = tree.node(ino) {
            node.was_written = true;
        }
        match tree.bytes(ino) {
            Ok(bytes) => {
                let (start, end) = (offset as usize, offset as usize + data.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(data);
                reply.written(data.len() as u32);
            }
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, ino: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let mut tree = self.tree();
        if let Ok(node) = tree.node(ino)
            && self.quirks.stamps_at_close
            && std::mem::take(&mut node.was_written)
        {
            node.mtime = SystemTime::now();
        }
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut tree = self.tree();
        let names = match tree.names(ino) {
            Ok(names) => names.clone(),
            Err(error) => return reply.error(error),
        };
        for (at, (name, ino)) in names.into_iter().enumerate().skip(offset as usize) {
            let kind = tree.nodes[&ino].kind();
            if reply.add(INodeNo(ino), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.tree().add(parent, name, Node::new(Content::File(Vec::new()), mode & !umask));
        match made.and_then(|ino| self.attr(ino)) {
            Ok(attr) => reply.created(&AT_ONCE, &attr, FIRST, FileHandle(0), self.open_flags()),
            Err(error) => reply.error(error),
        }
    }
}
