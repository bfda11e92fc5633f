//! One connection's requests, one after the other: receive, permit, dispatch, answer. The session owns framing and
//! policy, so no command can forget either: what a command leaves unread of a body is drained here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::message::{Command, Envelope, Refused};
use ftpish_protocol::text::brief;
use ftpish_protocol::{Code, Connection, Error, Header, MAX_HEADER, Refusal};
use ftpish_storage::Root;
use ftpish_transport::{Deadline, Stream};

use crate::accounts::{Accounts, Rights};
use crate::commands;
use crate::commands::login::Peer;
use crate::commands::part::Uploads;
use crate::commands::resume::Upload;
use crate::commands::tree::Cursor;
use crate::connections::{Full, Place};
use crate::exchange::{Exchange, Failure};
use crate::group::Group;
use crate::limits::STRANGERS_HEADER;
use crate::{Limits, Policy};

/// What every session of a server shares.
pub(crate) struct Service {
    pub(crate) root: Root,
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
    greeted: bool,
    peer: Peer,
    /// What the user who logged in may do.
    rights: Option<Arc<Rights>>,
    /// What a `resume` found, for the `put` that follows it.
    upload: Option<Upload>,
    /// The small puts that are answered together, once the client waits for it.
    group: Group,
    /// Where the listing of a tree goes on.
    cursor: Cursor,
}

/// Whether there may be a next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    End,
}

impl Session {
    pub(crate) fn new(stream: Stream, service: Arc<Service>, peer: Peer) -> Self {
        let mut connection = Connection::new(stream);
        connection.set_max_header(STRANGERS_HEADER);
        Self {
            connection,
            service,
            greeted: false,
            peer,
            rights: None,
            upload: None,
            group: Group::default(),
            cursor: Cursor::default(),
        }
    }

    /// Serves requests until the client leaves, breaks the protocol or is too slow, or the server drains. `greeting`
    /// is when the first request must be there.
    ///
    /// Between requests, in [`Connection::wait`], a session holds nothing but its connection.
    pub(crate) fn run(&mut self, place: &Place, greeting: Deadline) -> Result<(), Error> {
        let ended = self.serve(place, greeting);
        // What nobody was told of was not stored: it must not replace what others have stored meanwhile.
        self.group.abandon();
        if let Some(upload) = self.upload.take() {
            upload.abandon();
        }
        ended
    }

    fn serve(&mut self, place: &Place, greeting: Deadline) -> Result<(), Error> {
        self.connection.stream().set_deadline(greeting);
        loop {
            if !self.group.is_empty() && !self.has_input() {
                self.settle()?;
                self.expect_request(greeting);
            } else if self.group.is_full() {
                self.group.advance(&self.service.root, &mut self.connection, &self.service.limits)?;
                self.expect_request(greeting);
            }
            // While somebody waits for a reply, the connection is not idle.
            if self.group.is_empty() && !place.set_idle(true) {
                return self.refuse(None, Refusal::new(Code::ShuttingDown, "the server is going down"));
            }
            match self.connection.wait() {
                Ok(true) => {}
                Ok(false) => return self.settle().and_then(|()| self.connection.flush()),
                Err(error) => return self.give_up(error).map(drop),
            }
            place.set_idle(false);
            if self.is_admitted() {
                self.connection.stream().set_deadline(Deadline::after(self.service.limits.request));
            }
            let was_admitted = self.is_admitted();
            if self.serve_one()? == Next::End {
                return self.connection.flush();
            }
            if self.is_admitted() && !was_admitted {
                self.connection.set_max_header(MAX_HEADER);
                self.connection.stream().trust();
                place.admit();
            }
            self.expect_request(greeting);
        }
    }

    /// Lets the client take its time until the next request.
    fn expect_request(&mut self, greeting: Deadline) {
        // One that has been told what is here of its file reads its own side of it now.
        let reading = self.upload.as_ref().map_or(Duration::ZERO, Upload::time_to_read);
        let admitted = self.is_admitted();
        self.connection.stream().set_deadline(if admitted {
            Deadline::after(self.service.limits.idle + reading)
        } else {
            greeting
        });
    }

    /// Whether the client has sent more than was read of it.
    fn has_input(&mut self) -> bool {
        self.connection.has_input() || self.connection.stream().is_readable().unwrap_or(false)
    }

    /// Commits the puts that wait for each other, and answers them.
    fn settle(&mut self) -> Result<(), Error> {
        self.group.settle(&self.service.root, &mut self.connection, &self.service.limits)
    }

    /// Tells the client that it is too much, in answer to its first request.
    pub(crate) fn turn_away(&mut self, full: Full, greeting: Deadline) -> Result<(), Error> {
        self.connection.stream().set_deadline(greeting);
        let id = match self.connection.receive()? {
            None => return Ok(()),
            Some(header) => header.decode::<Envelope>().ok().map(|envelope| envelope.id),
        };
        let line = match full {
            Full::InAll => "the server has as many connections as it takes: try again later",
            Full::FromThere => {
                "this address has as many connections as one may: close some, or try again later"
            }
            Full::Strangers => "as many are about to log in as may at a time: try again later",
        };
        self.refuse(id, Refusal::new(Code::Busy, line))
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
        self.connection.stream().set_deadline(self.service.limits.moving());
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
        // replies leave together.
        let drained = self.connection.drain_body();
        let flushed = if self.connection.has_input() {
            drained
        } else {
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
        if !self.group.admits(&command) {
            self.settle()?;
        }
        let exchange = &mut Exchange::new(&mut self.connection, &self.service.limits, id);
        let root = &self.service.root;
        match command {
            Command::Hello(args) => {
                commands::hello::run(&args, self.service.accounts.as_ref(), exchange)?;
                tracing::info!(agent = %brief(&args.agent), "hello");
                self.greeted = true;
                Ok(())
            }
            Command::Login(args) => {
                let accounts = self.service.accounts.as_ref();
                self.rights = Some(commands::login::run(&args, accounts, self.peer, exchange)?);
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
                commands::part::run(&args, &self.service.uploads, exchange)
            }
            Command::Mkdir(args) => commands::mkdir::run(&args, root, &mut self.group, exchange),
            Command::Symlink(args) => commands::symlink::run(&args, root, exchange),
            Command::Set(args) => commands::set::run(&args, root, exchange),
            Command::Rm(args) => commands::rm::run(&args, root, exchange),
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
    fn is_admitted(&self) -> bool {
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
        self.connection.send(&Refused { id, error })?;
        self.connection.flush()
    }
}
