//! The life of a connection: its requests, one after the other, from `hello` to the last reply.
//!
//! The session owns framing. It drains what a command leaves unread of a body, so no command can get the stream out of
//! step. [`phase`] is how far the client has come, [`greeting`] takes it from one phase to the next, [`dispatch`] checks a
//! request and runs its command, [`continuation`] is what the next request may continue, [`ending`] is the last reply.

mod continuation;
mod dispatch;
mod ending;
mod greeting;
mod phase;
mod shared;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::message::{Alive, Envelope, Refused};
use ftpish_protocol::{Arrived, Code, Connection, Error, Header, Refusal};
use ftpish_service::accounts::challenge;
use ftpish_service::operations::tree::Cursor;
use ftpish_service::upload::Offered;
use ftpish_service::{Caller, Peer};
use ftpish_transport::{Deadline, Stream};

use crate::channel::Channel;
use crate::connections::{Activity, ConnectionSlot, Full};
use crate::exchange::Failure;
use crate::group::Group;
use crate::limits::UNAUTHENTICATED_HEADER;
use crate::turn::{Class, Turn};
use continuation::Continuation;
use phase::Phase;
pub(crate) use shared::Shared;

/// Maximum delay of a reply while more requests are here. Replies leave together, but hashing many files takes long, and
/// the client can use the first replies meanwhile.
const FLUSH_EVERY: Duration = Duration::from_millis(10);

const SHORT_OF_MEMORY: &str = "the server is short of memory: try again later";

/// A connection that was accepted.
pub(crate) struct Session {
    channel: Channel,
    /// Counts the connection among all that are open.
    slot: ConnectionSlot,
    shared: Arc<Shared>,
    phase: Phase,
    caller: Caller,
    /// When the client must have been admitted.
    greeting: Instant,
    /// What a key has to sign to log in over this connection.
    challenge: String,
    peer: Peer,
    /// When the last request ended.
    idle_since: Instant,
    /// When replies were last sent.
    flushed: Instant,
    continuation: Continuation,
    /// Small uploads that are answered together, as soon as the client waits for it.
    group: Group,
    /// Where the listing of a tree continues.
    cursor: Cursor,
}

/// What follows a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    /// Another request. This message was none, and the client is as idle as before.
    Skipped,
    End,
}

impl Session {
    /// A session for a new connection. The client must be admitted before `greeting`. If a limit was reached, `full` says
    /// which, and the client is turned away.
    pub(crate) fn new(
        stream: Stream,
        (turn, slot): (Arc<Turn>, ConnectionSlot),
        shared: Arc<Shared>,
        peer: Peer,
        greeting: Instant,
        full: Option<Full>,
    ) -> Box<Self> {
        let mut connection = Connection::new(stream);
        connection.set_max_header(UNAUTHENTICATED_HEADER);
        Box::new(Self {
            channel: Channel::new(connection, turn),
            slot,
            caller: Caller::anonymous(&shared.service),
            shared,
            phase: Phase::new(full),
            greeting,
            challenge: challenge(),
            peer,
            idle_since: Instant::now(),
            flushed: Instant::now(),
            continuation: Continuation::Nothing,
            group: Group::default(),
            cursor: Cursor::default(),
        })
    }

    /// Serves requests until the client leaves, breaks the protocol or is too slow, or the server drains.
    pub(crate) async fn run(mut self: Box<Self>) {
        let outcome = self.serve().await;
        // Discard uploads that were not acknowledged: they must not replace what other clients have stored since.
        Box::pin(self.group.abandon(&self.channel)).await;
        if let Some(offered) = self.continuation.take_upload() {
            offered.abandon();
        }
        match outcome {
            Ok(()) => tracing::debug!("closed"),
            // A client that never greeted may have tried a key, or only whether the server listens.
            Err(error) if !self.is_admitted() => tracing::debug!(%error, "closed"),
            Err(error) => tracing::info!(%error, "closed"),
        }
    }

    async fn serve(&mut self) -> Result<(), Error> {
        loop {
            if self.group.is_full() {
                self.group.advance(self.caller.root(), &mut self.channel, &self.shared.limits).await?;
            }
            match self.next_request().await {
                Ok(Arrived::Whole) => {}
                Ok(Arrived::Part) => return self.shut_down().await,
                Ok(Arrived::End) => {
                    self.settle().await?;
                    return self.channel.flush().await;
                }
                Err(error) => return self.give_up(error).await,
            }
            self.slot.set(Activity::Busy);
            if let Phase::TurnedAway(full) = self.phase {
                return self.turn_away(full).await;
            }
            let was_admitted = self.is_admitted();
            // Boxed, so that an idle connection keeps no memory for the largest command.
            match Box::pin(self.serve_one()).await? {
                Next::Request => {}
                Next::Skipped => continue,
                Next::End => return self.channel.flush().await,
            }
            self.idle_since = Instant::now();
            if self.is_admitted() && !was_admitted {
                self.admit().await;
            }
            self.channel.turn().breathe().await;
        }
    }

    /// Waits until the next request is here as a whole. [`Arrived::Part`] says that the server drains instead.
    async fn next_request(&mut self) -> Result<Arrived, Error> {
        let class = if self.is_admitted() { Class::Request } else { Class::Greeting };
        self.set_request_deadline(&mut None);
        let mut arrived = self.channel.connection().arrive()?;
        if arrived == Arrived::Part && !self.group.is_empty() {
            // The client may be waiting for replies to what it has sent.
            self.settle().await?;
            self.set_request_deadline(&mut None);
            arrived = self.channel.connection().arrive()?;
        }
        if arrived == Arrived::Part {
            self.set_transfer_deadline();
            self.channel.flush().await?;
            let activity = self.continuation.activity(self.idle_since, self.shared.limits.drain);
            if !self.slot.set(activity) {
                return Ok(Arrived::Part);
            }
        }
        let mut partial_since = None;
        while arrived == Arrived::Part {
            self.set_request_deadline(&mut partial_since);
            arrived = self.channel.arrive(class).await?;
        }
        self.set_transfer_deadline();
        Ok(arrived)
    }

    /// Sets the deadline for the next request. `partial_since` keeps when its first byte was seen.
    fn set_request_deadline(&mut self, partial_since: &mut Option<Instant>) {
        let limits = &self.shared.limits;
        let until = if !self.is_admitted() {
            self.greeting
        } else if self.channel.connection().has_input() {
            *partial_since.get_or_insert_with(Instant::now) + limits.request
        } else {
            // After a `resume`, the client reads its own copy of what is here.
            let reading = self.continuation.upload().map_or(Duration::ZERO, Offered::time_to_read);
            self.idle_since + limits.idle + reading
        };
        self.channel.set_deadline(Deadline::At(until));
    }

    /// Sets the deadline for replies and bodies.
    fn set_transfer_deadline(&mut self) {
        let is_admitted = self.is_admitted();
        let pace = if is_admitted { self.shared.limits.moving() } else { Deadline::At(self.greeting) };
        self.channel.set_deadline(pace);
    }

    /// Commits the small uploads that wait, and queues their replies.
    async fn settle(&mut self) -> Result<(), Error> {
        self.group.settle(self.caller.root(), &mut self.channel, &self.shared.limits).await
    }

    async fn serve_one(&mut self) -> Result<Next, Error> {
        // This does not wait: the whole message is here.
        let header = match self.channel.connection().receive() {
            Ok(Some(header)) => header,
            Ok(None) => return self.settle().await.map(|()| Next::End),
            Err(error) => return self.give_up(error).await,
        };
        let Ok(envelope) = header.decode::<Envelope>() else { return self.serve_other(&header).await };
        if envelope.body {
            self.channel.connection().begin_body();
        }
        self.channel.connection().answer(Some(&header).filter(|_| !envelope.body));
        let began = Instant::now();
        match self.answer(envelope.id, &header).await {
            Ok(()) => {}
            Err(Failure::Refused(refusal)) => self.queue_refusal(envelope.id, refusal),
            Err(Failure::Broken(error)) => return self.give_up(error).await,
        }
        if envelope.body && self.shared.service.accounts().is_some() && !self.is_admitted() {
            // An unauthenticated client's body is read, so that the refusal before it arrives, but not for long.
            self.channel.set_deadline(Deadline::after(self.shared.limits.request));
        }
        if let Err(error) = self.send_replies().await {
            return self.give_up(error).await;
        }
        tracing::debug!(id = envelope.id, took = ?began.elapsed(), "answered");
        Ok(Next::Request)
    }

    /// A message that is not a request.
    async fn serve_other(&mut self, header: &Header) -> Result<Next, Error> {
        if header.decode::<Alive>().is_ok() {
            // `Deadline::Pace` has heard it already.
            return Ok(Next::Skipped);
        }
        // Nothing says whether a body follows, so the next message cannot be found.
        let line = "a request is a JSON object with a whole number `id`";
        self.settle().await?;
        self.refuse(None, Refusal::new(Code::Malformed, line)).await?;
        Ok(Next::End)
    }

    /// Refuses a request, after the replies to those before it.
    fn queue_refusal(&mut self, id: u64, refusal: Refusal) {
        tracing::debug!(id, code = %refusal.code, %refusal, "refused");
        if self.group.is_empty() {
            self.channel.queue(&Refused { id: Some(id), error: refusal });
        } else {
            self.group.refuse(id, refusal);
        }
    }

    /// Drains what the command left unread of its body, then sends the replies. If more requests are here, replies are
    /// batched for a short time.
    async fn send_replies(&mut self) -> Result<(), Error> {
        self.channel.drain_body().await?;
        if self.channel.connection().has_input() && self.flushed.elapsed() < FLUSH_EVERY {
            return self.channel.make_room().await;
        }
        self.flushed = Instant::now();
        self.channel.flush().await
    }

    /// Whether the client may do more than greet and log in. Until then it has tight limits on time, memory and threads.
    fn is_admitted(&self) -> bool {
        self.phase.is_greeted() && self.caller.is_admitted()
    }
}

#[cfg(test)]
mod tests;
