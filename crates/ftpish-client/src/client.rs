//! A connection to a server, and one method a verb. `hello` and the first request leave together.

mod greeting;
mod options;
mod reply;
mod secure;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use ftpish_protocol::message::{
    Command, DfArgs, Done, Entry, Envelope, Hash, Hashed, Hello, Ls, Mkdir, Mv, Replace, Request, Rm, Space,
    Stat, StatArgs, Welcome,
};
use ftpish_protocol::{
    Algorithm, Code, Connection, Header, Meter, Refusal, RemotePath, Secret, VERSION, receive_listing,
};
use ftpish_transport::{Deadline, Endpoint, Fingerprint, Interrupt, Socket, Stream, attend};
use serde::de::DeserializeOwned;

pub(crate) use self::greeting::Greeting;
use self::greeting::receive_welcome;
pub use self::options::{Options, Security, Timeouts};
pub(crate) use self::reply::{of_listing, receive_message, receive_reply};
use self::secure::secure;
use crate::login::sign;
use crate::{AGENT, By, Error, Jobs, Login, Progress, Trust};

/// The digest of listings, which every server has.
pub(crate) const LISTING_DIGEST: Algorithm = Algorithm::Md5;

/// How often a server hears of a client that is busy with a file of its own: more often than any server is likely to end
/// an idle connection.
const TOUCH_EVERY: Duration = Duration::from_secs(20);

/// How long a ticket is relied on: servers let it be valid for some minutes, and refuse one that is not.
const TICKET_LIFE: Duration = Duration::from_secs(5 * 60);

/// Within which time a server greets that is near, the hashing of a password included, and each round trip of connecting
/// to it is done: less than a round trip over a long line.
const NEAR: Duration = Duration::from_millis(40);

/// A connected client. After [`Error::Connection`], [`Error::Interrupted`] and every error in the middle of a body,
/// [`is_usable`](Self::is_usable) tells whether it still is.
pub struct Client {
    pub(crate) connection: Connection<Stream>,
    pub(crate) interrupt: Interrupt,
    pub(crate) timeouts: Timeouts,
    /// How it came to be, and when: for others like it.
    options: Options,
    since: Instant,
    /// How long it took to connect, and in how many round trips.
    connected_in: (Duration, u32),
    /// How long the server took to greet, once it has.
    greeted_in: Option<Duration>,
    /// Others like it that are idle.
    pub(crate) others: Vec<Client>,
    host_key: Option<Fingerprint>,
    pub(crate) is_unix: bool,
    next_id: u64,
    pub(crate) greeting: Greeting,
    pub(crate) broken: bool,
    /// The requests whose replies have bodies, until they are answered: a body proves which request it is for.
    pub(crate) asked: VecDeque<(u64, Header)>,
    /// Requests for parts whose replies come in front of that to the `put` that takes them up.
    pub(crate) unanswered: VecDeque<u64>,
}

impl Client {
    /// Connects and does the TLS handshake. `hello` is sent along with the first request.
    pub fn connect(options: &Options) -> Result<Self, Error> {
        let Options { endpoint, security, timeouts, interrupt, login, .. } = options;
        if login.is_some() && *security == Security::Plaintext && !endpoint.is_local() {
            let line = "nobody logs in in the clear to another machine: others could listen, or take over";
            return Err(Error::Refused(Refusal::new(Code::LoginFailed, line)));
        }
        let no_connection = |error| Error::Connect { endpoint: endpoint.clone(), error };
        let (began, deadline) = (Instant::now(), Deadline::after(timeouts.connect));
        let socket = endpoint.connect(timeouts.connect).map_err(no_connection)?;
        let socket = Socket::new(socket, deadline, interrupt.clone()).map_err(no_connection)?;
        let (stream, host_key) = match security {
            Security::Plaintext => (Stream::connect(socket, None).map_err(no_connection)?, None),
            Security::Tls(trust) => {
                let (stream, key) = secure(socket, endpoint, *trust, interrupt)?;
                (stream, Some(key))
            }
        };
        let mut client = Self {
            connection: Connection::new(stream),
            interrupt: interrupt.clone(),
            timeouts: *timeouts,
            options: options.clone(),
            since: Instant::now(),
            connected_in: (began.elapsed(), if host_key.is_some() { 2 } else { 1 }),
            greeted_in: None,
            others: Vec::new(),
            host_key,
            is_unix: matches!(endpoint, Endpoint::Unix(_)),
            next_id: 0,
            greeting: Greeting::Sent(0, None),
            broken: false,
            asked: VecDeque::new(),
            unanswered: VecDeque::new(),
        };
        client.send(&Command::Hello(Hello { version: VERSION, agent: AGENT.to_owned() }), false)?;
        if let Some(login) = login {
            client.log_in(login)?;
        }
        Ok(client)
    }

    /// Sends the login: at once, or, by a key, behind the challenge that it signs.
    fn log_in(&mut self, login: &Login) -> Result<(), Error> {
        self.greeting = match login.at_once() {
            Ok(ready) => Greeting::Sent(0, Some(self.send(&Command::Login(ready), false)?)),
            Err(key) => {
                let welcome = receive_welcome(&mut self.connection, &self.timeouts, 0);
                let welcome = welcome.map_err(|error| self.note(error))?;
                let signed = sign(&login.user, key, welcome.challenge.as_deref(), self.host_key)?;
                Greeting::Welcomed(welcome, self.send(&Command::Login(signed), false)?)
            }
        };
        Ok(())
    }

    /// The server's key, where the connection is encrypted.
    pub fn host_key(&self) -> Option<Fingerprint> {
        self.host_key
    }

    /// What the server says about itself; asks it, where nothing else has yet.
    pub fn welcome(&mut self) -> Result<&Welcome, Error> {
        self.greet()?;
        match &self.greeting {
            Greeting::Done(welcome, _) => Ok(welcome),
            Greeting::Sent(..) | Greeting::Welcomed(..) => {
                Err(Error::Protocol("no reply to hello".to_owned()))
            }
        }
    }

    /// Whether the server knows an extension, by its name in [`FEATURES`](ftpish_protocol::FEATURES).
    pub fn has_feature(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.welcome()?.features.iter().any(|feature| feature == name))
    }

    /// How many connections a transfer may use.
    pub(crate) fn jobs(&self) -> Jobs {
        self.options.jobs
    }

    /// Whether the server answered so quickly that another connection costs little; `false` where that is not known.
    pub(crate) fn is_near(&self) -> bool {
        self.greeted_in.is_some_and(|took| took < NEAR)
    }

    /// Whether it took so long to connect that a round trip is better spent on sending than on asking.
    pub(crate) fn is_far(&self) -> bool {
        let (took, round_trips) = self.connected_in;
        took >= NEAR * round_trips
    }

    /// How to make another connection that works for this one: to the same server, as the same user, without a password
    /// where the server gave a ticket for it.
    pub(crate) fn another(&mut self) -> Result<Options, Error> {
        let mut options = Options { jobs: Jobs::ONE, ..self.options.clone() };
        if let Some(key) = self.host_key {
            options.security = Security::Tls(Trust::Key(key));
        }
        if options.login.is_some() {
            self.greet()?;
        }
        let ticket = self.ticket().filter(|_| self.since.elapsed() < TICKET_LIFE);
        if let (Some(login), Some(ticket)) = (&mut options.login, ticket) {
            login.by = By::Ticket(ticket.clone());
        }
        Ok(options)
    }

    /// Another connection that is idle, if there is one.
    pub(crate) fn idle(&mut self) -> Option<Self> {
        self.others.retain_mut(Self::is_usable);
        self.others.pop()
    }

    /// What logs in on the next connection in place of the password, for some minutes: known once the server has
    /// answered.
    pub fn ticket(&self) -> Option<&Secret> {
        match &self.greeting {
            Greeting::Done(_, ticket) => ticket.as_ref(),
            Greeting::Sent(..) | Greeting::Welcomed(..) => None,
        }
    }

    /// Whether a next request can be sent: nothing broke, and the server has not closed meanwhile.
    pub fn is_usable(&mut self) -> bool {
        // Whatever an idle server sends can only be its farewell.
        !self.broken
            && !self.connection.in_body()
            && !self.connection.has_input()
            && matches!(self.connection.stream().is_readable(), Ok(false))
    }

    /// Gives each entry of a directory to `take`, in the server's order, as it comes; only the return tells that
    /// none is missing.
    pub fn ls(
        &mut self,
        path: &RemotePath,
        take: &mut dyn FnMut(Entry) -> io::Result<()>,
    ) -> Result<u64, Error> {
        let args = Ls { path: path.clone(), digest: LISTING_DIGEST };
        let id = self.send(&Command::Ls(args), false)?;
        self.receive_with_body::<Done>(id)?;
        receive_listing(&mut self.connection, LISTING_DIGEST, take)
            .map_err(|error| self.note(of_listing(error)))
    }

    /// Describes one name; a link itself, not what it points at.
    pub fn stat(&mut self, path: &RemotePath) -> Result<Entry, Error> {
        let command = Command::Stat(StatArgs { path: path.clone() });
        Ok(self.request::<Stat>(&command)?.entry)
    }

    /// Makes a directory; with `parents`, missing ones above it too, and none is no error if it exists.
    pub fn mkdir(&mut self, path: &RemotePath, parents: bool) -> Result<(), Error> {
        let command = Command::Mkdir(Mkdir { path: path.clone(), parents, mode: None });
        self.request::<Done>(&command).map(drop)
    }

    /// Removes a file, a link or an empty directory; with `recursive`, a directory and all it holds.
    pub fn rm(&mut self, path: &RemotePath, recursive: bool) -> Result<(), Error> {
        let command = Command::Rm(Rm { path: path.clone(), recursive, backup: None });
        self.request::<Done>(&command).map(drop)
    }

    /// Renames; an existing file at the new path is replaced unless `replace` is `Never`.
    pub fn mv(&mut self, from: &RemotePath, to: &RemotePath, replace: Replace) -> Result<(), Error> {
        let command = Command::Mv(Mv { from: from.clone(), to: to.clone(), replace });
        self.request::<Done>(&command).map(drop)
    }

    /// Has the server digest a file on its disk.
    pub fn hash(
        &mut self,
        path: &RemotePath,
        digest: Algorithm,
        progress: &Progress,
    ) -> Result<Hashed, Error> {
        let id = self.send(&Command::Hash(Hash { path: path.clone(), digest }), false)?;
        let hashed: Hashed = self.receive(id, progress)?;
        if hashed.digest.algorithm() != digest {
            return Err(self.note(Error::Protocol(format!("{} is not a {digest} digest", hashed.digest))));
        }
        Ok(hashed)
    }

    /// The space of the file system that holds a path.
    pub fn df(&mut self, path: &RemotePath) -> Result<Space, Error> {
        self.request(&Command::Df(DfArgs { path: path.clone() }))
    }

    /// Sends a request without a body, and receives its reply.
    fn request<T: DeserializeOwned>(&mut self, command: &Command) -> Result<T, Error> {
        let id = self.send(command, false)?;
        self.receive(id, &Progress::default())
    }

    /// Queues a request; it leaves when a reply is awaited, or in front of its body.
    pub(crate) fn send(&mut self, command: &Command, body: bool) -> Result<u64, Error> {
        let id = self.next_id;
        self.next_id += 1;
        if self.broken || self.connection.in_body() {
            let ended = io::Error::new(io::ErrorKind::NotConnected, "an earlier error ended it");
            return Err(self.note(Error::Connection(ended.into())));
        }
        self.pace();
        let request = Request { envelope: Envelope { id, body }, command };
        self.connection.answer(None);
        self.connection.send(&request).map_err(|error| self.note(error.into()))?;
        if command.has_answer_body() {
            self.asked.push_back((id, self.connection.last_sent()));
        }
        Ok(id)
    }

    /// Queues a request while the body of a reply is yet to come.
    pub(crate) fn send_ahead(&mut self, command: &Command) -> Result<u64, Error> {
        if self.broken || !self.connection.in_body() {
            return self.send(command, false);
        }
        let id = self.next_id;
        self.next_id += 1;
        let request = Request { envelope: Envelope { id, body: false }, command };
        self.connection.send(&request).map_err(|error| self.note(error.into()))?;
        if command.has_answer_body() {
            self.asked.push_back((id, self.connection.last_sent()));
        }
        Ok(id)
    }

    /// Receives the reply to the request `id`, which has no body.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self, id: u64, progress: &Progress) -> Result<T, Error> {
        self.greet()?;
        self.receive_reply(id, false, progress)
    }

    /// Receives the reply to the request `id`; its body comes next.
    pub(crate) fn receive_with_body<T: DeserializeOwned>(&mut self, id: u64) -> Result<T, Error> {
        self.greet()?;
        let asked = self.asked.iter().position(|(asked, _)| *asked == id);
        let asked = asked.and_then(|at| self.asked.drain(..=at).next_back());
        let reply = self.receive_reply(id, true, &Progress::default())?;
        self.connection.answer(asked.as_ref().map(|(_, request)| request));
        self.connection.begin_body();
        self.pace();
        Ok(reply)
    }

    /// Reads the reply to `hello`, if it was not yet read: it comes before all others.
    pub(crate) fn greet(&mut self) -> Result<(), Error> {
        let greeted = self.greeting.receive(&mut self.connection, &self.timeouts);
        self.note_greeted();
        // Whoever refuses the greeting refuses all that was sent along with it.
        greeted.map_err(|error| {
            self.broken = true;
            self.note(error)
        })
    }

    /// Notes how long the server took to greet, when it has.
    pub(crate) fn note_greeted(&mut self) {
        if self.greeting.is_done() {
            self.greeted_in.get_or_insert_with(|| self.since.elapsed());
        }
    }

    fn receive_reply<T: DeserializeOwned>(
        &mut self,
        id: u64,
        body: bool,
        progress: &Progress,
    ) -> Result<T, Error> {
        let received = receive_reply(&mut self.connection, &self.timeouts, id, body, progress);
        received.map_err(|error| self.note(error))
    }

    /// Does slow work on this side on a second thread, and asks the server for a trifle now and then, so that it does not
    /// take the connection for an idle one. The work is told to stop when the connection is gone, or interrupted.
    pub(crate) fn in_touch<T: Send>(&mut self, work: impl FnOnce(&Meter) -> T + Send) -> Result<T, Error> {
        attend(&self.meter(), TOUCH_EVERY, work, |_| self.stat(&RemotePath::root()).map(drop))
    }

    pub(crate) fn check_interrupt(&self) -> Result<(), Error> {
        if self.interrupt.is_set() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// A meter for local work that the interrupt is to end, too.
    pub(crate) fn meter(&self) -> Meter {
        Meter::stopped_by(self.interrupt.flag())
    }

    /// Lets the peer be as slow as a body may be.
    pub(crate) fn pace(&mut self) {
        self.connection.stream().set_deadline(self.timeouts.moving());
    }

    /// Keeps in mind whether an error leaves the connection usable.
    pub(crate) fn note(&mut self, error: Error) -> Error {
        // Behind `malformed` a server may close, and we do not know how it came to that.
        let closes = |code| {
            use Code::{Busy, Malformed, ShuttingDown, Timeout, TooLarge};
            matches!(code, Busy | ShuttingDown | Timeout | TooLarge | Malformed)
        };
        self.broken |= match &error {
            Error::Connection(_) | Error::Protocol(_) | Error::Interrupted => true,
            Error::Refused(refusal) => closes(refusal.code),
            _ => self.connection.in_body(),
        };
        match error {
            Error::Connection(_) | Error::Local { .. } if self.interrupt.is_set() => Error::Interrupted,
            error => error,
        }
    }
}
