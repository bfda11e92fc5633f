//! Links, symbolic ones and hard ones, which are second names for files. They are made under a partial name first, and then
//! renamed, so that a name that is replaced is never missing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use cap_std::fs::{Dir, Metadata, MetadataExt as _};
use ftpish_protocol::message::{LinkTarget, Replace};
use ftpish_protocol::{Code, Refusal};
use rustix::fs::AtFlags;

use crate::dir::{alone, os_name, rename};
use crate::partial::partial_name;
use crate::quota::Bound;
use crate::target::Target;
use crate::{Outcome, refuse};

/// Gives what `from` names the name `to` as well, if `permit` says so of the very thing that is linked, and not only of
/// what had the name before. A symbolic link is not followed, and there is nothing to do where both names stand for the
/// same already. Whoever calls this holds [`alone`](crate::dir::alone).
pub(crate) fn link(
    (from_dir, from): (&Dir, &OsStr),
    (to_dir, to): (&Dir, &OsStr),
    replace: Replace,
    permit: impl FnOnce(&Metadata) -> Outcome<()>,
) -> io::Result<()> {
    let partial = partial_name();
    rustix::fs::linkat(from_dir, from, to_dir, &partial, AtFlags::empty())?;
    let renamed = to_dir.symlink_metadata(&partial).and_then(|linked| {
        permit(&linked).map_err(Refusal::into_io)?;
        // Of two names of one file, rename(2) replaces neither, and says that all is well.
        if is_same(&linked, to_dir, to)? {
            return Ok(false);
        }
        rename(to_dir, partial.as_ref(), to_dir, to, replace).map(|()| true)
    });
    if !matches!(renamed, Ok(true)) {
        to_dir.remove_file(&partial)?;
    }
    renamed.map(drop)
}

/// Makes a symbolic link; `false` where there is nothing to do, because what is to be kept was already, and the link is there.
pub(crate) fn make_symlink(target: &Target, holds: &LinkTarget, bound: Option<&Arc<Bound>>) -> Outcome<bool> {
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

/// Whether a name stands for this very file.
pub(crate) fn is_same(file: &Metadata, dir: &Dir, name: &OsStr) -> io::Result<bool> {
    match dir.symlink_metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.map(|found| (found.dev(), found.ino()) == (file.dev(), file.ino())),
    }
}
