//! The operations, one file a verb: what it may need, and what it does. To add a verb, add its arguments to the protocol, its
//! file here, and a line to the list below; then let a front run it.

pub mod blocks;
pub mod df;
pub mod get;
pub mod hash;
pub mod link;
pub mod ls;
pub mod mkdir;
pub mod mv;
pub mod part;
pub mod put;
pub mod resume;
pub mod rm;
pub mod set;
pub mod stat;
pub mod symlink;
pub mod tree;

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::Command;
use ftpish_storage::{Last, Root};

use crate::Right;
use crate::front::Front;

/// What has to be known of an operation before it runs. The arguments of each verb have it.
pub trait Operation {
    /// What it does to which path, as rights.
    fn accesses(&self) -> Vec<(Right, &RemotePath)>;

    /// Its paths, and whether a link that is the last of one is followed: all that [`accesses`](Self::accesses) tells of.
    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)>;

    /// Whether it does that to all that is below the paths, too.
    fn is_recursive(&self) -> bool {
        false
    }

    /// Whether it is for callers alone whose rights are the same everywhere.
    fn needs_uniform_rights(&self) -> bool {
        false
    }

    /// How many bytes it adds, as far as it says. None for one that creates no name.
    fn adds(&self) -> Option<u64> {
        None
    }

    /// Whether it can run again after it has failed for want of file descriptors: it has changed nothing then, or only what it
    /// would change in the same way again.
    fn can_repeat(&self) -> bool {
        true
    }
}

/// The list of verbs, and which variant of [`Command`] each is.
macro_rules! operations {
    ($($name:literal: $variant:ident,)*) => {
        /// The names of all operations.
        pub const NAMES: &[&str] = &[$($name),*];

        /// What is to be known of `command`. None for what is no operation: `hello`, `login`, and what is unknown.
        pub fn of(command: &mut Command) -> Option<&mut dyn Operation> {
            match command {
                $(Command::$variant(args) => Some(args),)*
                Command::Hello(_) | Command::Login(_) | Command::Unknown => None,
            }
        }
    };
}

operations! {
    "ls": Ls,
    "tree": Tree,
    "stat": Stat,
    "get": Get,
    "put": Put,
    "mkdir": Mkdir,
    "symlink": Symlink,
    "link": Link,
    "set": Set,
    "rm": Rm,
    "mv": Mv,
    "hash": Hash,
    "df": Df,
    "blocks": Blocks,
    "resume": Resume,
    "part": Part,
}

/// Whether an operation that adds `bytes` is likely to wait until all that is in the root is counted, for a quota.
pub fn waits_for_count(bytes: Option<u64>, root: &Root) -> bool {
    bytes.is_some_and(|bytes| root.must_count(bytes))
}

/// Counts what the root holds. Storage enforces a quota with or without this; here, the client can be told that it takes long.
pub async fn count(bytes: Option<u64>, root: &Root, front: &mut impl Front) {
    let (root, bytes) = (root.clone(), bytes.unwrap_or(0));
    front.while_working(move |_| root.count(bytes)).await;
}

/// Two paths that are not followed if they are links: what is replaced, and the name that keeps it.
fn with_backup<'a>(
    path: &'a mut RemotePath,
    backup: Option<&'a mut RemotePath>,
) -> Vec<(&'a mut RemotePath, Last)> {
    [Some(path), backup].into_iter().flatten().map(|path| (path, Last::Kept)).collect()
}

/// What is replaced can be read under the name of its backup.
fn replacing<'a>(path: &'a RemotePath, backup: Option<&'a RemotePath>) -> Vec<(Right, &'a RemotePath)> {
    let kept = backup.map(|backup| [(Right::Read, path), (Right::Write, backup)]);
    [(Right::Write, path)].into_iter().chain(kept.into_iter().flatten()).collect()
}
