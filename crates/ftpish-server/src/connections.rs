//! The open connections. They are capped in total, per network and while unauthenticated. A server that shuts down
//! drains them here.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ftpish_service::Network;

/// How often a draining server checks which connections can be closed.
const DRAIN_CHECK: Duration = Duration::from_millis(100);

/// Upper bounds on the number of open connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) total: usize,
    pub(crate) per_network: usize,
    pub(crate) unauthenticated: usize,
}

/// Which limit was reached, so that a new connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Connections to the server.
    Total,
    /// Connections from one address or network.
    Address,
    /// Connections that are not logged in yet.
    Unauthenticated,
    /// The server's memory.
    Memory,
}

/// All open connections.
pub(crate) struct Connections {
    caps: Caps,
    open: Mutex<Open>,
    closed_one: Condvar,
    draining: AtomicBool,
}

#[derive(Default)]
struct Open {
    next: u64,
    sockets: HashMap<u64, Connected>,
}

struct Connected {
    socket: Arc<socket2::Socket>,
    /// `None` for a Unix socket.
    network: Option<Network>,
    /// Whether the client has yet to be [admitted](ConnectionSlot::admit).
    unauthenticated: bool,
    now: Activity,
}

/// What a connection is doing. A draining server decides by this when to close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A request is being served.
    Busy,
    /// Closing it now loses nothing.
    Idle,
    /// Between two requests for one file. The next one is due before this instant.
    Between(Instant),
}

impl Activity {
    fn may_end(self, now: Instant) -> bool {
        match self {
            Self::Busy => false,
            Self::Idle => true,
            Self::Between(until) => until <= now,
        }
    }
}

impl Connections {
    pub(crate) fn new(caps: Caps) -> Arc<Self> {
        let (open, closed_one, draining) = Default::default();
        Arc::new(Self { caps, open, closed_one, draining })
    }

    /// Takes a slot for a new connection. It starts idle and unauthenticated.
    pub(crate) fn enter(
        self: &Arc<Self>,
        socket: Arc<socket2::Socket>,
        network: Option<Network>,
    ) -> Result<ConnectionSlot, Full> {
        let mut open = self.lock();
        // Counted each time: a separate counter could get out of step with the table.
        let count = |of: &dyn Fn(&Connected) -> bool| open.sockets.values().filter(|c| of(c)).count();
        let Caps { total, per_network, unauthenticated } = self.caps;
        if open.sockets.len() >= total {
            return Err(Full::Total);
        }
        if network.is_some() && count(&|c| c.network == network) >= per_network {
            return Err(Full::Address);
        }
        if count(&|c| c.unauthenticated) >= unauthenticated {
            return Err(Full::Unauthenticated);
        }
        let id = open.next;
        open.next += 1;
        open.sockets.insert(id, Connected { socket, network, unauthenticated: true, now: Activity::Idle });
        Ok(ConnectionSlot { id, connections: Arc::clone(self) })
    }

    /// Closes each connection as soon as it is idle, until none is left or `limit` is over. Returns how many are left.
    pub(crate) fn drain(&self, limit: Duration) -> usize {
        self.draining.store(true, Ordering::SeqCst);
        let until = Instant::now() + limit;
        let mut open = self.lock();
        loop {
            let now = Instant::now();
            open.sockets.values().filter(|c| c.now.may_end(now)).for_each(Connected::end);
            if open.sockets.is_empty() || now >= until {
                return open.sockets.len();
            }
            let wait = DRAIN_CHECK.min(until - now);
            open = self.closed_one.wait_timeout(open, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until no connection is open, but at most for `limit`.
    pub(crate) fn wait_closed(&self, limit: Duration) {
        let waited = self.closed_one.wait_timeout_while(self.lock(), limit, |open| !open.sockets.is_empty());
        drop(waited);
    }

    /// Closes every connection, whatever it is doing.
    pub(crate) fn cut(&self) {
        self.lock().sockets.values().for_each(Connected::end);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A panic cannot leave the table half changed: every change is one call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    fn end(&self) {
        // A session that waits on the socket then reads end of file. An error means that the peer has gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// One open connection among the capped number. Dropping it frees the slot.
pub(crate) struct ConnectionSlot {
    id: u64,
    connections: Arc<Connections>,
}

impl ConnectionSlot {
    /// Records what the connection is doing. Returns `false` if it must close now.
    pub(crate) fn set(&self, activity: Activity) -> bool {
        let mut open = self.connections.lock();
        if let Some(connected) = open.sockets.get_mut(&self.id) {
            connected.now = activity;
        }
        !(self.is_draining() && activity.may_end(Instant::now()))
    }

    /// Whether the server is shutting down. Only requests that continue a transfer are still served.
    pub(crate) fn is_draining(&self) -> bool {
        self.connections.draining.load(Ordering::SeqCst)
    }

    /// Records that the client is no longer unauthenticated.
    pub(crate) fn admit(&self) {
        if let Some(connected) = self.connections.lock().sockets.get_mut(&self.id) {
            connected.unauthenticated = false;
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.lock().sockets.remove(&self.id);
        self.connections.closed_one.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn pair() -> (socket2::Socket, socket2::Socket) {
        socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap()
    }

    fn connections(total: usize) -> Arc<Connections> {
        Connections::new(Caps { total, per_network: 2, unauthenticated: 3 })
    }

    #[track_caller]
    fn check(
        connections: &Arc<Connections>,
        from: Option<&str>,
        full: Option<Full>,
    ) -> Option<ConnectionSlot> {
        let entered = connections.enter(pair().0.into(), from.map(|from| Network::of(from.parse().unwrap())));
        assert_eq!(entered.as_ref().err().copied(), full);
        entered.ok()
    }

    #[test]
    fn a_slot_is_free_again_when_its_connection_is_gone() {
        let connections = connections(1);
        let slot = check(&connections, None, None);
        check(&connections, None, Some(Full::Total));
        drop(slot);
        check(&connections, None, None);
    }

    #[test]
    fn one_network_and_unauthenticated_clients_take_no_more_than_their_share() {
        let connections = connections(9);
        let _one = check(&connections, Some("2001:db8::1"), None);
        let two = check(&connections, Some("2001:db8::2"), None);
        check(&connections, Some("2001:db8::3"), Some(Full::Address));
        let three = check(&connections, Some("192.0.2.1"), None).unwrap();
        check(&connections, None, Some(Full::Unauthenticated));
        three.admit();
        let _four = check(&connections, None, None);
        check(&connections, None, Some(Full::Unauthenticated));
        drop(two);
        check(&connections, Some("2001:db8::3"), None);
    }

    #[test]
    fn draining_ends_idle_connections_and_spares_those_that_move_a_file() {
        let connections = connections(4);
        let far = Instant::now() + Duration::from_secs(60);
        let activities =
            [Activity::Idle, Activity::Between(Instant::now()), Activity::Busy, Activity::Between(far)];
        let (slots, peers): (Vec<_>, Vec<_>) = activities
            .iter()
            .map(|activity| {
                let (own, peer) = pair();
                let slot = connections.enter(own.into(), None).unwrap();
                slot.admit();
                assert!(slot.set(*activity), "nobody ends yet");
                (slot, peer)
            })
            .unzip();
        assert_eq!(connections.drain(Duration::ZERO), 4);
        for (activity, (mut peer, slot)) in activities.iter().zip(peers.into_iter().zip(&slots)) {
            let ends = activity.may_end(Instant::now());
            peer.set_nonblocking(true).unwrap();
            assert_eq!(peer.read(&mut [0]).is_ok(), ends, "{activity:?}");
            assert_eq!(slot.set(*activity), !ends, "{activity:?}");
        }
        drop(slots);
        assert_eq!(connections.drain(Duration::ZERO), 0);
    }
}
