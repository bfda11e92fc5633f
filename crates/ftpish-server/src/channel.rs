//! A session's connection and its turns together: whatever waits for the client gives the thread back.

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::{Arrived, BodyError, Connection, Error, SendError};
use ftpish_transport::{Deadline, Readiness, Stream, Wait};
use serde::Serialize;

use crate::turn::{Class, Turn};

/// What a step fails with that moves something over a connection.
pub(crate) trait StepError {
    /// Whether the step is to be repeated when the connection is ready.
    fn would_wait(&self) -> bool;
}

impl StepError for Error {
    fn would_wait(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl StepError for BodyError {
    fn would_wait(&self) -> bool {
        matches!(self, Self::Connection(error) if error.would_wait())
    }
}

impl StepError for SendError {
    fn would_wait(&self) -> bool {
        matches!(self, Self::Connection(error) if error.would_wait())
    }
}

/// A connection whose stream does not wait, and the turns of the session that does.
pub(crate) struct Channel {
    connection: Connection<Stream>,
    turn: Arc<Turn>,
}

impl Channel {
    pub(crate) fn new(connection: Connection<Stream>, turn: Arc<Turn>) -> Self {
        Self { connection, turn }
    }

    /// The connection, for what does not wait.
    pub(crate) fn connection(&mut self) -> &mut Connection<Stream> {
        &mut self.connection
    }

    /// The session's turns.
    pub(crate) fn turn(&self) -> &Turn {
        &self.turn
    }

    /// Says when waits for the client from now on are over.
    pub(crate) fn set_deadline(&mut self, deadline: Deadline) {
        self.connection.stream().set_deadline(deadline);
    }

    /// Repeats a step until the connection does not make it wait. It is what a body, or a reply, is moved by.
    pub(crate) async fn step<T, E: StepError>(
        &mut self,
        mut step: impl FnMut(&mut Connection<Stream>) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            match step(&mut self.connection) {
                Err(error) if error.would_wait() => self.until_ready(Class::Transfer).await,
                done => return done,
            }
        }
    }

    /// Waits until what would have waited is worth another try. A client that does not go on at once costs no thread
    /// meanwhile, and little memory.
    async fn until_ready(&mut self, class: Class) {
        let Some(wait) = self.connection.stream().wait() else { return };
        if self.turn.linger(wait).await {
            return;
        }
        self.give_back();
        self.turn.set_class(class);
        self.turn.rest(wait).await;
    }

    /// Gives back the memory that nothing needs while the session has no thread.
    fn give_back(&mut self) {
        self.connection.rest();
        self.connection.stream().rest();
    }

    /// Lets others have a turn if any wait, and this one has lasted.
    pub(crate) async fn breathe(&mut self) {
        if self.turn.is_over() {
            // What the socket takes need not be kept. What is wrong with it, the next step finds, too.
            let _ = self.connection.flush();
            self.give_back();
            self.turn.breathe().await;
        }
    }

    /// Waits until more of the next message is here, as `until_ready` does; a client that has not greeted yet is given no
    /// thread to wait with.
    pub(crate) async fn arrive(&mut self, class: Class) -> Result<Arrived, Error> {
        match self.connection.arrive()? {
            Arrived::Part => {}
            arrived => return Ok(arrived),
        }
        let Some(wait) = self.connection.stream().wait() else { return Ok(Arrived::Part) };
        if class == Class::Greeting || !self.turn.linger(wait).await {
            self.connection.rest_for_long();
            self.connection.stream().rest();
            self.turn.set_class(class);
            self.turn.rest(wait).await;
        }
        self.connection.arrive()
    }

    /// Queues a message.
    pub(crate) fn queue(&mut self, message: &impl Serialize) {
        self.connection.queue(message);
    }

    /// Sends all that is queued.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        self.step(Connection::flush).await
    }

    /// Sends all that is queued, if that is much.
    pub(crate) async fn make_room(&mut self) -> Result<(), Error> {
        self.step(Connection::make_room).await
    }

    /// Says that nothing more is sent, and throws away what the client sends until it closes; for so long, and so many
    /// bytes, at the most.
    pub(crate) async fn hear_out(&mut self, limit: Duration, most: usize) {
        let (socket, until) = (self.connection.stream().socket(), Instant::now() + limit);
        if socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // Not in the session's future, where it would be all the time.
        let (mut buffer, mut heard) = (vec![0; 4096], 0);
        while heard < most && Instant::now() < until {
            match (&*socket).read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => heard += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.turn.rest(Wait { readiness: Readiness::Read, until }).await;
                }
                Err(_) => return,
            }
        }
    }

    /// Reads and throws away what is left of a body.
    pub(crate) async fn drain_body(&mut self) -> Result<(), Error> {
        self.step(Connection::drain_body).await
    }
}
