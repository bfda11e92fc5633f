//! What a transfer is made of: files to be moved, and what becomes of them.

use std::sync::Arc;

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

/// A file to be moved.
#[derive(Clone, Debug)]
pub(crate) enum Moving {
    Get(Arc<Incoming>),
    Put(Arc<Outgoing>),
}

/// A file from the server.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) download: Download,
    /// The directory that it goes into, or one above it, as the download says, too.
    pub(crate) root: Root,
    /// Its path there.
    pub(crate) name: RemotePath,
    /// How many bytes it has, where a listing has told.
    pub(crate) size: Option<u64>,
}

/// A file to the server.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) upload: Upload,
    /// How many bytes it has.
    pub(crate) size: u64,
}

impl Moving {
    /// The same, of which it is not known whether an earlier try has stored it: the server is asked first.
    pub(crate) fn asking_first(mut self) -> Self {
        if let Self::Put(file) = &mut self {
            Arc::make_mut(file).upload.ahead = Ahead::Never;
        }
        self
    }

    pub(crate) fn way(&self) -> Way {
        match self {
            Self::Get(_) => Way::Get,
            Self::Put(_) => Way::Put,
        }
    }

    /// Its size, as far as it is known.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Get(file) => file.size.unwrap_or(0),
            Self::Put(file) => file.size,
        }
    }

    /// Whether something may be there of it, or stands in its way, so that it moves by itself.
    pub(crate) fn is_alone(&self) -> bool {
        match self {
            Self::Get(file) => file.is_alone(),
            Self::Put(file) => file.size >= if file.upload.repair { MIN_BLOCK } else { RESUME_FROM },
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

impl Incoming {
    fn is_alone(&self) -> bool {
        let has_base = || self.download.has_base(&self.root, &self.name);
        match self.size {
            Some(size) => size >= RESUME_FROM && has_base(),
            None => self.download.replace == Replace::Older || has_base(),
        }
    }
}
