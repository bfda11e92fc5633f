//! Files that are here, and have yet to get their names: small ones together, beside those that arrive meanwhile.

use std::sync::Arc;
use std::time::Duration;

use ftpish_protocol::Refusal;
use ftpish_protocol::message::Unset;
use ftpish_storage::{Background, Ready, commit_together, descriptors};

use crate::transfer::download::local;
use crate::transfer::piece::{Answer, Incoming, Outcome, Tag};
use crate::{Client, Transferred};

/// How many small files are made durable at once.
const TOGETHER: usize = 64;

/// The largest file, in bytes, that shares its flush of the disk with others.
pub(super) const SMALL: u64 = 1024 * 1024;

/// How often the server hears that this end is alive while it waits for its disk.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// A file that is here.
pub(super) struct Arrived {
    pub(super) tag: Tag,
    pub(super) file: Arc<Incoming>,
    pub(super) ready: Ready,
    pub(super) done: Transferred,
}

/// Files that are being committed.
struct Committing {
    files: Vec<(Tag, Arc<Incoming>, Transferred)>,
    work: Background<Vec<Result<Unset, Refusal>>>,
}

/// The files that are here, and those that are being committed.
#[derive(Default)]
pub(super) struct Commits {
    ready: Vec<Arrived>,
    committing: Option<Committing>,
}

impl Commits {
    /// Whether all have their names.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.committing.is_none()
    }

    /// Adds a file. Whether there is reason to [begin](Self::begin) now.
    pub(super) fn add(&mut self, file: Arrived) -> bool {
        let is_small = file.done.size <= SMALL;
        self.ready.push(file);
        !is_small || self.ready.len() >= TOGETHER || descriptors::are_scarce()
    }

    /// Begins to give all files that are here their names. What the ones before came to is told.
    pub(super) fn begin(&mut self, client: &mut Client) -> Vec<Outcome> {
        let outcomes = self.finish(client);
        if !self.ready.is_empty() {
            let files = self.ready.drain(..);
            let (ready, files): (Vec<_>, Vec<_>) =
                files.map(|Arrived { tag, file, ready, done }| (ready, (tag, file, done))).unzip();
            let work = Background::begin(move || commit_together(ready));
            self.committing = Some(Committing { files, work });
        }
        outcomes
    }

    /// Waits until the files that are being committed have their names.
    pub(super) fn finish(&mut self, client: &mut Client) -> Vec<Outcome> {
        let Some(Committing { files, work }) = self.committing.take() else { return Vec::new() };
        let outcomes = loop {
            if let Some(outcomes) = work.wait(ALIVE_EVERY) {
                break outcomes;
            }
            // Replies may be waiting to be taken. That the connection broke is noticed by whatever reads them.
            let _ = client.connection.send_alive();
        };
        let outcomes: Vec<Result<Unset, Refusal>> = match outcomes {
            Ok(outcomes) => outcomes,
            Err(refusal) => files.iter().map(|_| Err(refusal.clone())).collect(),
        };
        let outcome =
            |((tag, file, done), committed): ((Tag, Arc<Incoming>, Transferred), Result<Unset, Refusal>)| {
                let moved = committed.map(|unset| Answer::Moved(Transferred { unset, ..done }));
                (tag, moved.map_err(|refusal| local(&file.download.to, refusal)))
            };
        files.into_iter().zip(outcomes).map(outcome).collect()
    }
}
