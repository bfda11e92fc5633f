//! A directory, and what is done to names in it.
//!
//! Every operation goes through a directory handle that cannot be left: not by `..`, not by a symbolic link, and
//! not by a race that swaps one in (openat2(2) with `RESOLVE_BENEATH` where the kernel has it, a walk by
//! components elsewhere; both are cap-std's). A path is never checked first and used later.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::iter::successors;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt as _, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _,
};
use ftpish_protocol::message::{Entry, Kind, Link, LinkTarget, Mode, Replace, Space, Time, Unset};
use ftpish_protocol::{Code, Name, Refusal, RemotePath};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::attributes::{set_exact_mode, set_mode, set_mtime, unset};
use crate::backup::Backup;
use crate::dir::{Directory, alone, os_name, rename, sync_dir};
use crate::link::{is_same, link, make_symlink};
use crate::partial::{forget, is_partial, partial_of, sweep};
use crate::permissions::umask;
use crate::quota::{Bound, Ledgers, Quota};
use crate::resolve::{dir_without_links, refuse_link};
use crate::source::refuse_to_open;
use crate::spelling::{Spelling, Spellings};
use crate::stage::{Stage, Taken};
use crate::target::Target;
use crate::{Identity, ModePolicy, Outcome, Permissions, SourceFile, mtime, refuse, tree};

/// How long a partial file may lie that nobody writes to, until it is taken away: a week, so that what broke off on a
/// Friday can be taken up on Monday.
const STALE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The bits of a directory beside its permissions: setuid, setgid and sticky.
const BESIDE: u32 = 0o7000;

/// How many directories are kept in mind as looked through.
const MOST_SWEPT: usize = 1000;

/// The directory that a file was put into last, for those who put one behind the other. It is what had the path when it
/// was opened: whoever keeps it for longer than a moment may put a file where it is no more.
#[derive(Debug, Default)]
pub struct Nearby(Option<(RemotePath, Arc<Directory>)>);

/// A directory that cannot be left, and whether what changes in it is made durable.
#[derive(Clone, Debug)]
pub struct Root {
    dir: Arc<Directory>,
    sync: bool,
    /// Whether links are followed on the way to something: see `resolve`.
    follows_links: bool,
    /// The directories that were looked through for stale partial files.
    swept: Arc<Mutex<HashSet<RemotePath>>>,
    /// How much may lie here. Whatever makes something claims it first.
    bound: Option<Arc<Bound>>,
    /// What was written, where other spellings of its names matter.
    spellings: Option<Arc<Spellings>>,
    policy: ModePolicy,
}

impl Root {
    /// Opens the directory at `path`, links in which are followed. With `sync`, every change is on the disk before
    /// it is reported done (fsync(2) of files and of directories).
    pub fn open(path: &Path, sync: bool) -> io::Result<Self> {
        let dir = Arc::new(Directory::from(Dir::open_ambient_dir(path, ambient_authority())?));
        // It is read once, and a server that has confined itself cannot read it any more.
        let _ = umask();
        let (swept, bound, spellings, policy) = Default::default();
        Ok(Self { dir, sync, follows_links: true, swept, bound, spellings, policy })
    }

    /// As [`open`](Self::open), but the directory is made where it is missing, and so are those above it.
    pub fn create(path: &Path, sync: bool) -> io::Result<Self> {
        Dir::create_ambient_dir_all(path, ambient_authority())?;
        Self::open(path, sync)
    }

    /// A directory below, as a root of its own.
    pub fn below(&self, path: &RemotePath) -> Outcome<Self> {
        Ok(Self {
            dir: self.open_dir(path)?,
            sync: self.sync,
            follows_links: true,
            swept: Arc::default(),
            bound: None,
            spellings: None,
            policy: self.policy,
        })
    }

    /// Another directory, where changes are made durable as they are here.
    pub fn apart(&self, path: &Path) -> Outcome<Self> {
        Ok(Self { policy: self.policy, ..Self::open(path, self.sync).map_err(refuse)? })
    }

    /// What is decided about permission bits here.
    pub fn policy(&self) -> ModePolicy {
        self.policy
    }

    /// The same directory, in which permission bits are as `policy` says.
    pub fn with_policy(&self, policy: ModePolicy) -> Self {
        Self { policy, ..self.clone() }
    }

    /// The same directory, in which no more may be made than `quota` permits. All that is made through roots with
    /// ledgers in common is known to each of them: what others do is noticed at the next count.
    pub fn bounded(&self, ledgers: &Ledgers, quota: Quota) -> Outcome<Self> {
        let bound = Bound::new(ledgers.of(&self.dir)?, quota);
        Ok(Self { bound: Some(bound.into()), ..self.clone() })
    }

    /// The same directory, for what somebody else has named: nothing that is written through this handle is replaced, or
    /// removed, under another spelling of its name that the file system takes for the same.
    pub fn minding_spellings(self) -> Self {
        Self { spellings: Some(Arc::default()), ..self }
    }

    /// The same directory, in which no link is followed on the way to anything: see [`real_path`](Self::real_path).
    pub fn without_links(&self) -> Self {
        Self { follows_links: false, ..self.clone() }
    }

    pub(crate) fn follows_links(&self) -> bool {
        self.follows_links
    }

    /// Whether there is a quota, of which what is used may have to be counted.
    pub fn has_quota(&self) -> bool {
        self.bound.as_ref().is_some_and(|bound| !bound.quota().is_none())
    }

    /// Whether making a name with so many bytes is likely to wait until all that is here was counted.
    pub fn must_count(&self, bytes: u64) -> bool {
        self.bound.as_ref().is_some_and(|bound| bound.is_slow(bytes))
    }

    /// Does the counting that [`must_count`](Self::must_count) tells of, so that it need not be waited for later.
    pub fn count(&self, bytes: u64) {
        if let Some(bound) = &self.bound {
            bound.prepare(bytes);
        }
    }

    /// Has a quota counted anew before long: others may have been here unseen.
    pub fn doubt(&self) {
        if let Some(bound) = &self.bound {
            bound.doubt();
        }
    }

    fn note_gone(&self) {
        if let Some(bound) = &self.bound {
            bound.note_gone();
        }
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.sync
    }

    pub(crate) fn bound(&self) -> Option<&Arc<Bound>> {
        self.bound.as_ref()
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Describes what `path` names; a link itself, not what it points at.
    pub fn stat(&self, path: &RemotePath) -> Outcome<Entry> {
        let (dir, at) = self.locate(path)?;
        let metadata = dir.symlink_metadata(&at).map_err(refuse)?;
        let target = link_target(&metadata, || dir.read_link_contents(&at)).map_err(refuse)?;
        Ok(entry(path.name(), &metadata, target))
    }

    /// What tells the file, or the link, that has a name from others.
    pub fn identity(&self, path: &RemotePath) -> Outcome<Identity> {
        let (dir, at) = self.locate(path)?;
        Ok(Identity::of(&dir.symlink_metadata(at).map_err(refuse)?))
    }

    /// The entries of a directory, as they come; partial files are left out, and so is what disappears meanwhile.
    pub fn list(&self, path: &RemotePath) -> Outcome<impl Iterator<Item = io::Result<Entry>> + use<>> {
        let dir = self.open_dir_to_read(path)?;
        let entries = dir.entries().map_err(refuse)?;
        Ok(entries.filter_map(move |found| {
            let listed = found.and_then(|found| {
                let file_name = found.file_name();
                if is_partial(file_name.as_bytes()) {
                    return Ok(None);
                }
                let name = Name::parse(file_name.as_bytes()).map_err(io::Error::other)?;
                let metadata = found.metadata()?;
                let target = link_target(&metadata, || dir.read_link_contents(&file_name))?;
                Ok(Some(entry(Some(name), &metadata, target)))
            });
            match listed {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => None,
                listed => listed.transpose(),
            }
        }))
    }

    /// Opens a regular file to read, through links that stay inside.
    pub fn open_file(&self, path: &RemotePath) -> Outcome<SourceFile> {
        if !self.follows_links {
            let (dir, at) = self.locate(path)?;
            let wanted = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let flags = wanted | OFlags::from_bits_retain(SourceFile::OPEN_FLAGS.cast_unsigned());
            let file = rustix::fs::openat(&*dir, at, flags, rustix::fs::Mode::empty()).map_err(|error| {
                if error == Errno::LOOP { refuse_link(error) } else { refuse_to_open(error.into()) }
            })?;
            return SourceFile::new(file.into());
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(SourceFile::OPEN_FLAGS);
        let file = self.dir.open_with(os_path(path), &options).map_err(refuse_to_open)?;
        SourceFile::new(file.into_std())
    }

    /// Begins to store a file under `path`, which is to get `mtime`: an empty partial file in the same directory.
    /// `replace` says what may be there already.
    pub fn stage(&self, path: &RemotePath, replace: Replace, mtime: Option<Time>) -> Outcome<Stage> {
        let target = self.target(path, replace, mtime)?;
        target.check()?;
        Stage::begin(target, self.sync, self.bound.as_ref())
    }

    /// As [`stage`](Self::stage), for one of several files in a row. With [`Replace::Always`], what cannot be replaced, such
    /// as a directory, may be noticed at the commit only.
    pub fn stage_near(
        &self,
        nearby: &mut Nearby,
        path: &RemotePath,
        replace: Replace,
        mtime: Option<Time>,
    ) -> Outcome<Stage> {
        let place = match (&nearby.0, path.name()) {
            (Some((near, dir)), Some(name)) if path.parent().as_ref() == Some(near) => {
                (Arc::clone(dir), name)
            }
            _ => self.parent_of(path)?,
        };
        nearby.0 = path.parent().map(|path| (path, Arc::clone(&place.0)));
        let target = self.target_in(place, path, replace, mtime);
        if replace != Replace::Always {
            target.check()?;
        }
        Stage::begin(target, self.sync, self.bound.as_ref())
    }

    /// Whether a file that is to get `mtime` could be stored under `path`, as far as it can be told now.
    pub fn check(&self, path: &RemotePath, replace: Replace, mtime: Option<Time>) -> Outcome<()> {
        self.target(path, replace, mtime)?.check()
    }

    /// As [`stage`](Self::stage), but with the partial file that an earlier try for the same path left, if there is
    /// one; while somebody else is at that, it is waited for with `patience`. What is in it is not to be trusted before
    /// it is proven.
    pub fn resume(
        &self,
        path: &RemotePath,
        replace: Replace,
        mtime: Option<Time>,
        patience: Duration,
    ) -> Outcome<Stage> {
        let target = self.target_to_resume(path, replace, mtime)?;
        Stage::resume(target, self.sync, patience, self.bound.as_ref())
    }

    /// As [`resume`](Self::resume), but it does not wait: none where somebody else is at the partial file.
    pub fn try_resume(
        &self,
        path: &RemotePath,
        replace: Replace,
        mtime: Option<Time>,
    ) -> Outcome<Option<Stage>> {
        let target = self.target_to_resume(path, replace, mtime)?;
        match Stage::try_resume(target, self.sync, self.bound.as_ref())? {
            Taken::Ours(stage) => Ok(Some(stage)),
            Taken::Others(_) => Ok(None),
        }
    }

    fn target_to_resume(&self, path: &RemotePath, replace: Replace, mtime: Option<Time>) -> Outcome<Target> {
        let target = self.target(path, replace, mtime)?;
        // Whoever leaves partial files behind takes away those that nobody came back for.
        if self.is_to_sweep(path) {
            if let Err(error) = sweep(&target.parent, STALE) {
                tracing::debug!(%error, "cannot look for stale partial files");
            }
            self.note_gone();
        }
        Ok(target)
    }

    /// How many bytes an earlier try for the same path left; `None` where there was none.
    pub fn partial_length(&self, path: &RemotePath) -> Option<u64> {
        let (parent, name) = self.parent_of(path).ok()?;
        let found = parent.symlink_metadata(partial_of(&name)).ok()?;
        found.is_file().then(|| found.len())
    }

    /// Makes a directory; with `parents`, the missing ones above it too, and none is no error if it exists. It is
    /// durable once it is [told to be](Self::sync_above).
    pub fn make_dir(&self, path: &RemotePath, parents: bool, mode: Option<Mode>) -> Outcome<()> {
        let made = match parents {
            false => self.make_one(path, mode),
            true => self.make_missing(path, mode),
        };
        if self.spellings.is_some() && !path.is_root() {
            // One that is there under another spelling is used, and must not be removed under that.
            self.target(path, Replace::Never, None)?.note_spelling();
        }
        made
    }

    fn make_one(&self, path: &RemotePath, mode: Option<Mode>) -> Outcome<()> {
        let claim = self.bound.as_ref().map(|bound| bound.claim()).transpose()?;
        let (dir, at) = self.locate(path)?;
        // Whoever fills it needs the owner's rights until then.
        let bits = mode.map_or(0o777, |mode| mode.bits() | 0o700);
        let mut builder = DirBuilder::new();
        dir.create_dir_with(&at, builder.mode(self.policy.of_dir(bits))).map_err(refuse)?;
        if let Some(claim) = claim {
            claim.leaves(0);
        }
        let forced = self.policy.force_dir.bits();
        if forced != 0 {
            // The umask has not let it have these.
            let made = self.open_to_set(path)?;
            let has = rustix::fs::fstat(&made).map_err(refuse)?.st_mode & (BESIDE | 0o777);
            if !set_mode(&made, has | forced)? {
                tracing::warn!(%path, "this file system refuses the permission bits that are forced");
            }
        }
        Ok(())
    }

    fn is_dir(&self, path: &RemotePath) -> bool {
        match self.follows_links {
            true => path.is_root() || self.dir.is_dir(os_path(path)),
            false => self.open_dir(path).is_ok(),
        }
    }

    /// Makes a directory and the missing ones above it.
    fn make_missing(&self, path: &RemotePath, mode: Option<Mode>) -> Outcome<()> {
        let is_there = |path: &RemotePath| self.is_dir(path);
        let mut missing: Vec<_> =
            successors(Some(path.clone()), RemotePath::parent).take_while(|path| !is_there(path)).collect();
        while let Some(next) = missing.pop() {
            match self.make_one(&next, mode.filter(|_| missing.is_empty())) {
                // Somebody else was faster, or something that is no directory is in the way.
                Err(refusal) if refusal.code == Code::Exists && !missing.is_empty() => {
                    self.open_dir(&next)?;
                }
                Err(refusal) if refusal.code == Code::Exists && is_there(&next) => {}
                made => made?,
            }
        }
        Ok(())
    }

    /// Makes durable that names have come or gone, and the directories above them that are new: each is an entry of the
    /// one above it. One that is gone by then needs nothing.
    pub fn sync_above<'a>(&self, made: impl IntoIterator<Item = &'a RemotePath>) -> Outcome<()> {
        let mut synced = HashSet::new();
        for path in made {
            let mut above = path.parent().filter(|_| self.sync);
            while let Some(path) = above.filter(|path| !synced.contains(path)) {
                match self.open_dir(&path) {
                    Err(refusal) if refusal.code == Code::NotFound => {}
                    opened => sync_dir(&*opened?).map_err(refuse)?,
                }
                above = path.parent();
                synced.insert(path);
            }
        }
        Ok(())
    }

    /// What has `path`, kept at `to` in place of being lost.
    pub fn backup(&self, path: &RemotePath, to: &RemotePath) -> Outcome<Backup> {
        Backup::new(self, path, to)
    }

    /// Makes a symbolic link, at once and whole as a file is; what it holds is not looked at. A link that is replaced
    /// is not followed. With a `backup`, a link that holds this already stays as it is.
    pub fn make_link(
        &self,
        path: &RemotePath,
        holds: &LinkTarget,
        replace: Replace,
        backup: Option<Backup>,
    ) -> Outcome<()> {
        let target = Target { backup, ..self.target(path, replace, None)? };
        if make_symlink(&target, holds, self.bound.as_ref())? {
            self.synced(&[&target.parent])?;
        }
        Ok(())
    }

    /// Gives a file another name, at once and whole; a symbolic link is not followed, at neither name. The new name is
    /// durable once it is [told to be](Self::sync_above).
    pub fn link(&self, args: &Link) -> Outcome<()> {
        let (from_dir, from) = self.parent_of(&args.from)?;
        let backup = args.backup.as_ref().map(|backup| self.backup(&args.to, backup)).transpose()?;
        let permit = |found: &Metadata| {
            if found.is_dir() {
                return Err(Refusal::new(Code::IsDirectory, "a directory has one name only"));
            }
            if !found.is_file() {
                return Err(Refusal::new(Code::NotRegular, "only a file gets another name"));
            }
            let is_other = args.size.is_some_and(|size| size != found.len())
                || args.mtime.is_some_and(|wanted| !wanted.is_same(mtime(found)));
            if is_other {
                return Err(Refusal::new(Code::Changed, "it is another file than was said"));
            }
            Ok(())
        };
        let found = from_dir.symlink_metadata(os_name(&from)).map_err(refuse)?;
        permit(&found)?;
        let replace = args.replace;
        let target = Target { backup, ..self.target(&args.to, replace, Some(mtime(&found)))? };
        target.check()?;
        let (to_dir, to) = (&target.parent, os_name(&target.name));
        if is_same(&found, to_dir, to).map_err(refuse)? {
            return Ok(());
        }
        let mut claim = self.bound.as_ref().map(Bound::claim).transpose()?;
        if let Some(claim) = &mut claim {
            claim.grow_to(found.len())?;
        }
        // No more than was claimed.
        let permit = |linked: &Metadata| match linked.len() == found.len() {
            true => permit(linked),
            false => Err(Refusal::new(Code::Changed, "it grew, or shrank, meanwhile")),
        };
        target.prepare()?;
        let replaces = {
            let _still = target.still();
            let _alone = alone();
            target.check()?;
            // Once more: another try may have been faster.
            if is_same(&found, to_dir, to).map_err(refuse)? {
                return Ok(());
            }
            target.keep()?;
            let replaces = to_dir.symlink_metadata(to).is_ok();
            link((&from_dir, os_name(&from)), (to_dir, to), replace, permit).map_err(refuse)?;
            replaces
        };
        if let Some(claim) = claim {
            claim.leaves(found.len());
            claim.is_another_of((found.dev(), found.ino()));
            if replaces {
                claim.replaced();
            }
        }
        Ok(())
    }

    /// Opens a file or a directory whose time or bits are to change; a link is not followed.
    fn open_to_set(&self, path: &RemotePath) -> Outcome<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |dir: &Dir, name: &OsStr| {
            rustix::fs::openat(dir, name, flags, rustix::fs::Mode::empty()).map_err(refuse_to_open_at)
        };
        match (path.parent(), path.name()) {
            (Some(parent), Some(name)) => open(&*self.open_dir(&parent)?, os_name(&name)),
            _ => open(&self.dir, OsStr::new(".")),
        }
    }

    /// Gives a file or a directory another modification time and other permission bits; a link is not followed. Bits that
    /// are not exact add none to those which it has. That is not made durable: no byte depends on it. Tells what its file
    /// system does not keep of it.
    pub fn set(&self, path: &RemotePath, mtime: Option<Time>, permissions: Permissions) -> Outcome<Unset> {
        let file = self.open_to_set(path)?;
        let has = rustix::fs::fstat(&file).map_err(refuse)?.st_mode;
        let found = FileType::from_raw_mode(has);
        if !found.is_file() && !found.is_dir() {
            return Err(Refusal::new(Code::NotRegular, "it is neither a file nor a directory"));
        }
        let mtime_is_set = mtime.map_or(Ok(true), |mtime| set_mtime(&file, mtime))?;
        let bits = match permissions {
            Permissions::Usual => return Ok(unset(mtime_is_set, true)),
            Permissions::New(mode) => mode.bits() & has,
            Permissions::Exact(mode) => mode.bits(),
        };
        let bits = match found.is_dir() {
            // What the system gave it stays: with setgid, what is made in it has its group.
            true => self.policy.of_dir(bits) | has & BESIDE,
            false => self.policy.of_file(bits),
        };
        Ok(unset(mtime_is_set, set_exact_mode(&file, bits)?))
    }

    /// Removes a file, a link or an empty directory; with `recursive`, a directory and all it holds. What an earlier try
    /// to store something there left goes along, even if there is nothing else: nobody can name it, and it counts.
    pub fn remove(&self, path: &RemotePath, recursive: bool) -> Outcome<()> {
        let Target { parent, name, spelling, .. } = self.target(path, Replace::Always, None)?;
        let found = parent.symlink_metadata(os_name(&name));
        if let (Ok(found), Some(spelling)) = (&found, spelling) {
            spelling.check(found)?;
        }
        let removed = match found {
            Ok(found) => self.remove_found(&parent, os_name(&name), found.is_dir(), recursive),
            Err(error) => Err(error),
        };
        let is_gone =
            removed.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true);
        let forgot = is_gone && forget(&parent, &name).map_err(refuse)?;
        self.note_gone();
        match removed {
            Err(error) if !(is_gone && forgot) => Err(refuse(error)),
            _ => self.synced(&[&parent]),
        }
    }

    fn remove_found(&self, parent: &Dir, name: &OsStr, is_dir: bool, recursive: bool) -> io::Result<()> {
        match (is_dir, recursive) {
            (false, _) => parent.remove_file(name),
            (true, false) => match parent.remove_dir(name) {
                // What no listing shows is no reason to keep a directory.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => parent
                    .open_dir(name)
                    .and_then(|dir| if looks_empty(&dir)? { sweep(&dir, Duration::ZERO) } else { Err(error) })
                    .and_then(|()| parent.remove_dir(name)),
                removed => removed,
            },
            (true, true) => tree::remove(parent, name, self.bound.as_deref()),
        }
    }

    /// Gives a file, or a link, the name of its backup in place of its own. It is durable once both names are [told to
    /// be](Self::sync_above); on no disk is it without a name.
    pub fn move_away(&self, path: &RemotePath, backup: &Backup) -> Outcome<()> {
        let Target { parent, name, spelling, .. } = self.target(path, Replace::Always, None)?;
        backup.prepare(&parent, &name).map_err(refuse)?;
        {
            let _still = backup.still();
            let _alone = alone();
            let found = parent.symlink_metadata(os_name(&name)).map_err(refuse)?;
            if found.is_dir() {
                return Err(Refusal::new(Code::IsDirectory, "a directory is not kept as a whole"));
            }
            if let Some(spelling) = spelling {
                spelling.check(&found)?;
            }
            backup.move_away(&parent, &name).map_err(refuse)?;
        }
        // What it replaced has gone, and so does what an earlier try to store something left.
        let forgotten = forget(&parent, &name).map_err(refuse);
        self.note_gone();
        forgotten.map(drop)
    }

    /// Renames; an existing file at the new path is replaced unless `replace` forbids it.
    pub fn rename(&self, from: &RemotePath, to: &RemotePath, replace: Replace) -> Outcome<()> {
        let (from_dir, from_name) = self.parent_of(from)?;
        let (to_dir, to_name) = self.parent_of(to)?;
        {
            let _still = self.bound.as_ref().map(|bound| bound.still());
            let _alone = alone();
            rename(&from_dir, os_name(&from_name), &to_dir, os_name(&to_name), replace).map_err(refuse)?;
        }
        self.note_gone();
        self.synced(&[&from_dir, &to_dir])
    }

    /// The space of the file system that holds `path`; where there is a quota, of that and what is left of it, as far as
    /// the file system has it.
    pub fn space(&self, path: &RemotePath) -> Outcome<Space> {
        let dir = match self.open_dir(path) {
            Err(refusal) if refusal.code == Code::NotDirectory => self.parent_of(path)?.0,
            opened => opened?,
        };
        let stat = rustix::fs::fstatvfs(&*dir).map_err(refuse)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let disk =
            Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bfree), available: bytes(stat.f_bavail) };
        let bound = self.bound.as_ref().and_then(|bound| Some((bound, bound.quota().bytes?.get())));
        let Some((bound, most)) = bound else { return Ok(disk) };
        let left = u64::try_from(u128::from(most).saturating_sub(bound.used()?)).unwrap_or(most);
        let Space { total, free, available } = disk;
        Ok(Space { total: total.min(most), free: free.min(left), available: available.min(left) })
    }

    /// Whether the directory of `path` was not yet looked through; a large one takes its time. After very many
    /// directories it may be looked through again.
    fn is_to_sweep(&self, path: &RemotePath) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.len() >= MOST_SWEPT {
            swept.clear();
        }
        path.parent().is_some_and(|parent| swept.insert(parent))
    }

    pub(crate) fn open_dir(&self, path: &RemotePath) -> Outcome<Arc<Directory>> {
        if path.is_root() {
            return Ok(Arc::clone(&self.dir));
        }
        self.open_dir_to_read(path).map(|dir| Arc::new(dir.into()))
    }

    pub(crate) fn open_dir_to_read(&self, path: &RemotePath) -> Outcome<Dir> {
        match self.follows_links {
            true => self.dir.open_dir(os_path(path)).map_err(refuse),
            false => dir_without_links(&self.dir, os_path(path)),
        }
    }

    /// A directory, and how what `path` names is called there: the kernel walks all of it, unless no link is to be followed.
    pub(crate) fn locate(&self, path: &RemotePath) -> Outcome<(Arc<Directory>, PathBuf)> {
        match (self.follows_links, path.parent(), path.name()) {
            (false, Some(parent), Some(name)) => Ok((self.open_dir(&parent)?, os_name(&name).into())),
            _ => Ok((Arc::clone(&self.dir), os_path(path).to_owned())),
        }
    }

    /// The directory that holds `path`, and its name there. The root has none.
    fn parent_of(&self, path: &RemotePath) -> Outcome<(Arc<Directory>, Name)> {
        match (path.parent(), path.name()) {
            (Some(parent), Some(name)) => Ok((self.open_dir(&parent)?, name)),
            _ => Err(Refusal::new(Code::Forbidden, "the served root itself stays where it is")),
        }
    }

    fn target(&self, path: &RemotePath, replace: Replace, mtime: Option<Time>) -> Outcome<Target> {
        Ok(self.target_in(self.parent_of(path)?, path, replace, mtime))
    }

    fn target_in(
        &self,
        (parent, name): (Arc<Directory>, Name),
        path: &RemotePath,
        replace: Replace,
        mtime: Option<Time>,
    ) -> Target {
        let spelling =
            self.spellings.as_ref().map(|all| Spelling { all: Arc::clone(all), path: path.clone() });
        Target { parent, name, replace, mtime, expected: None, backup: None, policy: self.policy, spelling }
    }

    fn synced(&self, dirs: &[&Dir]) -> Outcome<()> {
        if self.sync { dirs.iter().try_for_each(|dir| sync_dir(dir)).map_err(refuse) } else { Ok(()) }
    }
}

/// Whether a directory has nothing but what no listing shows.
fn looks_empty(dir: &Dir) -> io::Result<bool> {
    for entry in dir.entries()? {
        if !is_partial(entry?.file_name().as_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) fn os_path(path: &RemotePath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

/// A link is not opened (open(2), `O_NOFOLLOW`).
fn refuse_to_open_at(error: Errno) -> Refusal {
    match error {
        Errno::LOOP => Refusal::new(Code::NotRegular, "it is a link"),
        error => refuse_to_open(error.into()),
    }
}

fn link_target(
    metadata: &Metadata,
    read_link: impl FnOnce() -> io::Result<PathBuf>,
) -> io::Result<Option<Vec<u8>>> {
    if metadata.is_symlink() {
        return Ok(Some(read_link()?.into_os_string().into_encoded_bytes()));
    }
    Ok(None)
}

/// Describes what is there; `target` is what a link holds.
pub(crate) fn entry(name: Option<Name>, metadata: &Metadata, target: Option<Vec<u8>>) -> Entry {
    let file_type = metadata.file_type();
    let kind = if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Dir
    } else if file_type.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    };
    let (size, mode) = (metadata.len(), Mode::from_bits(metadata.mode()));
    Entry { name, kind, size, mtime: mtime(metadata), mode, target: target.map(LinkTarget) }
}

#[cfg(test)]
mod tests;
