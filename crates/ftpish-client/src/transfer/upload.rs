//! What is to be stored, and how. How that is done, `store` says.

use std::path::PathBuf;

use ftpish_protocol::message::{Put, Replace};
use ftpish_protocol::{Algorithm, Digest, Refusal, RemotePath};
use ftpish_storage::SourceFile;

use crate::Error;

/// A local file to be stored under a remote name.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The file to send.
    pub from: PathBuf,
    /// What to make or replace.
    pub to: RemotePath,
    /// What proves it.
    pub digest: Algorithm,
    /// What may be replaced.
    pub replace: Replace,
    /// What the existing file must have for a digest to be replaced.
    pub expect: Option<Digest>,
    /// Compare what is there with what is to come, block by block, and move only what differs.
    pub repair: bool,
    /// Whether the file gets the very permission bits of its source, whatever the server's umask is, and whatever it replaces.
    pub perms: bool,
    /// Where the server keeps what is replaced, if it is to be kept.
    pub backup: Option<RemotePath>,
    /// Whether a large file is begun before it is known what the server has of it.
    pub ahead: Ahead,
}

impl Upload {
    /// Stores the file `from` as `to`, proven by BLAKE3, whatever is there. What is to be otherwise is said in the fields.
    pub fn new(from: impl Into<PathBuf>, to: RemotePath) -> Self {
        Self {
            from: from.into(),
            to,
            digest: Algorithm::Blake3,
            replace: Replace::Always,
            expect: None,
            repair: false,
            perms: false,
            backup: None,
            ahead: Ahead::default(),
        }
    }

    pub(crate) fn local(&self, refusal: Refusal) -> Error {
        Error::Local { path: self.from.clone(), refusal }
    }

    /// The request that stores `file`, which is what `from` names.
    pub(crate) fn put(&self, file: &SourceFile) -> Put {
        Put {
            path: self.to.clone(),
            digest: self.digest,
            size: Some(file.size()),
            mtime: Some(file.mtime()),
            mode: Some(file.mode()),
            exact: self.perms,
            replace: self.replace,
            expect: self.expect,
            sparse: file.is_sparse(),
            ranges: None,
            backup: self.backup.clone(),
        }
    }
}

/// When a large file is begun before the server has said what it has of it already. What it has is never sent over in
/// either case; but what left until it said so was sent for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ahead {
    /// Never: an earlier try may have left something.
    Never,
    /// Where the server is so far that asking takes long.
    #[default]
    WhereFar,
    /// Always.
    Always,
}
