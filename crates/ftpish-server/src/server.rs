//! Bound listeners in; connections accepted, bounded, and drained at the end.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::Refusal;
use ftpish_service::{Network, Peer, Service, accounts};
use ftpish_storage::Root;
use ftpish_transport::{Deadline, Endpoint, Readiness, Socket, Stream, Wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::connections::{Caps, Connections, Full};
use crate::identity::Identity;
use crate::limits::TURNED_AWAY;
use crate::memory::Memory;
use crate::poller::Poller;
use crate::session::{Session, Shared};
use crate::task::Task;
use crate::turn::{Party, Threads, Turn};
use crate::workers::{Bounds, Workers};
use crate::{Accounts, Limits, Policy};

/// How long to wait before accepting again, when the system is out of file descriptors or memory.
const BACK_OFF: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// After the drain's end, how long the connections that were cut may take to notice.
const AFTER_CUT: Duration = Duration::from_secs(5);

/// What a server serves, to whom, and how.
pub struct Config {
    /// The directory.
    pub root: Root,
    /// What clients may do.
    pub policy: Policy,
    /// How long they may take, and how many they may be.
    pub limits: Limits,
    /// Who may log in; everybody is served alike where absent.
    pub accounts: Option<Accounts>,
    /// What the server proves to be, in TLS; in the clear where absent.
    pub identity: Option<Identity>,
}

/// A server that was not yet started.
pub struct Server {
    acceptor: Acceptor,
    listeners: Vec<socket2::Socket>,
    wake: UnixStream,
    shutdown: Shutdown,
}

/// Tells a running server to end: no new work, idle connections closed, running requests finished, the rest cut
/// after [`Limits::drain`].
#[derive(Clone)]
pub struct Shutdown(Arc<UnixStream>);

impl Shutdown {
    /// Gives the order. May be given from any thread, and more than once.
    pub fn start(&self) {
        // A full pipe means that the order was given already; a closed one, that the server is gone.
        let _ = (&*self.0).write(&[0]);
    }
}

impl Server {
    /// A server for `listeners`, which are bound and listen.
    pub fn new(config: Config, listeners: Vec<socket2::Socket>) -> io::Result<Self> {
        let (order, wake) = UnixStream::pair()?;
        order.set_nonblocking(true)?;
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let memory = Memory::of_this_process();
        let limits = config.limits.within(memory.most());
        let Limits { connections, per_address, unauthenticated, .. } = limits;
        let caps = Caps { total: connections, per_network: per_address, unauthenticated };
        let told = Caps { total: TURNED_AWAY, per_network: TURNED_AWAY, unauthenticated: TURNED_AWAY };
        let (connections, turned_away) = (Connections::new(caps), Connections::new(told));
        let Config { root, policy, accounts, identity, .. } = config;
        let service = Service::new(root, policy, accounts).map_err(Refusal::into_io)?;
        let poller = Arc::new(Poller::new()?);
        let bounds = Bounds {
            threads: limits.workers.max(2),
            greetings: limits.workers_for_unauthenticated.max(1),
            passwords: accounts::HASHERS,
            digests: limits.workers_for_digests.max(1),
        };
        let workers = Workers::new(bounds, Arc::clone(&poller));
        let shared = Shared { service: Arc::new(service), limits, bodies: Arc::default(), memory };
        let acceptor =
            Acceptor { shared: Arc::new(shared), identity, connections, turned_away, poller, workers };
        Ok(Self { acceptor, listeners, wake, shutdown: Shutdown(Arc::new(order)) })
    }

    /// What ends this server.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Serves until [`Shutdown::start`], then drains. Tells how many connections were cut at the end of the drain.
    pub fn run(self) -> io::Result<usize> {
        let Self { acceptor, listeners, wake, shutdown } = self;
        let (poller, workers) = (Arc::clone(&acceptor.poller), Arc::clone(&acceptor.workers));
        std::thread::scope(|scope| {
            let polling = scope.spawn(|| {
                let ran = poller.run(|task| workers.serve(task));
                // Without it nobody is served any more.
                shutdown.start();
                ran
            });
            let finished = accept_until_told(acceptor, listeners, &wake);
            poller.stop();
            workers.stop();
            polling.join().unwrap_or_else(|_| Err(io::Error::other("the poller panicked")))?;
            finished
        })
    }
}

/// Lets connections in until the order to end comes; then lets those who are there finish. Tells how many did not.
fn accept_until_told(
    acceptor: Acceptor,
    listeners: Vec<socket2::Socket>,
    wake: &UnixStream,
) -> io::Result<usize> {
    let mut is_failing = false;
    loop {
        let mut fds: Vec<_> = listeners.iter().map(|l| PollFd::new(l, PollFlags::IN)).collect();
        fds.push(PollFd::new(wake, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds.last().is_some_and(|wake| !wake.revents().is_empty()) {
            break;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (listener, _) in listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
            let accepted = acceptor.accept(listener);
            if let Err(error) = &accepted {
                if !is_failing {
                    tracing::warn!(%error, "cannot accept connections for now");
                }
                let _ = poll(&mut [PollFd::new(wake, PollFlags::IN)], Some(&BACK_OFF));
            }
            is_failing = accepted.is_err();
        }
    }
    for listener in listeners {
        if let Err(error) = Endpoint::of(&listener).and_then(|endpoint| endpoint.remove()) {
            tracing::warn!(%error, "cannot remove a socket");
        }
    }
    tracing::info!("going down");
    Ok(acceptor.drain())
}

/// Turns accepted sockets into sessions.
struct Acceptor {
    shared: Arc<Shared>,
    identity: Option<Identity>,
    connections: Arc<Connections>,
    /// Those beyond the limit, while they are told so.
    turned_away: Arc<Connections>,
    poller: Arc<Poller>,
    workers: Arc<Workers>,
}

impl Acceptor {
    fn accept(&self, listener: &socket2::Socket) -> io::Result<()> {
        let (socket, peer) = match listener.accept() {
            Err(error) if is_transient(&error) => return Ok(()),
            accepted => accepted?,
        };
        let address = peer.as_socket().map(|peer| peer.ip());
        let from = Peer { address, host_key: self.identity.as_ref().map(Identity::fingerprint) };
        let peer = match peer.as_socket() {
            Some(peer) => peer.to_string(),
            None => Endpoint::of(listener)?.to_string(),
        };
        let greeting = Instant::now() + self.shared.limits.greeting;
        let mut stream = match self.open(socket) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(peer, %error, "closed: the connection cannot be set up");
                return Ok(());
            }
        };
        let network = address.map(Network::of);
        let entered = match self.shared.memory.is_short() {
            true => Err(Full::Memory),
            false => self.connections.enter(stream.socket(), network),
        };
        let (slot, full) = match entered {
            Ok(slot) => (slot, None),
            Err(full) => match self.turned_away.enter(stream.socket(), network) {
                Ok(slot) => (slot, Some(full)),
                Err(_) => {
                    tracing::warn!(peer, "far too many connections: closed without a word");
                    return Ok(());
                }
            },
        };
        let socket = stream.socket();
        let threads: Arc<dyn Threads> = Arc::clone(&self.workers) as _;
        let turn = Turn::new(threads, network.map_or(Party::Local, Party::Network));
        let shared = Arc::clone(&self.shared);
        let session = Session::new(stream, (Arc::clone(&turn), slot), shared, from, greeting, full);
        let span = tracing::info_span!("session", peer);
        let task = Task::new(session.run(), turn, socket, span, self.poller.name());
        self.poller.rest(task, Wait { readiness: Readiness::Read, until: greeting });
        Ok(())
    }

    fn open(&self, socket: socket2::Socket) -> io::Result<Stream> {
        let socket = Socket::yielding(socket, Deadline::after(self.shared.limits.greeting))?;
        Stream::accept(socket, self.identity.as_ref().map(Identity::tls))
    }

    fn drain(self) -> usize {
        // Nothing is lost with those who were to be told `busy`.
        self.turned_away.cut();
        let cut = self.connections.drain(self.shared.limits.drain);
        if cut > 0 {
            self.connections.cut();
            self.connections.wait_closed(AFTER_CUT);
        }
        self.turned_away.wait_closed(AFTER_CUT);
        cut
    }
}

/// The client was gone before it was accepted, or another took it.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}
