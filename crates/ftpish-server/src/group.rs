//! Puts that were received and not yet answered: small files that a client sends one behind the other, without waiting.
//! They are committed together, so that they share the flush of the disk, and answered in their order.

use ftpish_protocol::message::{Command, Put, Stored};
use ftpish_protocol::{Connection, Error, Refusal};
use ftpish_storage::{Ready, commit_together};
use ftpish_transport::Stream;

use crate::Limits;
use crate::exchange::{Exchange, Failure};

/// Up to how many bytes a file shares its flush with others: a larger one has enough to write on its own.
const SMALL: u64 = 1024 * 1024;

/// How many files wait for each other at the most: each has two descriptors open.
const MOST: usize = 64;

/// A request whose reply waits for those before it.
enum Waiting {
    /// Verified, and not yet under its name.
    Ready(Stored),
    Refused(Refusal),
}

/// The puts that wait.
#[derive(Default)]
pub struct Group {
    waiting: Vec<(u64, Waiting)>,
    /// One for each [`Waiting::Ready`], in the same order.
    files: Vec<Ready>,
}

impl Group {
    /// Whether a request may join others that wait, in place of being answered behind them.
    pub fn admits(command: &Command) -> bool {
        matches!(command, Command::Put(put) if Self::admits_put(put))
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
    pub fn add(&mut self, id: u64, ready: Ready, stored: Stored) {
        self.files.push(ready);
        self.waiting.push((id, Waiting::Ready(stored)));
    }

    /// Lets a refusal wait for those before it.
    pub fn refuse(&mut self, id: u64, refusal: Refusal) {
        self.waiting.push((id, Waiting::Refused(refusal)));
    }

    /// Commits all that waits, and queues the replies.
    pub fn settle(&mut self, connection: &mut Connection<Stream>, limits: &Limits) -> Result<(), Error> {
        let Some(&(first, _)) = self.waiting.first() else { return Ok(()) };
        let (files, waiting) = (std::mem::take(&mut self.files), std::mem::take(&mut self.waiting));
        connection.stream().set_deadline(limits.moving());
        let outcomes = if files.len() <= 1 {
            commit_together(files)
        } else {
            broken(Exchange::new(connection, limits, first).while_working(|_| commit_together(files)))?
        };
        let mut outcomes = outcomes.into_iter();
        for (id, waiting) in waiting {
            let outcome = match waiting {
                Waiting::Refused(refusal) => Err(refusal),
                Waiting::Ready(stored) => outcomes.next().unwrap_or(Ok(())).map(|()| stored),
            };
            let exchange = &mut Exchange::new(connection, limits, id);
            broken(match outcome {
                Ok(stored) => exchange.grant(&stored),
                Err(refusal) => exchange.refuse(refusal),
            })?;
        }
        Ok(())
    }

    /// Gives up all that waits, and that nobody was told of.
    pub fn abandon(&mut self) {
        self.waiting.clear();
        self.files.drain(..).for_each(|ready| ready.stage.abandon());
    }
}

/// Neither a commit nor a reply is refused as a whole.
fn broken<T>(outcome: Result<T, Failure>) -> Result<T, Error> {
    outcome.map_err(|failure| match failure {
        Failure::Broken(error) => error,
        Failure::Refused(refusal) => Error::Malformed(refusal.to_string()),
    })
}
