//! Whether a file is still the one that had its name before.

use cap_std::fs::{Metadata, MetadataExt as _};
use ftpish_protocol::Algorithm;
use ftpish_protocol::message::Time;

use crate::mtime;

/// Distinguishes a file from others that had, or have, the same name. The change time is left out, because a rename or a
/// new hard link changes it without changing a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: Time,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { dev: metadata.dev(), ino: metadata.ino(), size: metadata.len(), mtime: mtime(metadata) }
    }

    /// A digest of the identity for a peer, who can compare it and learns nothing else from it.
    pub fn tag(&self) -> String {
        let Self { dev, ino, size, mtime } = self;
        let Time { seconds, nanoseconds } = mtime;
        let text = format!("{dev} {ino} {size} {seconds} {nanoseconds}");
        Algorithm::Blake3.digest(text.as_bytes()).hex()[..16].to_owned()
    }
}
