//! A server in this process, on a port or a Unix socket of its own, over a directory of its own.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use ftpish_client::{Client, Options, Security, Trust};
use ftpish_protocol::RemotePath;
use ftpish_server::{Accounts, Config, Identity, Limits, Policy, Server, Shutdown};
use ftpish_storage::Root;
use ftpish_transport::Endpoint;
use tempfile::TempDir;

use crate::raw::Raw;
use crate::tree::{self, Tree};

/// How much is read, hashed and sent at a time; sizes around it are where bodies go wrong.
pub const BLOCK: usize = 256 * 1024;

/// How long a test waits for what must come. Reached only where a test fails.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    Ipv4,
    Ipv6,
    Unix,
}

impl Listen {
    /// All that this machine has: some have no IPv6.
    pub fn all() -> Vec<Self> {
        match Endpoint::Tcp("::1".to_owned(), 0).listen() {
            Ok(_) => vec![Self::Unix, Self::Ipv4, Self::Ipv6],
            Err(error) => {
                skipped("what is claimed of IPv6", error);
                vec![Self::Unix, Self::Ipv4]
            }
        }
    }
}

/// What may differ from test to test.
pub struct Setup {
    pub listen: Listen,
    pub identity: Option<Identity>,
    pub policy: Policy,
    pub limits: Limits,
    pub accounts: Option<Accounts>,
    /// Flushes everything to the disk.
    pub sync: bool,
    /// Gives up root's power to open what its permission bits forbid, in the server's threads.
    pub unprivileged: bool,
    /// Served in place of the directory of its own.
    pub top: Option<PathBuf>,
}

impl Setup {
    pub fn encrypted(&mut self) {
        self.identity = Some(Identity::ephemeral().unwrap());
    }
}

/// A running server. It ends, and its thread is joined, when it is dropped.
pub struct TestServer {
    pub endpoint: Endpoint,
    identity: Option<Identity>,
    top: PathBuf,
    shutdown: Shutdown,
    running: Option<JoinHandle<std::io::Result<usize>>>,
    _scratch: TempDir,
}

impl TestServer {
    /// In the clear, over a Unix socket.
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            listen: Listen::Unix,
            identity: None,
            policy: Policy::default(),
            limits: Limits { drain: PATIENCE, ..Limits::default() },
            accounts: None,
            sync: false,
            unprivileged: false,
            top: None,
        };
        change(&mut setup);
        let Setup { listen, identity, policy, limits, accounts, sync, unprivileged, top } = setup;
        let scratch = tempfile::tempdir().unwrap();
        let top = top.unwrap_or_else(|| {
            let own = scratch.path().join("root");
            fs::create_dir(&own).unwrap();
            own
        });
        let endpoint = match listen {
            Listen::Ipv4 => Endpoint::Tcp("127.0.0.1".to_owned(), 0),
            Listen::Ipv6 => Endpoint::Tcp("::1".to_owned(), 0),
            Listen::Unix => Endpoint::Unix(scratch.path().join("socket")),
        };
        let listener = endpoint.listen().unwrap();
        let endpoint = Endpoint::of(&listener).unwrap();
        let root = Root::open(&top, sync).unwrap();
        let server = Server::new(
            Config { root, policy, limits, accounts, identity: identity.clone() },
            vec![listener],
        )
        .unwrap();
        let shutdown = server.shutdown();
        let running = std::thread::spawn(move || {
            if unprivileged {
                give_up_privileges();
            }
            server.run()
        });
        Self { endpoint, identity, top, shutdown, running: Some(running), _scratch: scratch }
    }

    /// One in the clear and one with TLS on each kind of socket, one after the other.
    pub fn each_transport(test: impl Fn(&Self)) {
        for listen in Listen::all() {
            test(&Self::with(|setup| setup.listen = listen));
            test(&Self::with(|setup| {
                setup.listen = listen;
                setup.encrypted();
            }));
        }
    }

    /// How a client reaches it.
    pub fn options(&self) -> Options {
        let security = match &self.identity {
            None => Security::Plaintext,
            Some(identity) => Security::Tls(Trust::Key(identity.fingerprint())),
        };
        Options::new(self.endpoint.clone(), security)
    }

    /// A client that has not yet said anything.
    pub fn client(&self) -> Client {
        Client::connect(&self.options()).unwrap()
    }

    /// A raw connection that has not yet said anything.
    pub fn raw(&self) -> Raw {
        Raw::connect(&self.endpoint)
    }

    /// A raw connection behind `hello`.
    pub fn greeted(&self) -> Raw {
        let mut raw = self.raw();
        raw.hello();
        raw
    }

    /// Where a served name is on this machine.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.top.join(name)
    }

    /// Puts a file there, behind the server's back.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// A file of this size without any content, that costs no space.
    pub fn write_sparse(&self, name: &str, size: u64) {
        fs::File::create(self.path(name)).unwrap().set_len(size).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// All that is served, partial files included.
    pub fn tree(&self) -> Tree {
        tree::of(&self.top)
    }

    /// Whether a file is on its way in: under a partial name, or open without one, which /proc tells (proc(5)).
    pub fn is_receiving(&self) -> bool {
        let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let unnamed = open
            .filter_map(|open| fs::read_link(open.path()).ok())
            .any(|file| file.starts_with(&self.top) && file.to_string_lossy().ends_with(" (deleted)"));
        let is_partial = |path: &PathBuf| ftpish_storage::is_partial(path.file_name().unwrap().as_bytes());
        unnamed || self.tree().keys().any(is_partial)
    }

    /// Orders the end without waiting for it.
    pub fn order_shutdown(&self) {
        self.shutdown.start();
    }

    /// Waits for the end of every session; whether all ended before the drain's limit.
    pub fn stop(&mut self) -> bool {
        self.shutdown.start();
        let running = self.running.take().expect("a server is stopped once");
        running.join().expect("the server does not panic").unwrap() == 0
    }

    /// What is there when every session has ended.
    pub fn tree_at_the_end(&mut self) -> Tree {
        assert!(self.stop(), "every session ends by itself");
        self.tree()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.start();
        if let Some(running) = self.running.take() {
            let ended = running.join();
            assert!(std::thread::panicking() || ended.is_ok(), "the server panicked");
        }
    }
}

fn give_up_privileges() {
    let none = rustix::thread::CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).unwrap();
}

pub fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

/// Bytes in which no block is like another.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Says on the terminal that a test could not show its claim here; `cargo test` hides what a passing test prints.
pub fn skipped(what: &str, why: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
}

/// Tries until it works. For what another thread is about to do; no claim is about how soon.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} never came");
        std::thread::yield_now();
    }
}
