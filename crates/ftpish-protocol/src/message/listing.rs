//! What is there: `ls`, `tree` and `stat`.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, is_false};
use crate::{Algorithm, RemotePath};

/// The arguments of `ls`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ls {
    /// The directory.
    pub path: RemotePath,
    /// The digest of the listing's trailer.
    pub digest: Algorithm,
}

/// The arguments of `tree`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// The directory, or a file, which is a tree of one.
    pub path: RemotePath,
    /// The digest of the listing's trailer.
    pub digest: Algorithm,
    /// Begin behind this path, relative to `path`, in walk order; at the top where absent. It need not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<RemotePath>,
    /// The most nodes wanted. Fewer are all that there are.
    pub limit: u64,
    /// Describe what links stand for, and go into directories through them, as long as they stay inside.
    #[serde(default, skip_serializing_if = "is_false")]
    pub follow: bool,
    /// Tell of a file that was met under another name before: see [`Node::same`](crate::message::Node::same).
    #[serde(default, skip_serializing_if = "is_false")]
    pub same: bool,
    /// Tell only that there is something, where another file system is mounted: see [`Node::mount`](crate::message::Node::mount).
    #[serde(default, skip_serializing_if = "is_false")]
    pub one_file_system: bool,
    /// Tell the digests of small files in this algorithm: see [`Node::digest`](crate::message::Node::digest). Servers that know nothing of it tell none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Algorithm>,
}

/// The largest file whose digest a listing of a tree tells, in bytes. What is larger is worth a request of its own, which
/// can be told that its work goes on; a listing cannot.
pub const MAX_LISTED_DIGEST: u64 = 1024 * 1024;

/// The reply to `stat`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stat {
    /// What is there. The root's name is `.`, which is no name: it has none.
    pub entry: Entry,
}
