//! One connection's requests, one after the other: receive, permit, dispatch, answer. The session owns framing and
//! policy, so no command can forget either: what a command leaves unread of a body is drained here.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::message::{Command, Envelope, Refused};
use ftpish_protocol::text::brief;
use ftpish_protocol::{Arrived, Code, Connection, Error, Header, MAX_HEADER, Refusal};
use ftpish_storage::{Nearby, Root};
use ftpish_transport::{Deadline, Stream};

use crate::accounts::{Accounts, Rights, Seat, challenge};
use crate::commands;
use crate::commands::login::Peer;
use crate::commands::part::Uploads;
use crate::commands::resume::Upload;
use crate::commands::tree::Cursor;
use crate::connections::{Full, Place};
use crate::exchange::{Exchange, Failure};
use crate::group::Group;
use crate::limits::STRANGERS_HEADER;
use crate::room;
use crate::{Limits, Policy};

/// How long a client may think about its next request before it rests.
const LINGER: Duration = Duration::from_millis(5);

/// For how long a reply may lie here while there is more to read: replies leave together, but whoever digests many files is
/// at work for long, and so might the client be meanwhile.
const FLUSH_EVERY: Duration = Duration::from_millis(10);

/// What every session of a server shares.
pub(crate) struct Service {
    /// The root of all who have none of their own.
    pub(crate) served: Root,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    /// Files that come over several connections.
    pub(crate) uploads: Uploads,
    /// Everybody may do what the policy permits where there are none.
    pub(crate) accounts: Option<Accounts>,
}

/// A connection whose transport is set up.
pub(crate) struct Session {
    connection: Connection<Stream>,
    service: Arc<Service>,
    /// When a stranger must have become none.
    greeting: Instant,
    /// Why there is no room for the client, where that is so.
    full: Option<Full>,
    /// Since when the client has asked for nothing.
    idle_since: Instant,
    /// When replies were last sent although there was more to read, or because there was not.
    flushed: Instant,
    /// Since when a request has been there in part.
    partial_since: Option<Instant>,
    greeted: bool,
    /// What a key has to sign to log in here.
    challenge: String,
    peer: Peer,
    /// What the user who logged in may do.
    rights: Option<Arc<Rights>>,
    /// That user's place among the user's connections.
    seat: Option<Seat>,
    /// Where the client's paths begin.
    root: Root,
    /// What a `resume` found, for the `put` that follows it.
    upload: Option<Upload>,
    /// The small puts that are answered together, once the client waits for it.
    group: Group,
    /// Where the listing of a tree goes on.
    cursor: Cursor,
}

/// What comes next.
pub(crate) enum Turn {
    /// The same, but the client is a stranger no more.
    Admitted,
    /// Nothing, until the client sends something; or, at this time, nothing any more.
    Rest(Instant),
    /// Nothing any more.
    End,
}

/// Whether there may be a next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    End,
}

impl Session {
    /// A connection that was accepted just now. The first request must be there at `greeting`; where there are too many, it is
    /// told so.
    pub(crate) fn new(
        stream: Stream,
        service: Arc<Service>,
        peer: Peer,
        greeting: Instant,
        full: Option<Full>,
    ) -> Self {
        let mut connection = Connection::new(stream);
        connection.set_max_header(STRANGERS_HEADER);
        Self {
            connection,
            root: service.served.clone(),
            service,
            greeting,
            full,
            idle_since: Instant::now(),
            flushed: Instant::now(),
            partial_since: None,
            greeted: false,
            challenge: challenge(),
            peer,
            rights: None,
            seat: None,
            upload: None,
            group: Group::default(),
            cursor: Cursor::default(),
        }
    }

    /// The socket below.
    pub(crate) fn socket(&mut self) -> Arc<socket2::Socket> {
        self.connection.stream().socket()
    }

    /// Serves requests until the client has sent no more, leaves, breaks the protocol or is too slow, or the server drains.
    ///
    /// At rest, a session holds its connection, and what a client may go on with: an upload, a listing.
    pub(crate) fn turn(&mut self, place: &Place) -> Result<Turn, Error> {
        let turn = self.serve(place);
        if matches!(turn, Ok(Turn::End) | Err(_)) {
            self.end();
        }
        turn
    }

    /// Leaves a client that has rested for too long.
    pub(crate) fn leave(&mut self) -> Result<(), Error> {
        self.end();
        let late = io::Error::new(io::ErrorKind::TimedOut, "the peer took too long");
        self.give_up(late.into()).map(drop)
    }

    /// What nobody was told of was not stored: it must not replace what others have stored meanwhile.
    fn end(&mut self) {
        self.group.abandon();
        if let Some(upload) = self.upload.take() {
            upload.abandon();
        }
    }

    fn serve(&mut self, place: &Place) -> Result<Turn, Error> {
        loop {
            if self.group.is_full() {
                self.group.advance(&self.root, &mut self.connection, &self.service.limits)?;
            }
            if self.group.is_empty() && place.is_draining() {
                return self.go_down();
            }
            match self.arrive(Deadline::Now) {
                Ok(Arrived::Whole) => {}
                Ok(Arrived::End) => return self.settle().and_then(|()| self.flush_end()),
                Ok(Arrived::Part) if !self.group.is_empty() => {
                    self.settle()?;
                    continue;
                }
                Ok(Arrived::Part) => {
                    self.connection.flush()?;
                    if !place.set_idle(true) {
                        return self.go_down();
                    }
                    match self.linger() {
                        Ok(Arrived::Part) => return Ok(Turn::Rest(self.rest())),
                        Ok(_) => {
                            place.set_idle(false);
                            continue;
                        }
                        Err(error) => return self.give_up(error).map(|_| Turn::End),
                    }
                }
                Err(error) => return self.give_up(error).map(|_| Turn::End),
            }
            self.partial_since = None;
            place.set_idle(false);
            if let Some(full) = self.full {
                return self.turn_away(full);
            }
            let was_admitted = self.is_admitted();
            if self.serve_one()? == Next::End {
                return self.flush_end();
            }
            self.idle_since = Instant::now();
            if self.is_admitted() && !was_admitted {
                self.connection.set_max_header(MAX_HEADER);
                self.connection.stream().trust();
                place.admit();
                return Ok(Turn::Admitted);
            }
        }
    }

    /// Reads the next request as far as it comes until the deadline.
    fn arrive(&mut self, deadline: Deadline) -> Result<Arrived, Error> {
        self.connection.stream().set_deadline(deadline);
        let arrived = self.connection.arrive();
        let pace = self.pace();
        self.connection.stream().set_deadline(pace);
        arrived
    }

    /// How long the client may take while something moves.
    fn pace(&self) -> Deadline {
        if self.is_admitted() { self.service.limits.moving() } else { Deadline::At(self.greeting) }
    }

    /// Waits a little for a client that goes on at once: to rest takes longer.
    fn linger(&mut self) -> Result<Arrived, Error> {
        if !self.is_admitted() {
            return Ok(Arrived::Part);
        }
        match self.arrive(Deadline::after(LINGER)) {
            Err(error) if error.is_timeout() => Ok(Arrived::Part),
            arrived => arrived,
        }
    }

    /// Gives back what is not needed at rest; tells until when the client has time.
    fn rest(&mut self) -> Instant {
        self.connection.rest();
        self.connection.stream().rest();
        let limits = &self.service.limits;
        if !self.is_admitted() {
            self.greeting
        } else if self.connection.has_input() {
            *self.partial_since.get_or_insert_with(Instant::now) + limits.request
        } else {
            // One that has been told what is here of its file reads its own side of it now.
            let reading = self.upload.as_ref().map_or(Duration::ZERO, Upload::time_to_read);
            self.idle_since + limits.idle + reading
        }
    }

    fn flush_end(&mut self) -> Result<Turn, Error> {
        self.connection.flush().map(|()| Turn::End)
    }

    fn go_down(&mut self) -> Result<Turn, Error> {
        let line = "the server is going down";
        self.refuse(None, Refusal::new(Code::ShuttingDown, line)).map(|()| Turn::End)
    }

    /// Commits the puts that wait for each other, and answers them.
    fn settle(&mut self) -> Result<(), Error> {
        self.group.settle(&self.root, &mut self.connection, &self.service.limits)
    }

    /// Tells the client that it is too much, in answer to its first request.
    fn turn_away(&mut self, full: Full) -> Result<Turn, Error> {
        let id = match self.connection.receive()? {
            None => return Ok(Turn::End),
            Some(header) => header.decode::<Envelope>().ok().map(|envelope| envelope.id),
        };
        let line = match full {
            Full::InAll => "the server has as many connections as it takes: try again later",
            Full::FromThere => {
                "this address has as many connections as one may: close some, or try again later"
            }
            Full::Strangers => "as many are about to log in as may at a time: try again later",
        };
        self.refuse(id, Refusal::new(Code::Busy, line)).map(|()| Turn::End)
    }

    fn serve_one(&mut self) -> Result<Next, Error> {
        let header = match self.connection.receive() {
            Ok(Some(header)) => header,
            Ok(None) => return self.settle().map(|()| Next::End),
            Err(error) => return self.give_up(error),
        };
        let Ok(envelope) = header.decode::<Envelope>() else {
            // Whether a body follows cannot be known, so neither can what comes next.
            let line = "a request is a JSON object with a whole number `id`";
            self.settle()?;
            self.refuse(None, Refusal::new(Code::Malformed, line))?;
            return Ok(Next::End);
        };
        if envelope.body {
            self.connection.begin_body();
        }
        self.connection.answer(Some(&header).filter(|_| !envelope.body));
        let began = Instant::now();
        let outcome = self.answer(envelope.id, &header);
        match outcome {
            Ok(()) => {}
            Err(Failure::Refused(refusal)) => {
                tracing::debug!(id = envelope.id, code = %refusal.code, %refusal, "refused");
                if self.group.is_empty() {
                    self.connection.send(&Refused { id: Some(envelope.id), error: refusal })?;
                } else {
                    self.group.refuse(envelope.id, refusal);
                }
            }
            Err(Failure::Broken(error)) => return self.give_up(error),
        }
        if envelope.body && self.service.accounts.is_some() && !self.is_admitted() {
            // A stranger's body is read so that the refusal before it arrives, but not for long.
            self.connection.stream().set_deadline(Deadline::after(self.service.limits.request));
        }
        // While the client has not taken what is queued, it is not idle; with more to read it is not anyway, and the
        // replies leave together, if they do soon.
        let drained = self.connection.drain_body();
        let flushed = if self.connection.has_input() && self.flushed.elapsed() < FLUSH_EVERY {
            drained
        } else {
            self.flushed = Instant::now();
            drained.and_then(|()| self.connection.flush())
        };
        if let Err(error) = flushed {
            return self.give_up(error);
        }
        tracing::debug!(id = envelope.id, took = ?began.elapsed(), "answered");
        Ok(Next::Request)
    }

    fn answer(&mut self, id: u64, header: &Header) -> Result<(), Failure> {
        // An upload waits for the very next request: whatever is not its put gives it up.
        let mut upload = self.upload.take();
        let answered = self.dispatch(id, header, &mut upload);
        if let Some(upload) = upload {
            upload.abandon();
        }
        answered
    }

    fn dispatch(&mut self, id: u64, header: &Header, upload: &mut Option<Upload>) -> Result<(), Failure> {
        let command = Command::decode(header)?;
        tracing::debug!(id, ?command, "request");
        if !self.greeted && !matches!(command, Command::Hello(_)) {
            return Err(Refusal::new(Code::HelloFirst, "the first request is `hello`").into());
        }
        self.permit(&command)?;
        let is_slow = room::is_slow(&command, &self.root);
        if is_slow || !self.group.admits(&command) {
            self.settle()?;
        }
        let exchange = &mut Exchange::new(&mut self.connection, &self.service.limits, id);
        let root = &self.root;
        if is_slow {
            if matches!(&command, Command::Resume(args) if commands::resume::is_ahead(args)) {
                return Err(commands::resume::ask_first().into());
            }
            room::prepare(&command, root, exchange)?;
        }
        match command {
            Command::Hello(args) => {
                commands::hello::run(&args, self.service.accounts.as_ref(), &self.challenge, exchange)?;
                tracing::info!(agent = %brief(&args.agent), "hello");
                self.greeted = true;
                Ok(())
            }
            Command::Login(args) => {
                let accounts = self.service.accounts.as_ref();
                let served = &self.service.served;
                let (rights, seat) =
                    commands::login::run(&args, accounts, self.peer, &self.challenge, served, exchange)?;
                self.connection.stream().set_throttle(seat.throttle.clone());
                // What was listed before, and where files went, is somebody else's.
                (self.root, self.cursor) = (seat.root.clone(), Cursor::default());
                self.group.nearby = Nearby::default();
                (self.rights, self.seat) = (Some(rights), Some(seat));
                tracing::info!(user = %brief(&args.user), by = args.proof.name(), "login");
                Ok(())
            }
            Command::Ls(args) => commands::ls::run(&args, root, exchange),
            Command::Tree(args) => commands::tree::run(&args, root, &mut self.cursor, exchange),
            Command::Stat(args) => commands::stat::run(&args, root, exchange),
            Command::Get(args) => commands::get::run(&args, root, exchange),
            Command::Put(args) => commands::put::run(&args, root, upload, &mut self.group, exchange),
            Command::Blocks(args) => commands::blocks::run(&args, root, exchange),
            Command::Resume(args) => {
                self.upload = commands::resume::run(&args, root, &self.service.uploads, exchange)?;
                Ok(())
            }
            Command::Part(args) => {
                // An upload waits while parts of it come on its own connection, too.
                self.upload = upload.take_if(|upload| upload.is_of(&args));
                commands::part::run(&args, self.upload.as_ref(), &self.service.uploads, exchange)
            }
            Command::Mkdir(args) => commands::mkdir::run(&args, root, &mut self.group, exchange),
            Command::Symlink(args) => commands::symlink::run(&args, root, exchange),
            Command::Link(args) => commands::link::run(&args, root, &mut self.group, exchange),
            Command::Set(args) => commands::set::run(&args, root, exchange),
            Command::Rm(args) => commands::rm::run(&args, root, &mut self.group, exchange),
            Command::Mv(args) => commands::mv::run(&args, root, exchange),
            Command::Hash(args) => commands::hash::run(&args, root, exchange),
            Command::Df(args) => commands::df::run(&args, root, exchange),
            Command::Unknown => Err(Refusal::new(Code::Unsupported, "no such command").into()),
        }
    }

    /// What the client may do; `None` where it has to log in first.
    fn permit(&self, command: &Command) -> Result<(), Refusal> {
        let Service { policy, accounts, .. } = &*self.service;
        match accounts {
            None => policy.permit(command),
            Some(accounts) => {
                policy.permit_client(command, self.rights.as_deref().or_else(|| accounts.anonymous()))
            }
        }
    }

    /// Whether the client may be more patient than a stranger: it said hello, and logged in where that is needed.
    pub(crate) fn is_admitted(&self) -> bool {
        let open = self.service.accounts.as_ref().is_none_or(|accounts| accounts.anonymous().is_some());
        self.greeted && (open || self.rights.is_some())
    }

    /// Tells a client that broke the protocol or was too slow why it is left, as well as that can still be done.
    fn give_up(&mut self, error: Error) -> Result<Next, Error> {
        let code = match &error {
            Error::HeaderTooLarge { .. } | Error::ChunkTooLarge { .. } => Code::TooLarge,
            Error::Malformed(_) => Code::Malformed,
            error if error.is_timeout() => Code::Timeout,
            Error::Io(_) | Error::Closed => return Err(error),
        };
        // Whoever was too slow has left others the time to store something else.
        if code != Code::Timeout {
            self.settle()?;
        }
        self.connection.stream().set_deadline(Deadline::after(Duration::from_secs(1)));
        let _ = self.refuse(None, Refusal::new(code, error.to_string()));
        Err(error)
    }

    fn refuse(&mut self, id: Option<u64>, error: Refusal) -> Result<(), Error> {
        if !self.connection.stream().is_set_up() {
            // Nothing can be said before the end of a handshake that may never end.
            return Ok(());
        }
        self.connection.send(&Refused { id, error })?;
        self.connection.flush()
    }
}
