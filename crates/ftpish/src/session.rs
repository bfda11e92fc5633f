//! Where a person is, and the connection to there: made when it is needed, and made anew when it broke.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use etcetera::BaseStrategy as _;
use ftpish_client::{
    By, Client, Error, Jobs, KnownHosts, Login, Options, Progress, Security, Timeouts, Trust,
};
use ftpish_protocol::text::escape;
use ftpish_protocol::{Code, PathError, RemotePath, Secret};
use ftpish_server::Identity;
use ftpish_transport::{Endpoint, Fingerprint, Interrupt};

use crate::argv;
use crate::cli::Global;
use crate::credentials;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::key;
use crate::location::Location;
use crate::ui::Ui;

/// How many tries in a row may get no further, unless said otherwise.
const RETRIES: u32 = 3;

/// How many connections a transfer has at the most, unless said otherwise.
const MOST_JOBS: usize = 8;

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long a wait may go on before the interrupt is looked at.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// A person's place on a server.
pub struct Session {
    pub ui: Ui,
    /// The directory that paths without a leading slash are relative to.
    pub cwd: RemotePath,
    pub interrupt: Interrupt,
    /// Whether standard input is commands, so that no transfer can have it.
    pub input_is_commands: bool,
    endpoint: Endpoint,
    /// Whether the endpoint may still be another one: none was used yet.
    movable: bool,
    /// Who to log in as, and by what, once that is known.
    user: Option<String>,
    by: Option<By>,
    /// The key that was named.
    identity: Option<PathBuf>,
    /// What the server gave for that, so that it need not look at it again for the next connection.
    ticket: Option<Secret>,
    plaintext: bool,
    pinned: Option<Fingerprint>,
    accept_new: bool,
    timeouts: Timeouts,
    jobs: Option<u8>,
    retries: Option<u32>,
    retry_wait: Duration,
    /// Whether the server was there at least once.
    reached: bool,
    state: PathBuf,
    client: Option<Client>,
}

impl Session {
    pub fn new(global: &Global, ui: &Ui) -> Result<Self, Failure> {
        Ok(Self {
            ui: *ui,
            cwd: RemotePath::root(),
            interrupt: Interrupt::default(),
            input_is_commands: false,
            endpoint: global.server.clone(),
            movable: true,
            user: global.login.clone(),
            by: None,
            identity: global.identity.clone(),
            ticket: None,
            plaintext: global.plaintext,
            pinned: global.host_key,
            accept_new: global.accept_new,
            timeouts: Timeouts {
                connect: global.timeout.min(Timeouts::default().connect),
                reply: global.timeout,
                pace: global.timeout.min(Timeouts::default().pace),
            },
            jobs: global.jobs,
            retries: global.retries,
            retry_wait: global.retry_wait,
            reached: false,
            state: state_dir(global)?,
            client: None,
        })
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where what outlives the process is kept.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The path that a location means, seen from where one is. A URL says where the server is, too.
    pub fn resolve(&mut self, location: &Location) -> Result<RemotePath, Failure> {
        match location {
            Location::Path(typed) => self.resolve_bytes(typed.as_bytes()),
            Location::Url(url) if self.movable || url.endpoint == self.endpoint => {
                self.endpoint = url.endpoint.clone();
                if url.user.is_some() && url.user != self.user {
                    // The secrets of one are nothing to the other.
                    (self.by, self.ticket) = (None, None);
                    self.user = url.user.clone();
                }
                self.by = url.password.clone().map(By::Password).or(self.by.take());
                self.pinned = url.host_key.or(self.pinned);
                self.movable = false;
                Ok(url.path.clone())
            }
            Location::Url(url) => Err(Failure::usage(format!(
                "`{}` is another server than {}: one command works with one server",
                url.endpoint, self.endpoint
            ))),
        }
    }

    /// The path that typed bytes mean, seen from where one is.
    pub fn resolve_bytes(&self, typed: &[u8]) -> Result<RemotePath, Failure> {
        self.cwd.resolve(typed).map_err(|error| bad_path(typed, &error))
    }

    /// Does `step`, and does it again as long as what went wrong may pass and there are tries left: those in a row
    /// that got no further are counted. The inner error is the last one.
    pub fn retrying<T>(
        &mut self,
        progress: &Progress,
        mut step: impl FnMut(&mut Client) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, Failure> {
        let (mut tries, mut furthest) = (0, progress.done());
        loop {
            let trouble = match self.client() {
                Ok(client) => match step(client) {
                    Err(error) if error.may_pass() => Ok(error),
                    done => return Ok(done),
                },
                Err(failure) => Err(failure),
            };
            if progress.done() > furthest {
                (tries, furthest) = (0, progress.done());
            }
            let reached = self.reached;
            let left = self.retries.unwrap_or(if reached { RETRIES } else { 0 }).saturating_sub(tries);
            let passing = match &trouble {
                Ok(_) => true,
                Err(failure) => failure.may_pass(),
            };
            if left == 0 || !passing {
                return trouble.map(Err);
            }
            let wait = self.backoff(tries);
            tries += 1;
            let why = match &trouble {
                Ok(error) => error.to_string(),
                Err(failure) => failure.to_string(),
            };
            self.ui.say(format_args!("{why}; trying again in {:.1} s", wait.as_secs_f64()));
            self.pause(wait)?;
        }
    }

    /// Twice as long each time, and never the same, so that many clients do not come back at once.
    fn backoff(&self, tries: u32) -> Duration {
        let wait = self.retry_wait.saturating_mul(1 << tries.min(10)).min(LONGEST_WAIT);
        wait.mul_f64(0.5 + fastrand::f64())
    }

    fn pause(&self, wait: Duration) -> Result<(), Failure> {
        let until = Instant::now() + wait;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if self.interrupt.is_set() {
                return Err(Failure::new(Exit::Interrupted, "interrupted"));
            }
            std::thread::park_timeout(left.min(INTERRUPT_CHECK));
        }
        Ok(())
    }

    /// The connection; made now where there is none, or where the server has closed it meanwhile.
    pub fn client(&mut self) -> Result<&mut Client, Failure> {
        let usable = match self.client.take() {
            Some(mut client) => {
                self.ticket = client.ticket().cloned().or(self.ticket.take());
                client.is_usable().then_some(client)
            }
            None => None,
        };
        let client = match usable {
            Some(client) => client,
            None => self.reconnect()?,
        };
        self.movable = false;
        self.reached = true;
        Ok(self.client.insert(client))
    }

    /// Connects by the ticket of an earlier connection, where there is one and the server still takes it; else by the
    /// password, or the key.
    fn reconnect(&mut self) -> Result<Client, Failure> {
        if let (Some(user), Some(ticket)) = (&self.user, &self.ticket) {
            let login = Login { user: user.clone(), by: By::Ticket(ticket.clone()) };
            match self.try_login(login)? {
                Some(client) => return Ok(client),
                None => self.ticket = None,
            }
        }
        self.know_login()?;
        let (Some(user), None) = (&self.user, &self.by) else { return self.connect(self.login()) };
        if let Some(path) = key::default_path().filter(|path| path.exists()) {
            let by = By::Key(Box::new(key::load(&path)?));
            let login = Login { user: user.clone(), by: by.clone() };
            if let Some(client) = self.try_login(login)? {
                self.by = Some(by);
                return Ok(client);
            }
        } else {
            // A connection of its own: a server does not wait for as long as people type.
            self.connect(None)?;
        }
        let prompt = format!("Password of {} at {}: ", escape(user.as_bytes()), self.endpoint);
        self.by = Some(By::Password(crate::user::ask(&prompt, "FTPISH_PASSWORD gives it")?));
        self.connect(self.login())
    }

    /// Connects by what may be nothing to the server; `None` where it is not. It is answered before anything else is sent,
    /// since what follows a refused login would be refused, too.
    fn try_login(&self, login: Login) -> Result<Option<Client>, Failure> {
        let mut client = self.connect(Some(login))?;
        match client.welcome().map(drop) {
            Err(Error::Refused(refusal))
                if matches!(refusal.code, Code::LoginFailed | Code::TicketRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(Failure::client(format!("cannot use {}", self.endpoint), error)),
            Ok(()) => Ok(Some(client)),
        }
    }

    /// Finds what the user logs in by where that was said: the password in the environment, the key that was named, or
    /// what the credentials file has, which may say who the user is, too.
    fn know_login(&mut self) -> Result<(), Failure> {
        if self.by.is_some() {
            return Ok(());
        }
        if let Ok(password) = std::env::var(argv::PASSWORD) {
            self.by = self.user.as_ref().map(|_| By::Password(Secret::new(password)));
        } else if let Some(path) = &self.identity {
            if self.user.is_none() {
                return Err(Failure::usage("a key logs a user in: say who, with --login NAME"));
            }
            self.by = Some(By::Key(Box::new(key::load(path)?)));
        } else if let Some(found) = credentials::find(&self.endpoint)?
            && self.user.as_ref().is_none_or(|user| *user == found.user)
        {
            (self.user, self.by) = (Some(found.user), Some(By::Password(found.password)));
        }
        Ok(())
    }

    fn connect(&self, login: Option<Login>) -> Result<Client, Failure> {
        let trying = |error| Failure::client(format!("cannot use {}", self.endpoint), error);
        if self.plaintext {
            return Client::connect(&self.options(Security::Plaintext, login)).map_err(trying);
        }
        let secure = |trust| Client::connect(&self.options(Security::Tls(trust), login.clone()));
        if let Some(pinned) = self.pinned {
            return secure(Trust::Key(pinned)).map_err(trying);
        }
        let known = KnownHosts::at(self.state.join("known_hosts"));
        let trust = match known.find(&self.endpoint)? {
            Some(key) => Trust::Key(key),
            None if self.accept_new => Trust::Any,
            None => Trust::Nothing,
        };
        let client = match secure(trust) {
            Err(Error::UnknownHostKey { fingerprint, .. }) if self.trusts(&fingerprint) => {
                secure(Trust::Key(fingerprint)).map_err(trying)?
            }
            Err(error @ Error::WrongHostKey { .. }) => {
                return Err(Failure::changed_key(&error, &self.endpoint, known.path()));
            }
            connected => connected.map_err(trying)?,
        };
        if let (Trust::Any | Trust::Nothing, Some(key)) = (trust, client.host_key()) {
            known.remember(&self.endpoint, key)?;
        }
        Ok(client)
    }

    /// Whether a key that was never seen before is this user's own, or the person says that it is right.
    fn trusts(&self, key: &Fingerprint) -> bool {
        let own = || Identity::load(&self.state).is_ok_and(|own| own.fingerprint() == *key);
        if self.endpoint.is_local() && own() {
            return true;
        }
        self.ui.confirm(&format!(
            "The host key of {} was never seen before:\n  {key}\n\
             Is it the one that the server printed when it started?",
            self.endpoint
        ))
    }

    fn options(&self, security: Security, login: Option<Login>) -> Options {
        Options {
            endpoint: self.endpoint.clone(),
            security,
            timeouts: self.timeouts,
            interrupt: self.interrupt.clone(),
            login,
            jobs: self.jobs(),
        }
    }

    /// As many connections as were asked for; else as many as make it faster. On this machine both ends share the cores.
    fn jobs(&self) -> Jobs {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.jobs {
            Some(most) => Jobs::up_to(most.into()),
            None if self.endpoint.is_local() => Jobs::growing_to(cores.min(MOST_JOBS)),
            None => Jobs::growing_to(MOST_JOBS),
        }
    }

    fn login(&self) -> Option<Login> {
        Some(Login { user: self.user.clone()?, by: self.by.clone()? })
    }
}

/// Why typed bytes are no path.
pub fn bad_path(typed: &[u8], error: &PathError) -> Failure {
    Failure::usage(format!("`{}`: {error}", escape(typed)))
}

/// `--state-dir`, or XDG's directory for state.
pub fn state_dir(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(dir) = &global.state_dir {
        return Ok(dir.clone());
    }
    let no_home = |_| io::Error::new(io::ErrorKind::NotFound, "no home directory");
    let base = etcetera::base_strategy::Xdg::new().map_err(no_home);
    match base.map(|base| base.state_dir()) {
        Ok(Some(dir)) => Ok(dir.join("ftpish")),
        _ => Err(Failure::new(Exit::Other, "there is no home directory to keep keys in")
            .hint("name one with --state-dir")),
    }
}
