//! Many small files to the server, one behind the other: none waits for the reply to the one before it, so that a file
//! costs no round trip, and the server can make many of them durable at once.

use std::collections::VecDeque;

use ftpish_protocol::message::{Command, Stored, Time};
use ftpish_protocol::{Error as ProtocolError, SendError, Sent, send_body};
use ftpish_storage::SourceFile;

use crate::upload::{confirm, mismatch};
use crate::{Client, Error, Progress, Transferred, Upload};

/// Up to how many bytes a file is sent in this way. A larger one is worth a round trip, and may be worth resuming.
pub const SMALL_FILE: u64 = 1024 * 1024;

/// How many files may be on their way. Their replies fit the smallest of sockets: a server that could not send them would
/// read no more, and we would both wait.
const FILES_IN_FLIGHT: usize = 128;

/// How many bytes may be on their way, or on the server, without a reply: what is lost at the most when a connection
/// breaks.
const BYTES_IN_FLIGHT: u64 = 32 * 1024 * 1024;

/// A file that was sent, and whose reply has not come.
struct Waiting {
    id: u64,
    upload: Upload,
    /// What left; or why it did not, which the server was told in its place.
    sent: Result<(Sent, Time), Error>,
}

/// The files that wait for their replies, in the order in which they left.
struct Uploads<'a> {
    client: &'a mut Client,
    waiting: VecDeque<Waiting>,
    bytes: u64,
    /// How many bytes have left, acknowledged or not.
    done: u64,
    progress: &'a Progress,
    outcome: &'a mut dyn FnMut(Upload, Result<Transferred, Error>),
}

impl Client {
    /// Stores small files, without a round trip for each, and tells the `outcome` of every one: of those that were sent
    /// in their order. Where the connection breaks, that is the outcome of all that were not acknowledged by then;
    /// each of them is on the server as a whole, or not at all.
    pub fn upload_many(
        &mut self,
        uploads: impl IntoIterator<Item = Upload>,
        progress: &Progress,
        outcome: &mut dyn FnMut(Upload, Result<Transferred, Error>),
    ) {
        let mut all =
            Uploads { client: self, waiting: VecDeque::new(), bytes: 0, done: 0, progress, outcome };
        for upload in uploads {
            all.send(upload);
            while all.is_full() || all.has_reply() {
                all.receive();
            }
        }
        while !all.waiting.is_empty() {
            all.receive();
        }
    }
}

impl Uploads<'_> {
    fn is_full(&self) -> bool {
        self.waiting.len() >= FILES_IN_FLIGHT || self.bytes > BYTES_IN_FLIGHT
    }

    /// Whether a reply is there to be read. They are read as they come, so that they cannot fill the way back.
    fn has_reply(&mut self) -> bool {
        if self.waiting.is_empty() || !self.has_input() {
            return false;
        }
        // Behind the reply to `hello` there may be none yet.
        self.client.greeting.is_done() || self.client.greet().is_err() || self.has_input()
    }

    fn has_input(&mut self) -> bool {
        let connection = &mut self.client.connection;
        connection.has_input() || !matches!(connection.stream().is_readable(), Ok(false))
    }

    fn send(&mut self, upload: Upload) {
        if self.client.interrupt.is_set() {
            return (self.outcome)(upload, Err(Error::Interrupted));
        }
        let file = match SourceFile::open(&upload.from) {
            Ok(file) => file,
            Err(refusal) => {
                let error = Error::Local { path: upload.from.clone(), refusal };
                return (self.outcome)(upload, Err(error));
            }
        };
        let (put, mtime) = (upload.put(&file), file.mtime());
        let id = match self.client.send(&Command::Put(put), true) {
            Ok(id) => id,
            Err(error) => return (self.outcome)(upload, Err(error)),
        };
        let (progress, base) = (self.progress, self.done);
        let sent =
            send_body(&mut self.client.connection, &mut file.reader(), upload.digest, &mut |_, done| {
                progress.set_done(base + done);
                true
            });
        let sent = match sent {
            Ok(sent) => {
                self.bytes += sent.length;
                self.done += sent.length;
                progress.set_done(self.done);
                Ok((sent, mtime))
            }
            Err(SendError::Connection(error)) => {
                let error = self.client.note(error.into());
                return (self.outcome)(upload, Err(error));
            }
            // The body was aborted, and the server refuses it in its turn.
            Err(SendError::Source(error)) => Err(Error::local(&upload.from, error)),
            Err(SendError::Stopped) => Err(Error::Interrupted),
        };
        self.waiting.push_back(Waiting { id, upload, sent });
    }

    /// Receives the reply to the file that has waited longest.
    fn receive(&mut self) {
        let Some(Waiting { id, upload, sent }) = self.waiting.pop_front() else { return };
        let reply = if self.client.broken {
            Err(Error::Connection(ProtocolError::Closed))
        } else {
            self.client.receive::<Stored>(id, &Progress::default()).map_err(mismatch)
        };
        let done = match (sent, reply) {
            (Ok((sent, mtime)), Ok(stored)) => {
                self.bytes -= sent.length;
                confirm(sent.digest, sent.length, &stored).map(|()| Transferred {
                    size: stored.size,
                    moved: sent.length,
                    digest: stored.digest,
                    mtime: Some(mtime),
                })
            }
            (Ok((sent, _)), Err(error)) => {
                self.bytes -= sent.length;
                Err(error)
            }
            (Err(error), _) => Err(error),
        };
        (self.outcome)(upload, done);
    }
}
