//! What was received and not yet answered of small files that a client sends one behind the other, without waiting, and
//! of their directories. It is made durable together, so that it shares the flush of the disk, and answered in order.

use std::collections::HashSet;

use ftpish_protocol::message::{Command, Done, Put, Stored};
use ftpish_protocol::{Connection, Error, Name, Refusal, RemotePath};
use ftpish_storage::{Ready, Root, commit_together};
use ftpish_transport::Stream;

use crate::Limits;
use crate::exchange::{Exchange, Failure};

/// Up to how many bytes a file shares its flush with others: a larger one has enough to write on its own.
const SMALL: u64 = 1024 * 1024;

/// How many requests wait for each other at the most: a file has two descriptors open.
const MOST: usize = 64;

/// A request whose reply waits for those before it.
enum Waiting {
    /// Verified, and not yet under its name.
    Ready(Stored),
    /// A new directory, which is not yet durable.
    Made,
    Refused(Refusal),
}

/// The requests that wait.
#[derive(Default)]
pub struct Group {
    waiting: Vec<(u64, Waiting)>,
    /// One for each [`Waiting::Ready`], in the same order.
    files: Vec<Ready>,
    /// The names that these files are to have, in whatever directory: that may have more than one path.
    names: HashSet<Vec<u8>>,
    /// One for each [`Waiting::Made`].
    dirs: Vec<RemotePath>,
}

impl Group {
    /// Whether a request may join those that wait, in place of being answered behind them.
    pub fn admits(&self, command: &Command) -> bool {
        match command {
            Command::Put(put) => Self::admits_put(put),
            // A directory is made at once, so it must not come before a file of the same name.
            Command::Mkdir(args) => !args.path.components().any(|name| self.names.contains(name)),
            _ => false,
        }
    }

    /// As [`admits`](Self::admits).
    pub fn admits_put(put: &Put) -> bool {
        put.ranges.is_none() && put.expect.is_none() && put.size.is_some_and(|size| size <= SMALL)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    /// Lets a file wait that is to be granted.
    pub fn add(&mut self, id: u64, path: &RemotePath, ready: Ready, stored: Stored) {
        self.names.extend(path.name().as_ref().map(Name::as_bytes).map(<[u8]>::to_vec));
        self.files.push(ready);
        self.waiting.push((id, Waiting::Ready(stored)));
    }

    /// Lets a directory wait that was made.
    pub fn add_dir(&mut self, id: u64, path: RemotePath) {
        self.dirs.push(path);
        self.waiting.push((id, Waiting::Made));
    }

    /// Lets a refusal wait for those before it.
    pub fn refuse(&mut self, id: u64, refusal: Refusal) {
        self.waiting.push((id, Waiting::Refused(refusal)));
    }

    /// Commits all that waits, and queues the replies.
    pub fn settle(
        &mut self,
        root: &Root,
        connection: &mut Connection<Stream>,
        limits: &Limits,
    ) -> Result<(), Error> {
        let Self { waiting, files, dirs, .. } = std::mem::take(self);
        let Some(&(first, _)) = waiting.first() else { return Ok(()) };
        connection.stream().set_deadline(limits.moving());
        let is_quick = files.len() + dirs.len() <= 1;
        let commit = || (root.sync_above(&dirs), commit_together(files));
        let (made, stored) = if is_quick {
            commit()
        } else {
            broken(Exchange::new(connection, limits, first).while_working(|_| commit()))?
        };
        let mut committed = stored.into_iter();
        for (id, waiting) in waiting {
            let exchange = &mut Exchange::new(connection, limits, id);
            let answered = match waiting {
                Waiting::Refused(refusal) => exchange.refuse(refusal),
                Waiting::Made => match &made {
                    Ok(()) => exchange.grant(&Done {}),
                    Err(refusal) => exchange.refuse(refusal.clone()),
                },
                Waiting::Ready(stored) => match committed.next() {
                    Some(Err(refusal)) => exchange.refuse(refusal),
                    _ => exchange.grant(&stored),
                },
            };
            broken(answered)?;
        }
        Ok(())
    }

    /// Gives up all that waits, and that nobody was told of.
    pub fn abandon(&mut self) {
        let Self { files, .. } = std::mem::take(self);
        files.iter().for_each(|ready| ready.stage.abandon());
    }
}

/// Neither a commit nor a reply is refused as a whole.
fn broken<T>(outcome: Result<T, Failure>) -> Result<T, Error> {
    outcome.map_err(|failure| match failure {
        Failure::Broken(error) => error,
        Failure::Refused(refusal) => Error::Malformed(refusal.to_string()),
    })
}
