//! Bound listeners in; connections accepted, bounded, and drained at the end.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ftpish_storage::Root;
use ftpish_transport::{Deadline, Endpoint, Interrupt, Socket, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ServerConfig;

use crate::accounts::Accounts;
use crate::commands::login::Peer;
use crate::commands::part::Uploads;
use crate::connections::{Connections, Most, Place};
use crate::limits::TURNED_AWAY;
use crate::network::Network;
use crate::session::{Service, Session};
use crate::{Limits, Policy};

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
    /// TLS; in the clear where absent.
    pub tls: Option<Arc<ServerConfig>>,
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
        let Limits { connections, per_address, strangers, .. } = config.limits;
        let most = Most { in_all: connections, from_one_network: per_address, strangers };
        let told = Most { in_all: TURNED_AWAY, from_one_network: TURNED_AWAY, strangers: TURNED_AWAY };
        let (connections, turned_away) = (Connections::new(most), Connections::new(told));
        let Config { root, policy, limits, accounts, tls } = config;
        let service = Arc::new(Service { root, policy, limits, uploads: Uploads::default(), accounts });
        let acceptor = Acceptor { service, tls, connections, turned_away };
        Ok(Self { acceptor, listeners, wake, shutdown: Shutdown(Arc::new(order)) })
    }

    /// What ends this server.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Serves until [`Shutdown::start`], then drains. `false` where requests still ran at the end of the drain.
    pub fn run(self) -> io::Result<bool> {
        let Self { acceptor, listeners, wake, shutdown: _ } = self;
        loop {
            let mut fds: Vec<_> = listeners.iter().map(|l| PollFd::new(l, PollFlags::IN)).collect();
            fds.push(PollFd::new(&wake, PollFlags::IN));
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if fds.last().is_some_and(|wake| !wake.revents().is_empty()) {
                break;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            for (listener, _) in listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
                if let Err(error) = acceptor.accept(listener) {
                    tracing::warn!(%error, "cannot accept a connection");
                    let _ = poll(&mut [PollFd::new(&wake, PollFlags::IN)], Some(&BACK_OFF));
                }
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
}

/// Turns accepted sockets into sessions, each on a thread of its own.
struct Acceptor {
    service: Arc<Service>,
    tls: Option<Arc<ServerConfig>>,
    connections: Arc<Connections>,
    /// Those beyond the limit, while they are told so.
    turned_away: Arc<Connections>,
}

impl Acceptor {
    fn accept(&self, listener: &socket2::Socket) -> io::Result<()> {
        let (socket, peer) = match listener.accept() {
            Err(error) if is_transient(&error) => return Ok(()),
            accepted => accepted?,
        };
        let address = peer.as_socket().map(|peer| peer.ip());
        let from = Peer { address, encrypted: self.tls.is_some() };
        let peer = match peer.as_socket() {
            Some(peer) => peer.to_string(),
            None => Endpoint::of(listener)?.to_string(),
        };
        let greeting = Deadline::after(self.service.limits.greeting);
        let (service, tls) = (Arc::clone(&self.service), self.tls.clone());
        let network = address.map(Network::of);
        let full = match self.connections.enter(socket.try_clone()?, network) {
            Ok(place) => {
                return spawn(peer, place, move |place| {
                    Ok(open(socket, greeting, tls, service, from)?.run(place, greeting)?)
                });
            }
            Err(full) => full,
        };
        match self.turned_away.enter(socket.try_clone()?, network) {
            Ok(place) => spawn(peer, place, move |_| {
                Ok(open(socket, greeting, tls, service, from)?.turn_away(full, greeting)?)
            }),
            Err(_) => {
                tracing::warn!(peer, "far too many connections: closed without a word");
                Ok(())
            }
        }
    }

    fn drain(self) -> bool {
        self.connections.drain();
        // Nothing is lost with those who were to be told `busy`.
        self.turned_away.cut();
        let finished = self.connections.wait_closed(self.service.limits.drain);
        if !finished {
            self.connections.cut();
            self.connections.wait_closed(AFTER_CUT);
        }
        self.turned_away.wait_closed(AFTER_CUT);
        finished
    }
}

fn open(
    socket: socket2::Socket,
    greeting: Deadline,
    tls: Option<Arc<ServerConfig>>,
    service: Arc<Service>,
    peer: Peer,
) -> Result<Session, SessionError> {
    let socket = Socket::new(socket, greeting, Interrupt::default()).map_err(SessionError::Setup)?;
    Ok(Session::new(Stream::accept(socket, tls).map_err(SessionError::Setup)?, service, peer))
}

/// Runs a session on a thread of its own, where its panic harms no other. Its place is free when it ends.
fn spawn(
    peer: String,
    place: Place,
    session: impl FnOnce(&Place) -> Result<(), SessionError> + Send + 'static,
) -> io::Result<()> {
    std::thread::Builder::new().name("session".to_owned()).spawn(move || {
        let _span = tracing::info_span!("session", peer).entered();
        match catch_unwind(AssertUnwindSafe(|| session(&place))) {
            Ok(Ok(())) => tracing::info!("closed"),
            Ok(Err(error)) => tracing::info!(%error, "closed"),
            Err(_) => tracing::error!("a session panicked: this is a defect of ftpish"),
        }
    })?;
    Ok(())
}

/// Why a session ended before its client left.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("cannot set up the connection: {0}")]
    Setup(io::Error),
    #[error(transparent)]
    Protocol(#[from] ftpish_protocol::Error),
}

/// The client was gone before it was accepted, or another took it.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}
