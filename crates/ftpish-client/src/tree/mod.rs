//! Whole trees, either way: what is to be done is a plan ([`plan`]), made of two walks as they come, and a job
//! ([`job`]) carries it out over a connection, and goes on over the next one where that breaks.

mod filter;
mod job;
mod plan;

use std::path::PathBuf;

use ftpish_protocol::message::{LinkTarget, Mode, Replace, Time, Unset};
use ftpish_protocol::{Algorithm, PathError, Refusal, RemotePath};

use crate::{Error, Transferred, Way};

pub use filter::{Filter, FilterError};
pub use job::TreeJob;

/// A tree to be moved, and how.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Which way it moves.
    pub way: Way,
    /// The directory on the server.
    pub remote: RemotePath,
    /// The directory on this machine. The destination is made where it is missing.
    pub local: PathBuf,
    /// What proves each file.
    pub digest: Algorithm,
    /// What may be replaced.
    pub replace: Replace,
    /// Whether files that are fetched are on the disk before they are done.
    pub sync: bool,
    /// What becomes of symbolic links.
    pub links: LinkPolicy,
    /// What is left out.
    pub filter: Filter,
    /// What is there already and need not move: everything moves where absent.
    pub compare: Option<Compare>,
    /// Remove what the source does not have, if it is at most so many names; keep it where absent.
    pub delete: Option<u64>,
    /// Do nothing but that: another job moves what is to move then.
    pub only_remove: bool,
    /// Keep what is replaced or removed in this directory of the destination, which is itself left out; lose it where
    /// absent.
    pub backup: Option<RemotePath>,
    /// Give everything the very permission bits that it has in the source. Otherwise only what is new gets them, as far as the
    /// receiving side lets new names have them.
    pub perms: bool,
    /// Give what is one file with several names in the source one file with these names in the destination. Otherwise
    /// each name has a file of its own.
    pub hard_links: bool,
    /// Leave out what is on another mount than the top, on either side.
    pub one_file_system: bool,
    /// Do nothing, and tell what would be done.
    pub dry_run: bool,
    /// Tell what is left out, too, and why.
    pub tell_left_out: bool,
}

/// What becomes of symbolic links in a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkPolicy {
    /// They are left out.
    Skip,
    /// They are made anew, as they are.
    #[default]
    Keep,
    /// What they stand for is moved in their place: in a local tree wherever they lead, in a server's as far as that is in
    /// the served directory.
    Follow,
}

/// How a file that is on both sides is told to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// By size and modification time.
    Time,
    /// By its digest, which both sides read the file for.
    Digest,
}

/// Why something is left out.
#[derive(Clone, Debug, PartialEq)]
pub enum LeftOut {
    /// This pattern matches.
    Pattern(String),
    /// It is the directory of the backups.
    Backups,
    /// It is on another mount, on one side or the other.
    Mount,
}

/// What a step came to that was not refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Done {
    /// Nothing: that was asked, or there is nothing to do.
    Nothing,
    /// A file moved.
    Moved(Transferred),
    /// Something else was made, set or removed; but for what its file system has not kept.
    Changed(Unset),
}

/// What became of a step.
pub type Outcome = Result<Done, Error>;

/// One thing to be done at the destination, by its path below the top of the tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make a directory. Its time and permission bits are set when all is in it.
    MakeDir {
        /// Its own path.
        path: RemotePath,
        /// The permission bits that it has in the source.
        mode: Mode,
    },
    /// Let a directory be changed that can only be read. Its permission bits come back when all is in it.
    Unlock {
        /// Its own path.
        path: RemotePath,
        /// The permission bits that it has until then.
        mode: Mode,
    },
    /// Move a file of so many bytes.
    Move {
        /// Which.
        path: RemotePath,
        /// Its size.
        size: u64,
        /// Whether it takes the name of something else.
        replaces: bool,
    },
    /// Move a file of so many bytes, if the one that is there has another digest.
    Compare {
        /// Which.
        path: RemotePath,
        /// Its size.
        size: u64,
        /// The time, and the permission bits if they count, that the one there lacks, if that is all.
        set: Option<(Time, Option<Mode>)>,
        /// The first name of the same file, and its time: it gets this name, too, in place of being moved.
        same: Option<(RemotePath, Time)>,
        /// Where the server told of it, so that those around it can be asked for together with it.
        listed: Option<Listed>,
    },
    /// Make a symbolic link.
    Link {
        /// Its own path.
        path: RemotePath,
        /// What it holds.
        target: LinkTarget,
        /// Whether it takes the name of something else.
        replaces: bool,
    },
    /// Give a file another name, or move it where that cannot be: where the file system has no such names, or because
    /// the first name has another size or time by then.
    HardLink {
        /// The other name.
        path: RemotePath,
        /// The name that the file has by then.
        first: RemotePath,
        /// Its size.
        size: u64,
        /// Its time.
        mtime: Time,
        /// Whether it takes the name of something else.
        replaces: bool,
    },
    /// Set time and permission bits.
    Set {
        /// Of what.
        path: RemotePath,
        /// Whether that is a directory, in which nothing may change any more.
        is_dir: bool,
        /// Its modification time.
        mtime: Time,
        /// Its permission bits; as they are where absent.
        mode: Option<Mode>,
        /// Only if a file that was compared has moved into it.
        if_changed: bool,
    },
    /// Remove it, and all that is in it. With backups, it is a directory that is empty by then.
    Remove(RemotePath),
    /// Keep a file or a link in place of removing it, or of losing it to the step that is told next.
    BackUp {
        /// What.
        path: RemotePath,
        /// Its new path, below the top of the destination as well.
        to: RemotePath,
    },
    /// Nothing: a fifo, a socket or a device does not move.
    Skip(RemotePath),
    /// Nothing: it is not to move, nor what is in it.
    LeaveOut {
        /// What.
        path: RemotePath,
        /// Whether it is in the source, or stays in the destination.
        is_source: bool,
        /// What says so.
        why: LeftOut,
    },
    /// Nothing: it cannot be moved.
    Problem {
        /// What.
        path: RemotePath,
        /// Why not.
        refusal: Refusal,
    },
}

/// The place of a node in the server's walk.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The node in front of it.
    after: RemotePath,
    /// How many nodes there are in front of it.
    nodes: u64,
    /// How many bytes the files in front of it have whose digests a listing tells.
    bytes: u64,
}

impl Tree {
    /// All of it, proven by BLAKE3, on the disk when it is done, and nothing compared, removed or kept elsewhere: whatever is
    /// there may be replaced. What is to be otherwise is said in the fields.
    pub fn new(way: Way, remote: RemotePath, local: impl Into<PathBuf>) -> Self {
        Self {
            way,
            remote,
            local: local.into(),
            digest: Algorithm::Blake3,
            replace: Replace::Always,
            sync: true,
            links: LinkPolicy::Keep,
            filter: Filter::default(),
            compare: None,
            delete: None,
            only_remove: false,
            backup: None,
            perms: false,
            hard_links: false,
            one_file_system: false,
            dry_run: false,
            tell_left_out: false,
        }
    }

    /// Where what has a path is kept, below the top of the destination as well.
    fn backup_of(&self, path: &RemotePath) -> Result<Option<RemotePath>, PathError> {
        self.backup_beside(path, 0)
    }

    /// The same, beside what an earlier run has kept: that may be a file where a directory is needed, or the other way
    /// round. It is `~1~` and so on in the directory of the backups.
    fn backup_beside(&self, path: &RemotePath, tries: u32) -> Result<Option<RemotePath>, PathError> {
        let Some(dir) = &self.backup else { return Ok(None) };
        match tries {
            0 => dir.resolve(path.as_bytes()),
            _ => dir.resolve(format!("~{tries}~").as_bytes())?.resolve(path.as_bytes()),
        }
        .map(Some)
    }

    /// Why a path is left out with all that is in it, by itself: whoever walks does not go into a directory that is.
    fn leaves_out(&self, path: &RemotePath, is_dir: bool) -> Option<LeftOut> {
        let is_backup = || (self.backup.as_ref() == Some(path)).then_some(LeftOut::Backups);
        let pattern = self.filter.excludes(path, is_dir);
        pattern.map(|pattern| LeftOut::Pattern(pattern.to_owned())).or_else(is_backup)
    }
}

impl Step {
    /// What it is about.
    pub fn path(&self) -> &RemotePath {
        match self {
            Self::Remove(path)
            | Self::Skip(path)
            | Self::LeaveOut { path, .. }
            | Self::MakeDir { path, .. }
            | Self::Unlock { path, .. }
            | Self::Move { path, .. }
            | Self::Compare { path, .. }
            | Self::Link { path, .. }
            | Self::HardLink { path, .. }
            | Self::Set { path, .. }
            | Self::BackUp { path, .. }
            | Self::Problem { path, .. } => path,
        }
    }
}
