//! Files on their way in. Their bytes go into a partial file beside the target, which has no name or one that no listing
//! shows. When they are verified, the file is made durable and gets the target's name. Until then the target keeps its
//! old content.

use std::fs::File;
use std::io::{self, Seek as _};
use std::sync::Arc;

use ftpish_protocol::blocks::{Assembly, Blocks, MIN_BLOCK};
use ftpish_protocol::message::Time;
use ftpish_protocol::{Meter, Name};

use crate::backup::Backup;
use crate::descriptors::Stored;
use crate::dir::Directory;
use crate::quota::Claim;
use crate::target::Target;
use crate::{Identity, Outcome, refuse};

mod begin;
mod publish;
mod seed;
mod space;
mod write;

pub(crate) use begin::Taken;
pub(crate) use publish::Kept;
pub use seed::Seeding;
pub use write::StageWriter;

/// A partial file. It ends in [`commit`](Self::commit) or in [`abandon`](Self::abandon). If it is dropped instead, as by
/// kill -9, and has a name, the file stays. A partial file that has a name is locked while it is open.
#[derive(Debug)]
#[must_use = "a stage that is neither committed nor abandoned leaves its partial file behind"]
pub struct Stage {
    /// Its part of the quota. It is the first field, so that it is dropped before the lock is released.
    claim: Option<Claim>,
    file: File,
    _stored: Stored,
    /// The partial file's name. `None` where no later try needs to find it, and the file system has files without names.
    partial: Option<String>,
    target: Target,
    sync: bool,
    /// The offset of the next bytes of a stream.
    at: u64,
    /// The end of the file's bytes and holes.
    end: u64,
    /// Whether the file ends in a hole, and so is still shorter than `end`.
    ends_in_hole: bool,
    /// Whether a later try finds the file by its name.
    resumable: bool,
}

impl Stage {
    /// How many bytes the partial file has. They may be wrong.
    pub fn length(&self) -> u64 {
        self.end
    }

    /// Reads the partial file from its beginning.
    pub fn reader(&self) -> Outcome<impl io::Read + Send + use<>> {
        let mut file = self.file.try_clone().map_err(refuse)?;
        file.rewind().map_err(refuse)?;
        Ok(file)
    }

    /// Digests the whole blocks that the partial file has, of a file that is cut into `blocks`. `meter` counts the bytes,
    /// and can stop the work.
    pub fn assemble(&mut self, blocks: Blocks, meter: &Meter) -> Outcome<Assembly> {
        self.file.rewind().map_err(refuse)?;
        Assembly::of(&mut self.file, blocks, meter).map_err(refuse)
    }

    /// Removes the bytes of the partial file beyond `size`.
    pub fn cut(&mut self, size: u64) -> Outcome<()> {
        if self.end > size {
            self.file.set_len(size).map_err(refuse)?;
            self.end = size;
            self.is_to_have(size);
        }
        Ok(())
    }

    /// Claims quota for a file of `size` bytes, so that an exhausted quota is noticed before they are transferred. Bytes
    /// that were not announced are claimed as they arrive.
    pub fn claim(&mut self, size: u64) -> Outcome<()> {
        self.claim.as_mut().map_or(Ok(()), |claim| claim.grow_to(size))
    }

    /// Tells the quota how many bytes the partial file leaves behind if it is dropped. A file without a name leaves none.
    fn is_to_have(&self, size: u64) {
        if let Some(claim) = self.claim.as_ref().filter(|_| self.partial.is_some()) {
            claim.leaves(size);
        }
    }

    /// Lets the commit replace only this very file. It is refused with `changed` where another file has the name by then,
    /// and with `not-found` where none has.
    pub fn replace_only(&mut self, expected: Identity) {
        self.target.expected = Some(expected);
    }

    /// Keeps what is replaced.
    pub fn back_up(&mut self, backup: Backup) {
        self.target.backup = Some(backup);
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn parent(&self) -> &Arc<Directory> {
        &self.target.parent
    }

    /// Where the target is and which modification time it is to have, if its file system is not known to keep that.
    pub(crate) fn timed(&self) -> Option<(Arc<Directory>, Name, Time)> {
        let Target { parent, name, mtime, .. } = &self.target;
        let mtime = mtime.filter(|_| parent.file_system().is_none());
        mtime.map(|mtime| (Arc::clone(parent), name.clone(), mtime))
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.sync
    }

    /// Gives up for now. A partial file that a later try can find, and that has at least one block, stays. Any other is
    /// removed.
    pub fn abandon(&self) {
        // A hole at the end is part of what stays.
        let kept = self.resumable && self.end >= MIN_BLOCK && self.file.set_len(self.end).is_ok();
        if kept {
            self.is_to_have(self.end);
        } else {
            self.remove();
        }
    }

    /// Removes the partial file.
    pub fn remove(&self) {
        let is_gone = self.partial.as_ref().is_none_or(|partial| self.unlink(partial));
        if let Some(claim) = self.claim.as_ref().filter(|_| is_gone) {
            claim.leaves_nothing();
        }
    }

    /// Removes a name. The peer is not told of a failure, because no listing shows the name.
    fn unlink(&self, partial: &str) -> bool {
        let removed = self.target.parent.remove_file(partial);
        removed.inspect_err(|error| tracing::warn!(partial, %error, "cannot remove a partial file")).is_ok()
    }
}

#[cfg(test)]
mod tests;
