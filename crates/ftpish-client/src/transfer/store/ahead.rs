//! The beginning of a large file, which leaves along with the question whether something of it is there already: mostly
//! nothing is, and then no round trip was spent on asking. Where something is, the server says so at once, and what was
//! sent ahead is lost.

use std::collections::VecDeque;

use ftpish_protocol::blocks::{BLOCK_DIGEST, Blocks};
use ftpish_protocol::message::{Command, Cut, Done, PartArgs, Resume};
use ftpish_protocol::{Algorithm, Code, Connection, Header, Secret, SendError, receive_body, send_part};
use ftpish_transport::Stream;

use super::Store;
use crate::client::{Greeting, Timeouts, receive_message, receive_reply};
use crate::transfer::parts::{Leaves, Part};
use crate::transfer::upload::Upload;
use crate::{Client, Error, Progress};

/// How much is sent ahead at the most: more than is on its way over a long line. It leaves in parts of one block, so
/// that others soon join in.
const MOST: u64 = 64 * 1024 * 1024;

/// What was sent ahead, and is not lost.
pub(crate) struct Begun {
    /// What the server calls the upload.
    pub(crate) name: Secret,
    /// The parts that it has not yet answered.
    pub(crate) sent: VecDeque<Leaves>,
    /// Where they end.
    pub(crate) end: u64,
}

/// What the server said.
enum Told {
    /// That nothing was there, and how it calls the upload.
    Nothing(Secret),
    /// That it is to be asked, and waited for.
    AskFirst,
}

impl Client {
    /// Sends the beginning of a file. None where the server has something of it, which it is to be asked for, or may
    /// have.
    pub(crate) fn begin_ahead(&mut self, store: &Store<'_>) -> Result<Option<Begun>, Error> {
        let Store { upload: Upload { to: path, replace, .. }, file, blocks, .. } = *store;
        let (path, replace, parts) = (path.clone(), *replace, true);
        let (size, mtime) = (blocks.size(), file.mtime());
        let resume = Resume { path, size, mtime, repair: false, replace, parts, ahead: true };
        let id = self.send(&Command::Resume(resume), false)?;
        let awaited = Awaited { id, request: self.asked.pop_back().map(|(_, request)| request), blocks };
        let (mut told, mut sent, mut end) = (None, VecDeque::new(), 0);
        for range in blocks.subtrees(&(0..size.min(MOST.max(blocks.block()))), blocks.block()) {
            let part = Part { range, attempt: 0 };
            end = part.range.end;
            sent.push_back(self.send_first(part, store, &mut |it, greeting, limits| {
                if told.is_none() {
                    told = awaited.look(it, greeting, limits).transpose();
                }
                matches!(told, None | Some(Ok(Told::Nothing(_))))
            })?);
            if told.is_some() || sent.back().is_some_and(|leaves| leaves.digests.is_err()) {
                break;
            }
        }
        self.note_greeted();
        let told = match told {
            Some(told) => told,
            None => {
                self.greet()?;
                let Self { connection, greeting, timeouts, .. } = self;
                loop {
                    let told = awaited.hear(connection, greeting, timeouts);
                    if let Some(told) = told.transpose() {
                        break told;
                    }
                }
            }
        };
        if let Ok(Told::Nothing(name)) = told {
            return Ok(Some(Begun { name, sent, end }));
        }
        let told = told.map_err(|error| self.note(error));
        if !self.greeting.is_done() {
            // Whoever refuses the greeting refuses all that was sent along with it.
            self.broken = true;
        }
        if !self.broken {
            self.forget(sent)?;
        }
        told.map(|_| None)
    }

    /// Sends one part; `look` is called between its chunks, and tells whether to go on.
    fn send_first(
        &mut self,
        part: Part,
        Store { upload, file, blocks, progress, .. }: &Store<'_>,
        look: &mut dyn FnMut(&mut Connection<Stream>, &mut Greeting, &Timeouts) -> bool,
    ) -> Result<Leaves, Error> {
        let range = &part.range;
        let local = |refusal| Error::Local { path: upload.from.clone(), refusal };
        let mut source = file.ranges(vec![range.clone()]).map_err(local)?;
        let (path, offset, length) = (upload.to.clone(), range.start, range.end - range.start);
        let args = PartArgs { path, upload: None, offset, length, attempt: 0 };
        let id = self.send(&Command::Part(args), true)?;
        let Self { connection, greeting, timeouts, interrupt, .. } = self;
        let sent = send_part(connection, &mut source, *blocks, range.clone(), &mut |connection, done| {
            progress.set_done(range.start + done);
            look(connection, greeting, timeouts) && !interrupt.is_set()
        });
        let digests = match sent {
            Ok((_, digests)) => Ok(digests),
            Err(SendError::Connection(error)) => return Err(self.note(error.into())),
            _ if self.interrupt.is_set() => return Err(self.note(Error::Interrupted)),
            Err(SendError::Source(error)) => Err(Error::local(&upload.from, error)),
            // The server was told, and refuses it in its turn.
            Err(SendError::Stopped) => Err(Error::Interrupted),
        };
        Ok(Leaves { id, part, digests })
    }

    /// Receives the replies to parts that are worth nothing.
    fn forget(&mut self, sent: VecDeque<Leaves>) -> Result<(), Error> {
        for Leaves { id, .. } in sent {
            let nobody = &Progress::default();
            match receive_reply::<Done>(&mut self.connection, &self.timeouts, id, false, nobody) {
                Ok(Done {}) | Err(Error::Refused(_)) => {}
                Err(error) => return Err(self.note(error)),
            }
        }
        Ok(())
    }
}

/// What is listened for while parts leave: the answer to the `resume` in front of them.
struct Awaited {
    id: u64,
    /// The request, which its answer has to prove that it is to.
    request: Option<Header>,
    blocks: Blocks,
}

impl Awaited {
    /// Hears what the server says, if it says anything.
    fn look(
        &self,
        connection: &mut Connection<Stream>,
        greeting: &mut Greeting,
        timeouts: &Timeouts,
    ) -> Result<Option<Told>, Error> {
        let mut told = None;
        while told.is_none()
            && (connection.has_input() || !matches!(connection.stream().is_readable(), Ok(false)))
        {
            told = self.hear(connection, greeting, timeouts)?;
            connection.stream().set_deadline(timeouts.moving());
        }
        Ok(told)
    }

    /// Receives a message: the reply to `hello`; that the server is at work; or its answer, with all that belongs to it.
    fn hear(
        &self,
        connection: &mut Connection<Stream>,
        greeting: &mut Greeting,
        timeouts: &Timeouts,
    ) -> Result<Option<Told>, Error> {
        if !greeting.is_done() {
            return greeting.receive(connection, timeouts).map(|()| None);
        }
        let Self { id, request, blocks } = self;
        let cut = match receive_message::<Cut>(connection, timeouts, *id, true, &Progress::default()) {
            Ok(None) => return Ok(None),
            Ok(Some(cut)) => cut,
            Err(Error::Refused(refusal)) if refusal.code == Code::AskFirst => {
                return Ok(Some(Told::AskFirst));
            }
            Err(error) => return Err(error),
        };
        let is_ours = Blocks::new(cut.size, cut.block) == Some(*blocks);
        if !is_ours || cut.length > (blocks.count() * BLOCK_DIGEST) as u64 {
            return Err(Error::Protocol("blocks of another file".to_owned()));
        }
        connection.answer(request.as_ref());
        connection.begin_body();
        let (digests, length) = (&mut std::io::sink(), Some(cut.length));
        connection.stream().set_deadline(timeouts.moving());
        let received = receive_body(connection, digests, Algorithm::Blake3, length, &mut |_, _| true);
        let _digests = received.map_err(|error| Error::of_body(error, "-".as_ref()))?;
        match cut {
            Cut { ahead: true, length: 0, upload: Some(name), .. } => Ok(Some(Told::Nothing(name))),
            _ => Err(Error::Protocol("blocks of a file whose parts are under way".to_owned())),
        }
    }
}
