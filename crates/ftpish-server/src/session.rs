//! One connection's requests, one after the other: receive, permit, dispatch, answer. The session owns framing and
//! policy, so no command can forget either: what a command leaves unread of a body is drained here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::message::{Alive, Command, Envelope, Refused};
use ftpish_protocol::text::brief;
use ftpish_protocol::{Arrived, BLOCK, Code, Connection, Error, Header, MAX_HEADER, Refusal};
use ftpish_storage::{Nearby, Root, met_a_link};
use ftpish_transport::{Deadline, Stream};

use crate::accounts::{Accounts, Rights, UserSlot, challenge};
use crate::channel::Channel;
use crate::commands;
use crate::commands::login::Peer;
use crate::commands::part::Uploads;
use crate::commands::resume::Upload;
use crate::commands::tree::Cursor;
use crate::connections::{Activity, ConnectionSlot, Full};
use crate::exchange::{Bodies, Exchange, Failure};
use crate::group::Group;
use crate::limits::UNAUTHENTICATED_HEADER;
use crate::memory::Memory;
use crate::policy::paths;
use crate::quota_check;
use crate::turn::{Class, Party, Turn};
use crate::{Limits, Policy};

/// For how long a reply may lie here while there is more to read: replies leave together, but whoever digests many files is
/// at work for long, and so might the client be meanwhile.
const FLUSH_EVERY: Duration = Duration::from_millis(10);

/// For how long, and how far, it is read what a client still sends that was told why it is left. A connection that is closed
/// with bytes unread is reset, and takes with it what the client has not read yet (RFC 1122, section 4.2.2.13).
const LAST_WORDS: Duration = Duration::from_secs(1);
const LAST_BYTES: usize = 16 * 1024 * 1024;

/// For how long after a part of a file the next one is waited for while the server drains: a few round trips.
const BETWEEN_PARTS: Duration = Duration::from_secs(3);

/// For how long a request waits for a descriptor, and how often it is tried meanwhile: less than clients wait for a word.
const DESCRIPTOR_PATIENCE: Duration = Duration::from_secs(20);
const DESCRIPTOR_CHECK: Duration = Duration::from_millis(50);

/// How often a path is resolved anew that led through a link which was not there when it was resolved.
const MOST_LINKS_MET: usize = 8;

const SHORT_OF_MEMORY: &str = "the server is short of memory: try again later";

/// What every session of a server shares.
pub(crate) struct Service {
    /// The root of all who have none of their own.
    pub(crate) served: Root,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    /// Files that come over several connections.
    pub(crate) uploads: Uploads,
    /// Those that move now.
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) memory: Memory,
    /// Everybody may do what the policy permits where there are none.
    pub(crate) accounts: Option<Accounts>,
}

/// A connection whose transport is set up.
pub(crate) struct Session {
    channel: Channel,
    /// The right to be here.
    slot: ConnectionSlot,
    service: Arc<Service>,
    /// When a stranger must have become none.
    greeting: Instant,
    /// Why there is no room for the client, where that is so.
    full: Option<Full>,
    /// Since when the client has asked for nothing.
    idle_since: Instant,
    /// Whether the last request was for a part of a file, so that there may be another one for the same.
    in_parts: bool,
    /// When replies were last sent although there was more to read, or because there was not.
    flushed: Instant,
    greeted: bool,
    /// What a key has to sign to log in here.
    challenge: String,
    peer: Peer,
    /// What the user who logged in may do.
    rights: Option<Arc<Rights>>,
    /// That user's place among the user's connections.
    seat: Option<UserSlot>,
    /// Where the client's paths begin. No link is followed there for a user whose rights differ from place to place: paths
    /// are [resolved](Session::permit) before the rights to them are asked for.
    root: Root,
    /// What a `resume` found, for the `put` that follows it.
    upload: Option<Box<Upload>>,
    /// The small puts that are answered together, once the client waits for it.
    group: Group,
    /// Where the listing of a tree goes on.
    cursor: Cursor,
}

/// Whether there may be a next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    /// The same, but what came was none.
    Skipped,
    End,
}

impl Session {
    /// A connection that was accepted just now. The first request must be there at `greeting`; where there are too many, it is
    /// told so.
    pub(crate) fn new(
        stream: Stream,
        (turn, slot): (Arc<Turn>, ConnectionSlot),
        service: Arc<Service>,
        peer: Peer,
        greeting: Instant,
        full: Option<Full>,
    ) -> Box<Self> {
        let mut connection = Connection::new(stream);
        connection.set_max_header(UNAUTHENTICATED_HEADER);
        let anonymous = service.accounts.as_ref().and_then(Accounts::anonymous);
        Box::new(Self {
            channel: Channel::new(connection, turn),
            slot,
            root: anonymous
                .map_or_else(|| service.served.clone(), |rights| root_under(rights, &service.served)),
            service,
            greeting,
            full,
            idle_since: Instant::now(),
            in_parts: false,
            flushed: Instant::now(),
            greeted: false,
            challenge: challenge(),
            peer,
            rights: None,
            seat: None,
            upload: None,
            group: Group::default(),
            cursor: Cursor::default(),
        })
    }

    /// Serves requests until the client leaves, breaks the protocol or is too slow, or the server drains.
    pub(crate) async fn run(mut self: Box<Self>) {
        let outcome = self.serve().await;
        // What nobody was told of was not stored: it must not replace what others have stored meanwhile.
        Box::pin(self.group.abandon(&self.channel)).await;
        if let Some(upload) = self.upload.take() {
            upload.abandon();
        }
        match outcome {
            Ok(()) => tracing::debug!("closed"),
            // Whoever has not greeted yet may have tried a key, or only whether somebody listens.
            Err(error) if !self.is_admitted() => tracing::debug!(%error, "closed"),
            Err(error) => tracing::info!(%error, "closed"),
        }
    }

    async fn serve(&mut self) -> Result<(), Error> {
        loop {
            if self.group.is_full() {
                self.group.advance(&self.root, &mut self.channel, &self.service.limits).await?;
            }
            match self.next_request().await {
                Ok(Arrived::Whole) => {}
                Ok(Arrived::Part) => return self.go_down().await,
                Ok(Arrived::End) => {
                    self.settle().await?;
                    return self.channel.flush().await;
                }
                Err(error) => return self.give_up(error).await.map(drop),
            }
            self.slot.set(Activity::Busy);
            if let Some(full) = self.full {
                return self.turn_away(full).await;
            }
            let was_admitted = self.is_admitted();
            // Boxed, so that a connection at rest does not keep room for the largest command.
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

    /// The client is a stranger no more.
    async fn admit(&mut self) {
        let connection = self.channel.connection();
        connection.set_max_header(MAX_HEADER);
        connection.stream().trust(BLOCK);
        self.slot.admit();
        if let Some(seat) = &self.seat {
            self.channel.turn().set_party(Party::User(Arc::clone(&seat.name)));
        }
        // It may have sent more already, for which a stranger's thread is not meant.
        self.channel.turn().go_on_as(Class::Request).await;
    }

    /// Waits for the next request, which is whole then. It is none where the server drains.
    async fn next_request(&mut self) -> Result<Arrived, Error> {
        let class = if self.is_admitted() { Class::Request } else { Class::Greeting };
        self.set_patience(&mut None);
        let mut arrived = self.channel.connection().arrive()?;
        if arrived == Arrived::Part && !self.group.is_empty() {
            // The client may be waiting for what it has sent.
            self.settle().await?;
            self.set_patience(&mut None);
            arrived = self.channel.connection().arrive()?;
        }
        if arrived == Arrived::Part {
            self.set_pace();
            self.channel.flush().await?;
            if !self.slot.set(self.activity()) {
                return Ok(Arrived::Part);
            }
        }
        let mut partial_since = None;
        while arrived == Arrived::Part {
            self.set_patience(&mut partial_since);
            arrived = self.channel.arrive(class).await?;
        }
        self.set_pace();
        Ok(arrived)
    }

    /// What ends here if the server does.
    fn activity(&self) -> Activity {
        if self.upload.is_some() {
            // Its parts may come over other connections, for as long as the drain lasts.
            Activity::Between(Instant::now() + self.service.limits.drain)
        } else if self.in_parts {
            Activity::Between(self.idle_since + BETWEEN_PARTS)
        } else {
            Activity::Idle
        }
    }

    /// How long the client may take for its next request, of which a part has been here since some time, or none is.
    fn set_patience(&mut self, partial_since: &mut Option<Instant>) {
        let limits = &self.service.limits;
        let until = if !self.is_admitted() {
            self.greeting
        } else if self.channel.connection().has_input() {
            *partial_since.get_or_insert_with(Instant::now) + limits.request
        } else {
            // One that has been told what is here of its file reads its own side of it now.
            let reading = self.upload.as_deref().map_or(Duration::ZERO, Upload::time_to_read);
            self.idle_since + limits.idle + reading
        };
        self.channel.set_deadline(Deadline::At(until));
    }

    /// How long the client may take while something moves.
    fn set_pace(&mut self) {
        let pace =
            if self.is_admitted() { self.service.limits.moving() } else { Deadline::At(self.greeting) };
        self.channel.set_deadline(pace);
    }

    async fn go_down(&mut self) -> Result<(), Error> {
        let line = "the server is going down";
        self.refuse(None, Refusal::new(Code::ShuttingDown, line)).await
    }

    /// Commits the puts that wait for each other, and answers them.
    async fn settle(&mut self) -> Result<(), Error> {
        self.group.settle(&self.root, &mut self.channel, &self.service.limits).await
    }

    /// Tells the client that it is too much, in answer to its first request.
    async fn turn_away(&mut self, full: Full) -> Result<(), Error> {
        let id = match self.channel.connection().receive()? {
            None => return Ok(()),
            Some(header) => header.decode::<Envelope>().ok().map(|envelope| envelope.id),
        };
        let line = match full {
            Full::Total => "the server has as many connections as it takes: try again later",
            Full::Address => {
                "this address has as many connections as one may: close some, or try again later"
            }
            Full::Unauthenticated => "as many are about to log in as may at a time: try again later",
            Full::Memory => SHORT_OF_MEMORY,
        };
        self.refuse(id, Refusal::new(Code::Busy, line)).await
    }

    async fn serve_one(&mut self) -> Result<Next, Error> {
        // All of it is here.
        let header = match self.channel.connection().receive() {
            Ok(Some(header)) => header,
            Ok(None) => return self.settle().await.map(|()| Next::End),
            Err(error) => return self.give_up(error).await,
        };
        let Ok(envelope) = header.decode::<Envelope>() else {
            if header.decode::<Alive>().is_ok() {
                // It was heard when it came: see `Deadline::Pace`. Idle it is all the same.
                return Ok(Next::Skipped);
            }
            // Whether a body follows cannot be known, so neither can what comes next.
            let line = "a request is a JSON object with a whole number `id`";
            self.settle().await?;
            self.refuse(None, Refusal::new(Code::Malformed, line)).await?;
            return Ok(Next::End);
        };
        if envelope.body {
            self.channel.connection().begin_body();
        }
        self.channel.connection().answer(Some(&header).filter(|_| !envelope.body));
        let began = Instant::now();
        let outcome = self.answer_patiently(envelope.id, &header).await;
        match outcome {
            Ok(()) => {}
            Err(Failure::Refused(refusal)) => {
                tracing::debug!(id = envelope.id, code = %refusal.code, %refusal, "refused");
                if self.group.is_empty() {
                    self.channel.queue(&Refused { id: Some(envelope.id), error: refusal });
                } else {
                    self.group.refuse(envelope.id, refusal);
                }
            }
            Err(Failure::Broken(error)) => return self.give_up(error).await,
        }
        if envelope.body && self.service.accounts.is_some() && !self.is_admitted() {
            // A stranger's body is read so that the refusal before it arrives, but not for long.
            self.channel.set_deadline(Deadline::after(self.service.limits.request));
        }
        let sent = self.send_replies().await;
        if let Err(error) = sent {
            return self.give_up(error).await;
        }
        tracing::debug!(id = envelope.id, took = ?began.elapsed(), "answered");
        Ok(Next::Request)
    }

    /// Drains what a command left of its body, and sends the replies. While the client has not taken what is queued, it is not
    /// idle; with more to read it is not anyway, and the replies leave together, if they do soon.
    async fn send_replies(&mut self) -> Result<(), Error> {
        self.channel.drain_body().await?;
        if self.channel.connection().has_input() && self.flushed.elapsed() < FLUSH_EVERY {
            return self.channel.make_room().await;
        }
        self.flushed = Instant::now();
        self.channel.flush().await
    }

    /// Where there are no descriptors left, commits what this session has open, and tries again: others are about to be
    /// done, too. Only what has had no effect by then is tried again.
    async fn answer_patiently(&mut self, id: u64, header: &Header) -> Result<(), Failure> {
        let until = Instant::now() + DESCRIPTOR_PATIENCE;
        let (has_body, mut links) = (self.channel.connection().in_body(), 0);
        loop {
            let outcome = self.answer(id, header).await;
            let Err(Failure::Refused(refusal)) = &outcome else { return outcome };
            let is_untouched = !has_body || self.channel.connection().is_at_start_of_body();
            if is_untouched && met_a_link(refusal) && links < MOST_LINKS_MET {
                // Somebody has put it there since the path was resolved, and it was met before anything was done.
                links += 1;
                continue;
            }
            let is_out = refusal.is_out_of_descriptors() && can_repeat(header);
            if !is_out || !is_untouched || Instant::now() >= until {
                return outcome;
            }
            self.settle().await?;
            let (service, channel) = (Arc::clone(&self.service), &mut self.channel);
            Exchange::new(channel, &service.limits, &service.bodies, id).sleep(DESCRIPTOR_CHECK).await?;
        }
    }

    async fn answer(&mut self, id: u64, header: &Header) -> Result<(), Failure> {
        // An upload waits for the very next request: whatever is not its put gives it up.
        let mut upload = self.upload.take();
        let answered = self.dispatch(id, header, &mut upload).await;
        if let Some(upload) = upload {
            upload.abandon();
        }
        answered
    }

    async fn dispatch(
        &mut self,
        id: u64,
        header: &Header,
        upload: &mut Option<Box<Upload>>,
    ) -> Result<(), Failure> {
        let mut command = Command::decode(header)?;
        tracing::debug!(id, ?command, "request");
        if !self.greeted && !matches!(command, Command::Hello(_)) {
            return Err(Refusal::new(Code::HelloFirst, "the first request is `hello`").into());
        }
        self.in_parts = has_more_parts(&command);
        if self.slot.is_draining() && !goes_on(&command) {
            return Err(Refusal::new(Code::ShuttingDown, "the server is going down").into());
        }
        let is_small = matches!(&command, Command::Hello(_) | Command::Login(_));
        if !is_small && !goes_on(&command) && self.service.memory.is_short() {
            return Err(Refusal::new(Code::Busy, SHORT_OF_MEMORY).into());
        }
        self.permit(&mut command)?;
        let is_slow = quota_check::is_slow(&command, &self.root);
        if is_slow || !self.group.admits(&command) {
            self.settle().await?;
        }
        let service = Arc::clone(&self.service);
        let exchange = &mut Exchange::new(&mut self.channel, &service.limits, &service.bodies, id);
        let root = &self.root;
        if is_slow {
            if matches!(&command, Command::Resume(args) if commands::resume::is_ahead(args)) {
                return Err(commands::resume::ask_first().into());
            }
            quota_check::prepare(&command, root, exchange).await;
        }
        match command {
            Command::Hello(args) => {
                commands::hello::run(&args, service.accounts.as_ref(), &self.challenge, exchange)?;
                tracing::debug!(agent = %brief(&args.agent), "hello");
                self.greeted = true;
                Ok(())
            }
            Command::Login(args) => {
                let accounts = service.accounts.as_ref();
                let (peer, challenge) = (self.peer, &self.challenge);
                let login = commands::login::run(&args, accounts, peer, challenge, &service.served, exchange);
                let (rights, seat) = login.await?;
                self.channel.connection().stream().set_throttle(seat.throttle.clone());
                // What was listed before, and where files went, is somebody else's.
                self.root = root_under(&rights, &seat.root);
                self.cursor = Cursor::default();
                self.group.nearby = Nearby::default();
                (self.rights, self.seat) = (Some(rights), Some(seat));
                tracing::debug!(user = %brief(&args.user), by = args.proof.name(), "login");
                Ok(())
            }
            Command::Ls(args) => commands::ls::run(&args, root, exchange).await,
            Command::Tree(args) => commands::tree::run(&args, root, &mut self.cursor, exchange).await,
            Command::Stat(args) => commands::stat::run(&args, root, exchange),
            Command::Get(args) => commands::get::run(&args, root, exchange).await,
            Command::Put(args) => commands::put::run(&args, root, upload, &mut self.group, exchange).await,
            Command::Blocks(args) => commands::blocks::run(&args, root, exchange).await,
            Command::Resume(args) => {
                self.upload = commands::resume::run(&args, root, &service.uploads, exchange).await?;
                Ok(())
            }
            Command::Part(args) => {
                // An upload waits while parts of it come on its own connection, too.
                self.upload = upload.take_if(|upload| upload.is_of(&args));
                let own = self.upload.as_deref().and_then(Upload::shared).cloned();
                commands::part::run(&args, own, &service.uploads, exchange).await
            }
            Command::Mkdir(args) => commands::mkdir::run(&args, root, &mut self.group, exchange),
            Command::Symlink(args) => commands::symlink::run(&args, root, exchange),
            Command::Link(args) => commands::link::run(&args, root, &mut self.group, exchange),
            Command::Set(args) => commands::set::run(&args, root, exchange),
            Command::Rm(args) => commands::rm::run(&args, root, &mut self.group, exchange).await,
            Command::Mv(args) => commands::mv::run(&args, root, exchange),
            Command::Hash(args) => commands::hash::run(&args, root, exchange).await,
            Command::Df(args) => commands::df::run(&args, root, exchange).await,
            Command::Unknown => Err(Refusal::new(Code::Unsupported, "no such command").into()),
        }
    }

    /// Whether the client may do that. Rights that differ from place to place are for where a file is, and not for what it
    /// is called: the paths of `command` are then what they lead to, and the root follows no link after that.
    fn permit(&self, command: &mut Command) -> Result<(), Refusal> {
        let Service { policy, accounts, .. } = &*self.service;
        let Some(accounts) = accounts else { return policy.permit(command) };
        let rights = self.rights.as_deref().or_else(|| accounts.anonymous());
        if rights.is_some_and(|rights| !rights.are_uniform()) {
            policy.permit(command)?;
            for (path, last) in paths(command) {
                *path = self.root.real_path(path, last)?;
            }
        }
        policy.permit_client(command, rights)
    }

    /// Whether the client may be more patient than a stranger: it said hello, and logged in where that is needed.
    fn is_admitted(&self) -> bool {
        let open = self.service.accounts.as_ref().is_none_or(|accounts| accounts.anonymous().is_some());
        self.greeted && (open || self.rights.is_some())
    }

    /// Tells a client that broke the protocol or was too slow why it is left, as well as that can still be done.
    async fn give_up(&mut self, error: Error) -> Result<Next, Error> {
        let code = match &error {
            Error::HeaderTooLarge { .. } | Error::ChunkTooLarge { .. } => Code::TooLarge,
            Error::Malformed(_) => Code::Malformed,
            error if error.is_timeout() => Code::Timeout,
            Error::Io(_) | Error::Closed => return Err(error),
        };
        // Whoever was too slow has left others the time to store something else.
        if code != Code::Timeout {
            self.settle().await?;
        }
        self.channel.set_deadline(Deadline::after(Duration::from_secs(1)));
        let _ = self.refuse(None, Refusal::new(code, error.to_string())).await;
        Err(error)
    }

    /// The last reply: the connection ends behind it.
    async fn refuse(&mut self, id: Option<u64>, error: Refusal) -> Result<(), Error> {
        if !self.channel.connection().stream().is_set_up() {
            // Nothing can be said before the end of a handshake that may never end.
            return Ok(());
        }
        self.channel.queue(&Refused { id, error });
        self.channel.flush().await?;
        if !self.slot.is_draining() {
            self.channel.hear_out(LAST_WORDS, LAST_BYTES).await;
        }
        Ok(())
    }
}

/// What is served under these rights. Where they differ from place to place, no link is followed in it: see
/// [`permit`](Session::permit).
fn root_under(rights: &Rights, root: &Root) -> Root {
    if rights.are_uniform() { root.clone() } else { root.without_links() }
}

/// Whether a request goes on with a file that has begun to move: it is served while the server drains.
fn goes_on(command: &Command) -> bool {
    match command {
        Command::Get(args) => args.offset > 0,
        Command::Put(args) => args.ranges.is_some(),
        Command::Part(_) => true,
        _ => false,
    }
}

/// Whether a request that failed for want of a descriptor may be done again: it has changed nothing, or nothing that it would
/// not change again.
fn can_repeat(header: &Header) -> bool {
    let command = Command::decode(header);
    command.is_ok_and(|command| !matches!(command, Command::Mv(_) | Command::Rm(_) | Command::Symlink(_)))
}

/// Whether another request for the same file may follow.
fn has_more_parts(command: &Command) -> bool {
    match command {
        Command::Get(args) => args.offset > 0 || args.length.is_some(),
        Command::Part(_) | Command::Blocks(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
