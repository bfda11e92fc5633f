//! Hard links, which are second names for files. They are made under a partial name first, and then renamed, so that a name
//! that is replaced is never missing.

use std::ffi::OsStr;
use std::io;

use cap_std::fs::{Dir, Metadata, MetadataExt as _};
use ftpish_protocol::Refusal;
use ftpish_protocol::message::Replace;
use rustix::fs::AtFlags;

use crate::Outcome;
use crate::dir::rename;
use crate::partial::partial_name;

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

/// Whether a name stands for this very file.
pub(crate) fn is_same(file: &Metadata, dir: &Dir, name: &OsStr) -> io::Result<bool> {
    match dir.symlink_metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.map(|found| (found.dev(), found.ino()) == (file.dev(), file.ino())),
    }
}
