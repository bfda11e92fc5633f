//! Names: what is made, changed, renamed and removed.

use serde::{Deserialize, Serialize};

use super::{Replace, Unset};
use crate::RemotePath;
use crate::entry::{LinkTarget, Mode, Time, is_false};

/// The arguments of `stat`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatArgs {
    /// What to describe.
    pub path: RemotePath,
}

/// The arguments of `df`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DfArgs {
    /// Any path on the file system.
    pub path: RemotePath,
}

/// The reply to `set`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WasSet {
    /// What of it could not be set.
    #[serde(default, skip_serializing_if = "Unset::is_none")]
    pub unset: Unset,
}

/// The arguments of `mkdir`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mkdir {
    /// The directory to make.
    pub path: RemotePath,
    /// Make missing parents too, and do not mind if it exists.
    #[serde(default, skip_serializing_if = "is_false")]
    pub parents: bool,
    /// The permission bits to give it, as far as the server lets new directories have them; the owner's are all set, so that
    /// it can be filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// The arguments of `symlink`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Symlink {
    /// The link to make.
    pub path: RemotePath,
    /// What it holds.
    pub target: LinkTarget,
    /// `always`, which replaces a file or a link, or `never`.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
    /// Where what is replaced is kept, in place of being lost: it gets this name in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<RemotePath>,
}

/// The arguments of `link`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// A name that the file has; a symbolic link is not followed.
    pub from: RemotePath,
    /// The name that it is to have besides.
    pub to: RemotePath,
    /// The size that the file must have: refused with `changed` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When the file must have been modified last, as far as [`Time::is_same`] tells: refused with `changed` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Time>,
    /// What may be replaced.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
    /// Where what is replaced is kept, in place of being lost: it gets this name in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<RemotePath>,
}

/// The arguments of `set`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// A file or a directory; a link is not followed.
    pub path: RemotePath,
    /// When it is to have been modified last; as it is where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Time>,
    /// Its new permission bits; as they are where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether it gets none that it does not have: it was made just now, with as many as new names may have.
    #[serde(default, skip_serializing_if = "is_false")]
    pub limited: bool,
}

/// The arguments of `rm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rm {
    /// What to remove.
    pub path: RemotePath,
    /// Remove a directory with all it holds; without it, an empty directory is removed and a full one refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recursive: bool,
    /// The new name of a file or a link that is kept in place of being lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<RemotePath>,
}

/// The arguments of `mv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mv {
    /// What is renamed.
    pub from: RemotePath,
    /// Its new path.
    pub to: RemotePath,
    /// `always` or `never`.
    #[serde(default, skip_serializing_if = "Replace::is_always")]
    pub replace: Replace,
}

/// The reply to `df`, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// The file system's size.
    pub total: u64,
    /// What is free.
    pub free: u64,
    /// What the server may still use of it.
    pub available: u64,
}
