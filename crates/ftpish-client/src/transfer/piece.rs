//! What a transfer is made of: files to be moved, and what becomes of them.

use ftpish_protocol::RemotePath;
use ftpish_protocol::blocks::MIN_BLOCK;
use ftpish_protocol::message::{Hashed, Node, Replace, Unset};
use ftpish_storage::Root;

use super::download::Download;
use super::upload::{Ahead, Upload};
use crate::{Error, RESUME_FROM, Transferred, Way};

/// The smallest file that takes a lane for long, and is worth several, in bytes.
pub(crate) const LARGE: u64 = 32 * 1024 * 1024;

/// About how many bytes move in the time that a file takes besides its bytes.
const FILE_COST: u64 = 16 * 1024;

/// What a file costs at the most: the sum of as many as are in flight is still a number.
const MOST_COST: u64 = 1 << 40;

/// What to call a file by, or another request: a number of the caller's.
pub(crate) type Tag = u64;

/// What became of it.
pub(crate) type Outcome = (Tag, Result<Answer, Error>);

/// What a request came to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A file is where it was to go.
    Moved(Transferred),
    /// It was granted, and that is all; but for what could not be set, if it was to set something.
    Done(Unset),
    /// The digest of a file.
    Hashed(Hashed),
    /// A part of a tree.
    Nodes(Vec<Node>),
    /// Nothing is known of it; and why, if that ends all.
    Lost(Option<Error>),
}

/// A file to be moved, and how many bytes it has.
#[derive(Clone, Debug)]
pub(crate) enum Moving {
    /// From the server, to `name` in `root`, which is what the download says, too. Only a listing tells its size.
    Get { download: Download, root: Root, name: RemotePath, size: Option<u64> },
    /// To the server.
    Put { upload: Upload, size: u64 },
}

impl Moving {
    /// The same, of which it is not known whether an earlier try has stored it: the server is asked first.
    pub(crate) fn asking_first(mut self) -> Self {
        if let Self::Put { upload, .. } = &mut self {
            upload.ahead = Ahead::Never;
        }
        self
    }

    pub(crate) fn way(&self) -> Way {
        match self {
            Self::Get { .. } => Way::Get,
            Self::Put { .. } => Way::Put,
        }
    }

    /// Its size, as far as it is known.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Get { size, .. } => size.unwrap_or(0),
            Self::Put { size, .. } => *size,
        }
    }

    /// Whether something may be there of it, or stands in its way, so that it moves by itself.
    pub(crate) fn is_alone(&self) -> bool {
        match self {
            Self::Get { download, root, name, size: Some(size) } => {
                *size >= RESUME_FROM && download.has_base_in(root, name)
            }
            Self::Get { download, root, name, size: None } => {
                download.replace == Replace::Older || download.has_base_in(root, name)
            }
            Self::Put { upload, size } => *size >= if upload.repair { MIN_BLOCK } else { RESUME_FROM },
        }
    }

    /// What it costs a connection, in bytes: a file of none is some work, too.
    pub(crate) fn cost(&self) -> u64 {
        // A listing may say anything of a size.
        self.size().min(MOST_COST) + FILE_COST
    }

    /// Whether it takes a lane for long.
    pub(crate) fn is_large(&self) -> bool {
        self.size() >= LARGE
    }
}
