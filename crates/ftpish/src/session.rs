//! Where a person is, and the connection to there: made when it is needed, and made anew when it broke.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use ftpish_client::{Client, Error, KnownHosts, Options, Security, Timeouts, Trust};
use ftpish_protocol::{PathError, RemotePath};
use ftpish_server::Identity;
use ftpish_transport::{Endpoint, Fingerprint, Interrupt};

use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::location::Location;
use crate::ui::Ui;

/// A person's place on a server.
pub struct Session {
    pub ui: Ui,
    /// The directory that paths without a leading slash are relative to.
    pub cwd: RemotePath,
    pub interrupt: Interrupt,
    endpoint: Endpoint,
    /// Whether the endpoint may still be another one: none was used yet.
    movable: bool,
    plaintext: bool,
    pinned: Option<Fingerprint>,
    accept_new: bool,
    timeouts: Timeouts,
    state: PathBuf,
    client: Option<Client>,
}

impl Session {
    pub fn new(global: &Global, ui: &Ui) -> Result<Self, Failure> {
        Ok(Self {
            ui: *ui,
            cwd: RemotePath::root(),
            interrupt: Interrupt::default(),
            endpoint: global.server.clone(),
            movable: true,
            plaintext: global.plaintext,
            pinned: global.host_key,
            accept_new: global.accept_new,
            timeouts: Timeouts {
                connect: global.timeout.min(Timeouts::default().connect),
                reply: global.timeout,
                pace: global.timeout.min(Timeouts::default().pace),
            },
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
            Location::Url(url) if url.endpoint == self.endpoint => Ok(url.path.clone()),
            Location::Url(url) if self.movable => {
                self.endpoint = url.endpoint.clone();
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

    /// The connection; made now where there is none, or where the server has closed it meanwhile.
    pub fn client(&mut self) -> Result<&mut Client, Failure> {
        let usable = match self.client.take() {
            Some(mut client) => client.is_usable().then_some(client),
            None => None,
        };
        let client = match usable {
            Some(client) => client,
            None => self.connect()?,
        };
        self.movable = false;
        Ok(self.client.insert(client))
    }

    fn connect(&self) -> Result<Client, Failure> {
        let trying = |error| Failure::client(format!("cannot use {}", self.endpoint), error);
        if self.plaintext {
            return Client::connect(&self.options(Security::Plaintext)).map_err(trying);
        }
        let secure = |trust| Client::connect(&self.options(Security::Tls(trust)));
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
        self.ui.say(format_args!("The host key of {} was never seen before:\n  {key}", self.endpoint));
        self.ui.confirm("Is it the one that the server printed when it started?")
    }

    fn options(&self, security: Security) -> Options {
        Options {
            endpoint: self.endpoint.clone(),
            security,
            timeouts: self.timeouts,
            interrupt: self.interrupt.clone(),
        }
    }
}

/// Why typed bytes are no path.
pub fn bad_path(typed: &[u8], error: &PathError) -> Failure {
    Failure::usage(format!("`{}`: {error}", ftpish_protocol::text::escape(typed)))
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
