//! The connections that are open: how many there may be, in all, from one network and of those who have not logged in,
//! and how they end when the server does.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::network::Network;

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) in_all: usize,
    pub(crate) from_one_network: usize,
    pub(crate) strangers: usize,
}

/// What there is too much of for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    InAll,
    FromThere,
    Strangers,
}

/// All open connections.
pub(crate) struct Connections {
    most: Most,
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
    /// None behind a Unix socket.
    network: Option<Network>,
    /// Nobody who was admitted as yet.
    stranger: bool,
    /// Between requests, so that nothing is lost if it ends now.
    idle: bool,
}

impl Connections {
    pub(crate) fn new(most: Most) -> Arc<Self> {
        let (open, closed_one, draining) = Default::default();
        Arc::new(Self { most, open, closed_one, draining })
    }

    /// Takes a place for a stranger's connection, which is idle as yet.
    pub(crate) fn enter(
        self: &Arc<Self>,
        socket: Arc<socket2::Socket>,
        network: Option<Network>,
    ) -> Result<Place, Full> {
        let mut open = self.lock();
        // They are counted anew each time: a count that is kept beside the table could be wrong.
        let count = |of: &dyn Fn(&Connected) -> bool| open.sockets.values().filter(|c| of(c)).count();
        let Most { in_all, from_one_network, strangers } = self.most;
        if open.sockets.len() >= in_all {
            return Err(Full::InAll);
        }
        if network.is_some() && count(&|c| c.network == network) >= from_one_network {
            return Err(Full::FromThere);
        }
        if count(&|c| c.stranger) >= strangers {
            return Err(Full::Strangers);
        }
        let id = open.next;
        open.next += 1;
        open.sockets.insert(id, Connected { socket, network, stranger: true, idle: true });
        Ok(Place { id, connections: Arc::clone(self) })
    }

    /// Ends the idle connections, now and as they become idle.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.lock().sockets.values().filter(|c| c.idle).for_each(Connected::end);
    }

    /// Waits until no connection is open; `false` where some still are at the `limit`.
    pub(crate) fn wait_closed(&self, limit: Duration) -> bool {
        let waited = self.closed_one.wait_timeout_while(self.lock(), limit, |open| !open.sockets.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.sockets.is_empty()
    }

    /// Ends every connection, whatever it is doing.
    pub(crate) fn cut(&self) {
        self.lock().sockets.values().for_each(Connected::end);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // No panic can leave the table half changed: every change is one call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected {
    fn end(&self) {
        // Whoever waits on the socket then reads its end. One that is gone already needs no end.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// The right to be one of the open connections, given back when dropped.
pub(crate) struct Place {
    id: u64,
    connections: Arc<Connections>,
}

impl Place {
    /// Says whether the connection is between requests; `false` where it is to end there.
    pub(crate) fn set_idle(&self, idle: bool) -> bool {
        let mut open = self.connections.lock();
        if let Some(connected) = open.sockets.get_mut(&self.id) {
            connected.idle = idle;
        }
        !(idle && self.is_draining())
    }

    /// Whether there is to be no next request.
    pub(crate) fn is_draining(&self) -> bool {
        self.connections.draining.load(Ordering::SeqCst)
    }

    /// Says that the connection is no stranger's any more.
    pub(crate) fn admit(&self) {
        if let Some(connected) = self.connections.lock().sockets.get_mut(&self.id) {
            connected.stranger = false;
        }
    }
}

impl Drop for Place {
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

    fn connections(in_all: usize) -> Arc<Connections> {
        Connections::new(Most { in_all, from_one_network: 2, strangers: 3 })
    }

    #[track_caller]
    fn check(connections: &Arc<Connections>, from: Option<&str>, full: Option<Full>) -> Option<Place> {
        let entered = connections.enter(pair().0.into(), from.map(|from| Network::of(from.parse().unwrap())));
        assert_eq!(entered.as_ref().err().copied(), full);
        entered.ok()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let connections = connections(1);
        let place = check(&connections, None, None);
        check(&connections, None, Some(Full::InAll));
        drop(place);
        check(&connections, None, None);
    }

    #[test]
    fn one_network_and_strangers_take_no_more_than_their_share() {
        let connections = connections(9);
        let _one = check(&connections, Some("2001:db8::1"), None);
        let two = check(&connections, Some("2001:db8::2"), None);
        check(&connections, Some("2001:db8::3"), Some(Full::FromThere));
        let three = check(&connections, Some("192.0.2.1"), None).unwrap();
        check(&connections, None, Some(Full::Strangers));
        three.admit();
        let _four = check(&connections, None, None);
        check(&connections, None, Some(Full::Strangers));
        drop(two);
        check(&connections, Some("2001:db8::3"), None);
    }

    #[test]
    fn draining_ends_idle_connections_and_spares_busy_ones() {
        let connections = connections(2);
        let ((idle, mut idle_peer), (busy, busy_peer)) = (pair(), pair());
        let (idle, busy) =
            (connections.enter(idle.into(), None).unwrap(), connections.enter(busy.into(), None).unwrap());
        busy.set_idle(false);
        assert!(idle.set_idle(true));
        connections.drain();
        assert_eq!(idle_peer.read(&mut [0]).unwrap(), 0);
        busy_peer.set_nonblocking(true).unwrap();
        assert!((&busy_peer).read(&mut [0]).is_err(), "still open");
        assert!(!busy.set_idle(true), "no next request");
        drop(idle);
        assert!(!connections.wait_closed(Duration::ZERO));
        drop(busy);
        assert!(connections.wait_closed(Duration::ZERO));
    }
}
