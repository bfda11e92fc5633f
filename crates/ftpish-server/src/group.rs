//! What was received and not yet answered of small files that a client sends one behind the other, without waiting, and
//! of their directories. It is made durable together, so that it shares the flush of the disk, and answered in order.

use std::collections::HashSet;

use std::time::Instant;

use ftpish_protocol::message::{Command, Done, Envelope, Granted, Put, Refused, Stored, Unset, Working};
use ftpish_protocol::{Code, Error, Name, Refusal, RemotePath};
use ftpish_service::upload::Complete;
use ftpish_storage::{Nearby, Ready, Root, commit_together, descriptors};
use serde::Serialize;

use crate::channel::Channel;
use crate::job::Job;
use crate::limits::{Limits, WORKING_EVERY};

/// Up to how many bytes a file shares its flush with others: a larger one has enough to write on its own.
const SMALL: u64 = 1024 * 1024;

/// How many requests are gathered at the most: a file has a descriptor open.
const MOST: usize = 64;

/// A request whose reply waits for those before it.
enum Waiting {
    /// Verified, and not yet under its name.
    Ready(Stored),
    /// A new directory, or a new name for a file, with or without its old one, which is not yet durable.
    Made,
    Refused(Refusal),
}

/// The requests that wait.
#[derive(Default)]
pub struct Group {
    gathered: Batch,
    /// The ones before, while they become durable.
    committing: Option<(Batch, Job<Committed>)>,
    /// Where the next file goes, perhaps.
    pub nearby: Nearby,
}

/// What became of a batch: of its directories together, and of its files.
type Committed = (Result<(), Refusal>, Vec<Result<Unset, Refusal>>);

/// Requests that are answered together.
#[derive(Default)]
struct Batch {
    waiting: Vec<(u64, Waiting)>,
    /// One for each [`Waiting::Ready`], in the same order.
    files: Vec<Ready>,
    /// The names that these files are to have, in whatever directory: that may have more than one path.
    names: HashSet<Vec<u8>>,
    /// The names of each [`Waiting::Made`].
    made: Vec<RemotePath>,
}

impl Group {
    /// Whether a request may join those that wait, in place of being answered behind them.
    pub fn admits(&self, command: &Command) -> bool {
        match command {
            Command::Put(put) => Self::admits_put(put),
            // These are made at once, so they must not come before a file of the same name.
            Command::Mkdir(args) => !self.awaits(&args.path),
            Command::Link(args) => ![Some(&args.from), Some(&args.to), args.backup.as_ref()]
                .into_iter()
                .flatten()
                .any(|path| self.awaits(path)),
            Command::Rm(args) => {
                args.backup.as_ref().is_some_and(|backup| !self.awaits(&args.path) && !self.awaits(backup))
            }
            _ => false,
        }
    }

    /// Whether a file that waits may be what a path leads to, or through.
    fn awaits(&self, path: &RemotePath) -> bool {
        path.components().any(|name| self.batches().any(|batch| batch.names.contains(name)))
    }

    /// As [`admits`](Self::admits).
    pub fn admits_put(put: &Put) -> bool {
        put.ranges.is_none() && put.expect.is_none() && put.size.is_some_and(|size| size <= SMALL)
    }

    fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.committing.iter().map(|(batch, _)| batch).chain([&self.gathered])
    }

    pub fn is_empty(&self) -> bool {
        self.batches().all(|batch| batch.waiting.is_empty())
    }

    pub fn is_full(&self) -> bool {
        let gathered = self.gathered.waiting.len();
        gathered >= MOST || gathered > 0 && descriptors::are_scarce()
    }

    /// Lets a file wait that is to be granted.
    pub fn add(&mut self, id: u64, path: &RemotePath, complete: Complete) {
        let (ready, stored) = complete.into_ready();
        self.gathered.names.extend(path.name().as_ref().map(Name::as_bytes).map(<[u8]>::to_vec));
        self.gathered.files.push(ready);
        self.gathered.waiting.push((id, Waiting::Ready(stored)));
    }

    /// Lets names wait that have come, or gone.
    pub fn add_made(&mut self, id: u64, names: impl IntoIterator<Item = RemotePath>) {
        self.gathered.made.extend(names);
        self.gathered.waiting.push((id, Waiting::Made));
    }

    /// Lets a refusal wait for those before it.
    pub fn refuse(&mut self, id: u64, refusal: Refusal) {
        self.gathered.waiting.push((id, Waiting::Refused(refusal)));
    }

    /// Begins to commit what was gathered, and queues the replies to what was before it.
    pub async fn advance(
        &mut self,
        root: &Root,
        channel: &mut Channel,
        limits: &Limits,
    ) -> Result<(), Error> {
        self.finish(channel, limits).await?;
        let (batch, commit) = self.take(root);
        self.committing = Some((batch, channel.turn().hand_over(|_| commit())));
        Ok(())
    }

    /// Commits all that waits, and queues the replies.
    pub async fn settle(&mut self, root: &Root, channel: &mut Channel, limits: &Limits) -> Result<(), Error> {
        self.finish(channel, limits).await?;
        match self.gathered.waiting.len() {
            0 => {}
            1 => {
                let (batch, commit) = self.take(root);
                batch.answer(commit(), channel);
            }
            _ => {
                self.advance(root, channel, limits).await?;
                self.finish(channel, limits).await?;
            }
        }
        Ok(())
    }

    /// What was gathered, and how it is committed.
    fn take(&mut self, root: &Root) -> (Batch, impl FnOnce() -> Committed + Send + 'static) {
        self.nearby = Nearby::default();
        let mut batch = std::mem::take(&mut self.gathered);
        let (root, files) = (root.clone(), std::mem::take(&mut batch.files));
        let made = std::mem::take(&mut batch.made);
        (batch, move || (root.sync_above(&made), commit_together(files)))
    }

    /// Waits until what is being committed is, and queues the replies.
    async fn finish(&mut self, channel: &mut Channel, limits: &Limits) -> Result<(), Error> {
        let Some((batch, job)) = &mut self.committing else { return Ok(()) };
        let first = batch.waiting.first().map(|(id, _)| *id);
        channel.set_deadline(limits.moving());
        while !channel.turn().is_done_by(job, Instant::now() + WORKING_EVERY).await {
            if let Some(id) = first {
                channel.queue(&Working { id, working: 0 });
                channel.flush().await?;
            }
        }
        if let Some((batch, job)) = self.committing.take() {
            batch.answer(job.outcome(), channel);
        }
        Ok(())
    }

    /// Gives up all that waits, and that nobody was told of, but for what is being committed.
    pub async fn abandon(&mut self, channel: &Channel) {
        let Self { gathered, committing, .. } = std::mem::take(self);
        gathered.files.iter().for_each(|ready| ready.stage.abandon());
        if let Some((_, job)) = committing {
            while !channel.turn().is_done_by(&job, Instant::now() + WORKING_EVERY).await {}
        }
    }
}

impl Batch {
    fn answer(self, (made, stored): Committed, channel: &mut Channel) {
        let mut committed = stored.into_iter();
        for (id, waiting) in self.waiting {
            let outcome = match waiting {
                Waiting::Refused(refusal) => Err(refusal),
                Waiting::Made => made.clone().map(|()| None),
                // Where nothing is known of a file, nothing is promised.
                Waiting::Ready(stored) => match committed.next() {
                    Some(outcome) => outcome.map(|unset| Some(Stored { unset, ..stored })),
                    None => Err(Refusal::new(Code::Internal, "it is not known whether it was stored")),
                },
            };
            match outcome {
                Ok(Some(stored)) => grant(channel, id, &stored),
                Ok(None) => grant(channel, id, &Done {}),
                Err(error) => channel.queue(&Refused { id: Some(id), error }),
            }
        }
    }
}

fn grant(channel: &mut Channel, id: u64, fields: &impl Serialize) {
    let envelope = Envelope { id, body: false };
    channel.queue(&Granted { envelope, ok: true, fields });
}
