//! Files: whole, in blocks and in parts, and their digests.

use serde::{Deserialize, Serialize};

use super::is_zero;
use crate::entry::{Mode, Time, is_false};
use crate::{Algorithm, Digest, RemotePath, Secret};

/// The arguments of `get`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Get {
    /// The file.
    pub path: RemotePath,
    /// The digest of the trailer.
    pub digest: Algorithm,
    /// The first byte wanted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// How many bytes are wanted; to the end where absent. More than there are is `bad-range`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The range is a subtree of the file's BLAKE3 tree, and its chaining value is to be the trailer's digest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub subtree: bool,
}

/// The reply to `get`, before the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// The whole file's size in bytes.
    pub size: u64,
    /// How many bytes the body has.
    pub length: u64,
    /// When the file was last modified.
    pub mtime: Time,
    /// Its permission bits.
    pub mode: Mode,
    /// Whether it has holes, so that its zeros are better not written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sparse: bool,
    /// What tells the file from others that have, or had, its name: the same as long as it is the same file, opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether the trailer's digest is a chaining value: it was asked for, and the file has more than the range.
    #[serde(default, skip_serializing_if = "is_false")]
    pub subtree: bool,
}

/// The arguments of `put`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Put {
    /// The name to store under.
    pub path: RemotePath,
    /// The digest of the trailer.
    pub digest: Algorithm,
    /// How many bytes the body has, where it is known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The modification time to give the file; the time of arrival where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Time>,
    /// The permission bits to give a new file, as far as the server lets new files have them; its default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether the file gets the very bits of `mode`, also if it replaces one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exact: bool,
    /// What may be replaced.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
    /// What the existing file must have for a digest to be replaced: refused with `changed` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Digest>,
    /// Whether the file has holes, so that its zeros are better not written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sparse: bool,
    /// Behind a `resume`: which `[start, end]` of the file the body has, in order; the rest is here already. Each
    /// begins and ends with a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Vec<(u64, u64)>>,
    /// Where what is replaced is kept, in place of being lost: it gets this name in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<RemotePath>,
}

/// The most ranges of one `put`: what a message has room for.
pub const MAX_RANGES: usize = 1000;

/// The arguments of `blocks`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlocksArgs {
    /// The file.
    pub path: RemotePath,
    /// Only blocks that lie wholly within so many bytes; all of them where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
}

/// The arguments of `resume`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// The name that the file is to be put under.
    pub path: RemotePath,
    /// Its size in bytes.
    pub size: u64,
    /// Its modification time.
    pub mtime: Time,
    /// Take the file that has the name for what is here already, even if it is not the same by size and time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub repair: bool,
    /// What may be replaced.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
    /// The file is to be put in parts, perhaps over several connections.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parts: bool,
    /// Parts follow without waiting for the reply: refused with `ask-first` where anything is here already, or it takes
    /// time to know.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ahead: bool,
}

/// The arguments of `part`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartArgs {
    /// The name that the file is being put under.
    pub path: RemotePath,
    /// What the reply to `resume` named the upload; where absent, it is that of this very connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Secret>,
    /// Where the part begins.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// How often it was sent before, to no avail as far as the client knows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u64,
}

/// A file cut into blocks: the reply to `blocks` and to `resume`, before the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// The whole file's size in bytes.
    pub size: u64,
    /// When the file was last modified.
    pub mtime: Time,
    /// The size of a block in bytes: a power of two, at least [`MIN_BLOCK`](crate::blocks::MIN_BLOCK).
    pub block: u64,
    /// How many bytes the body has: [`BLOCK_DIGEST`](crate::blocks::BLOCK_DIGEST) a block.
    pub length: u64,
    /// What tells the file from others that have, or had, its name: the same as long as it is the same file, opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// In the reply to `resume`, what parts of the file are to name, if it is to come in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Secret>,
    /// In the reply to `resume`, that parts which were sent ahead of it are taken.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ahead: bool,
}

/// Whether a `put` or `mv` may replace an existing file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replace {
    /// Whatever is there.
    #[default]
    Always,
    /// Nothing: refused with `exists`.
    Never,
    /// Only a file that was modified earlier: refused with `not-newer`.
    Older,
}

impl Replace {
    pub(super) fn is_always(&self) -> bool {
        *self == Self::Always
    }
}

/// The reply to `put`: the bytes are verified, durable and under their name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// How many bytes were stored.
    pub size: u64,
    /// Their digest, as the server computed it.
    pub digest: Digest,
    /// What the file did not get besides its bytes.
    #[serde(default, skip_serializing_if = "Unset::is_none")]
    pub unset: Unset,
}

/// What was asked for besides the bytes of a file, and its file system does not keep. The bytes are stored all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unset {
    /// The modification time: it is refused, or another one is read back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mtime: bool,
    /// The permission bits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mode: bool,
}

impl Unset {
    /// Whether the file has all that it was to get.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The arguments of `hash`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hash {
    /// The file.
    pub path: RemotePath,
    /// The digest wanted.
    pub digest: Algorithm,
}

/// The reply to `hash`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hashed {
    /// How many bytes were read.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
}
