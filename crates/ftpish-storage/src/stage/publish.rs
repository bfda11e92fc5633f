//! From a partial file to its target: what is replaced is kept, if that is asked, and the name changes hands.

use std::io;

use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use ftpish_protocol::message::{Mode, Replace, Unset};
use ftpish_protocol::{Code, Meter, Refusal, Verified};

use super::Stage;
use crate::attributes::{mode_of, set_common_mtime, set_exact_mode, set_mode, set_mtime, unset};
use crate::dir::{alone, os_name, rename};
use crate::partial::{give_name, lock, partial_name};
use crate::permissions::of_new_names;
use crate::target::Target;
use crate::{Identity, Outcome, Permissions, SourceFile, mtime, refuse};

/// The permission bits of a file whose sender named none, before the umask (creat(2) as programs call it).
const USUAL_MODE: u32 = 0o666;

impl Stage {
    /// Makes the partial file all that the target is to be, but durable. Tells what its file system does not keep of it.
    pub(crate) fn prepare(&self, verified: &Verified, permissions: Permissions) -> Outcome<Unset> {
        if self.end != verified.length() {
            return Err(Refusal::new(Code::Internal, "the partial file is not what was verified"));
        }
        if self.ends_in_hole {
            self.file.set_len(self.end).map_err(refuse)?;
        }
        let bits = self.bits(permissions)?;
        let mode_is_set = match permissions {
            Permissions::Exact(_) => set_exact_mode(&self.file, bits)?,
            Permissions::New(_) | Permissions::Usual => set_mode(&self.file, bits)?,
        };
        // To look costs as much as to set.
        let is_known = self.target.parent.file_system().is_some();
        let mtime_is_set = match self.target.mtime {
            None => true,
            Some(mtime) if is_known && mtime.is_in_range() => set_common_mtime(&self.file, mtime)?,
            Some(mtime) => set_mtime(&self.file, mtime)?,
        };
        Ok(unset(mtime_is_set, mode_is_set))
    }

    /// The permission bits of a file that replaces none.
    fn bits(&self, permissions: Permissions) -> Outcome<u32> {
        let wanted = match permissions {
            Permissions::Exact(mode) => return Ok(self.target.policy.of_file(mode.bits())),
            Permissions::New(mode) => mode.bits(),
            Permissions::Usual => USUAL_MODE,
        };
        // One that has no name was made as any new file is, and has what the kernel gave it.
        let possible = match &self.partial {
            None => mode_of(&self.file)?.bits(),
            Some(_) => of_new_names(&self.target.parent),
        };
        Ok(self.target.policy.of_file(wanted & possible))
    }

    /// Takes over the permission bits of the file that is about to be replaced, if its file system keeps any.
    fn take_bits(&self) -> Outcome<()> {
        let Target { parent, name, .. } = &self.target;
        let Ok(found) = parent.symlink_metadata(os_name(name)) else { return Ok(()) };
        let bits = Mode::from_bits(found.mode()).bits();
        if !found.is_file() || mode_of(&self.file)?.bits() == bits {
            return Ok(());
        }
        let is_taken = set_mode(&self.file, bits)?;
        if is_taken && self.sync { self.file.sync_all().map_err(refuse) } else { Ok(()) }
    }

    /// Keeps what is about to be replaced, as far as it can be done while it has its name.
    pub(crate) fn keep(&self, verified: &Verified) -> Outcome<Kept> {
        let Target { parent, name, backup: Some(backup), .. } = &self.target else {
            return Ok(Kept::default());
        };
        // Outside of the lock, because it may take long.
        let judged = self.judge(verified)?;
        self.target.prepare()?;
        let _alone = alone();
        self.target.check()?;
        // Another file that has the name by now is judged at the rename: it may be what is about to replace it.
        let dir = match judged {
            Some(judged) if !judged.is_same && self.is_still(judged) => {
                backup.keep(parent, name, false).map_err(refuse)?
            }
            _ => None,
        };
        Ok(Kept { judged, dir })
    }

    /// Whether the file that has the name has these very bytes already, and this time. It may be there because of a try
    /// whose reply was lost, or whose client is gone: what that has replaced is kept, and must stay so.
    fn judge(&self, verified: &Verified) -> Outcome<Option<Judged>> {
        let Target { parent, name, mtime: wanted, .. } = &self.target;
        let found = match parent.symlink_metadata(os_name(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(refuse)?,
        };
        let is_alike = found.is_file()
            && found.len() == verified.length()
            && wanted.is_some_and(|wanted| wanted.is_same(mtime(&found)));
        let is_same = is_alike && {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(SourceFile::OPEN_FLAGS);
            let file = parent.open_with(os_name(name), &options).map_err(refuse)?;
            let digest = verified.digest().algorithm().digest_of(&mut file.into_std(), &Meter::default());
            digest.map_err(refuse)? == verified.digest()
        };
        Ok(Some(Judged { id: Identity::of(&found), is_same }))
    }

    /// Whether the file that was judged still has the name.
    fn is_still(&self, judged: Judged) -> bool {
        let Target { parent, name, .. } = &self.target;
        parent.symlink_metadata(os_name(name)).is_ok_and(|found| Identity::of(&found) == judged.id)
    }

    /// Gives the partial file its target's name, if that is free, or still to be replaced.
    pub(crate) fn publish(&self, kept: &Kept, verified: &Verified, permissions: Permissions) -> Outcome<()> {
        match &self.partial {
            Some(partial) => self.rename(partial, kept, verified, permissions),
            None => self.publish_unnamed(kept, verified, permissions),
        }
    }

    /// The same, for one that has no name.
    fn publish_unnamed(&self, kept: &Kept, verified: &Verified, permissions: Permissions) -> Outcome<()> {
        let Target { parent, name, expected, .. } = &self.target;
        let is_free = expected.is_none() && {
            let _alone = alone();
            match give_name(&self.file, parent, os_name(name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                named => {
                    named.map_err(refuse)?;
                    self.target.note_spelling();
                    true
                }
            }
        };
        if !is_free {
            // To take another file's name, it needs one of its own, which no sweep takes away.
            self.target.check()?;
            let partial = partial_name();
            let _ = lock(&self.file);
            give_name(&self.file, parent, partial.as_ref()).map_err(refuse)?;
            if let Err(refusal) = self.rename(&partial, kept, verified, permissions) {
                if !self.unlink(&partial) {
                    self.leaves_all();
                }
                return Err(refusal);
            }
        }
        self.leaves_all();
        Ok(())
    }

    /// It has a name, and counts.
    fn leaves_all(&self) {
        if let Some(claim) = &self.claim {
            claim.leaves(self.end);
        }
    }

    /// Gives the partial file its target's name in place of its own.
    fn rename(
        &self,
        partial: &str,
        kept: &Kept,
        verified: &Verified,
        permissions: Permissions,
    ) -> Outcome<()> {
        let Target { parent, name, replace, backup, expected, spelling, .. } = &self.target;
        self.target.prepare()?;
        if permissions.yield_to_existing() {
            self.take_bits()?;
        }
        let _still = self.target.still();
        let _alone = alone();
        // Where whatever is there may be replaced, the kernel knows what cannot be.
        if *replace != Replace::Always || expected.is_some() || backup.is_some() || spelling.is_some() {
            self.target.check()?;
        }
        // What came since the syncs were shared is kept now.
        if backup.is_some() {
            let judged = match kept.judged.filter(|judged| self.is_still(*judged)) {
                None => self.judge(verified)?,
                judged => judged,
            };
            if !judged.is_some_and(|judged| judged.is_same) {
                self.target.keep()?;
            }
        }
        let replaces = self.claim.as_ref().filter(|_| parent.symlink_metadata(os_name(name)).is_ok());
        rename(parent, partial.as_ref(), parent, os_name(name), *replace).map_err(refuse)?;
        self.target.note_spelling();
        if let Some(claim) = replaces {
            claim.replaced();
        }
        Ok(())
    }
}

/// What was done for what a commit replaces.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    judged: Option<Judged>,
    /// The directory that is to be synced for it.
    pub(crate) dir: Option<Dir>,
}

/// A file that has the name of a target.
#[derive(Clone, Copy, Debug)]
struct Judged {
    id: Identity,
    /// Whether it is what is about to replace it.
    is_same: bool,
}
