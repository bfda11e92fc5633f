//! The connections that are open: how many there may be, and how they end when the server does.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// All open connections.
pub(crate) struct Connections {
    limit: usize,
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
    socket: socket2::Socket,
    /// Between requests, so that nothing is lost if it ends now.
    idle: bool,
}

impl Connections {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let (open, closed_one, draining) = Default::default();
        Arc::new(Self { limit, open, closed_one, draining })
    }

    /// Takes a place for a connection, which is idle as yet; `None` where all are taken.
    pub(crate) fn enter(self: &Arc<Self>, socket: socket2::Socket) -> Option<Place> {
        let mut open = self.lock();
        if open.sockets.len() >= self.limit {
            return None;
        }
        let id = open.next;
        open.next += 1;
        open.sockets.insert(id, Connected { socket, idle: true });
        Some(Place { id, connections: Arc::clone(self) })
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
        !(idle && self.connections.draining.load(Ordering::SeqCst))
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

    #[test]
    fn a_place_is_free_again_when_its_connection_is_gone() {
        let connections = Connections::new(1);
        let place = connections.enter(pair().0).unwrap();
        assert!(connections.enter(pair().0).is_none());
        drop(place);
        assert!(connections.enter(pair().0).is_some());
    }

    #[test]
    fn draining_ends_idle_connections_and_spares_busy_ones() {
        let connections = Connections::new(2);
        let ((idle, mut idle_peer), (busy, busy_peer)) = (pair(), pair());
        let (idle, busy) = (connections.enter(idle).unwrap(), connections.enter(busy).unwrap());
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
