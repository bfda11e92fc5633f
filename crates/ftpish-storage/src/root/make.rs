//! Directories and links.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::iter::successors;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use cap_std::fs::{DirBuilder, DirBuilderExt as _, Metadata, MetadataExt as _};
use ftpish_protocol::message::{Link, LinkTarget, Mode, Replace};
use ftpish_protocol::{Code, Refusal, RemotePath};

use super::Root;
use crate::attributes::{BESIDE, set_mode};
use crate::backup::Backup;
use crate::dir::{alone, os_name, os_path, rename, sync_dir};
use crate::link::{is_same, link};
use crate::partial::partial_name;
use crate::quota::Bound;
use crate::target::Target;
use crate::{Outcome, mtime, refuse};

impl Root {
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
}

/// Makes a symbolic link; `false` where there is nothing to do, because what is to be kept was already, and the link is there.
fn make_symlink(target: &Target, holds: &LinkTarget, bound: Option<&Arc<Bound>>) -> Outcome<bool> {
    if holds.0.is_empty() || holds.0.contains(&0) {
        return Err(Refusal::new(Code::BadPath, "a link holds at least one byte, and no NUL"));
    }
    let Target { parent, name, replace, backup, .. } = target;
    let holds = OsStr::from_bytes(&holds.0);
    let is_done =
        || backup.is_some() && parent.read_link_contents(os_name(name)).is_ok_and(|held| held == holds);
    // It may be that of an earlier try, which has kept what was there before.
    if is_done() {
        return Ok(false);
    }
    let claim = bound.map(Bound::claim).transpose()?;
    let partial = partial_name();
    rustix::fs::symlinkat(holds, &**parent, &partial).map_err(refuse)?;
    let mut replaces = false;
    let made = target.prepare().and_then(|()| {
        let _still = target.still();
        let _alone = alone();
        replaces |= claim.is_some() && parent.symlink_metadata(os_name(name)).is_ok();
        target.check()?;
        // Once more: another try may have been faster.
        if is_done() {
            return Ok(false);
        }
        target.keep()?;
        rename(parent, partial.as_ref(), parent, os_name(name), *replace).map_err(refuse)?;
        target.note_spelling();
        Ok(true)
    });
    if !matches!(made, Ok(true)) {
        parent.remove_file(&partial).map_err(refuse)?;
    }
    if !made? {
        return Ok(false);
    }
    if let Some(claim) = claim {
        claim.leaves(0);
        if replaces {
            claim.replaced();
        }
    }
    Ok(true)
}
