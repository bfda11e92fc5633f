//! The connections that are open: how many there may be, in all, from one network and of those who have not logged in,
//! and how they end when the server does.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::network::Network;

/// How often it is looked, while the server drains, which connections have come to their end.
const DRAIN_CHECK: Duration = Duration::from_millis(100);

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
    /// It is memory that there is not enough of.
    Memory,
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
    now: Activity,
}

/// What a connection is at, as far as the server's end depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A request is served.
    Busy,
    /// Nothing is lost if it ends now.
    Idle,
    /// Between two requests for one file, of which the next is to come until then.
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
        open.sockets.insert(id, Connected { socket, network, stranger: true, now: Activity::Idle });
        Ok(Place { id, connections: Arc::clone(self) })
    }

    /// Ends the connections that move nothing, now and as they come to that, until none is left or the time is over; tells
    /// how many are left.
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

    /// Waits until no connection is open, for so long at the most.
    pub(crate) fn wait_closed(&self, limit: Duration) {
        let waited = self.closed_one.wait_timeout_while(self.lock(), limit, |open| !open.sockets.is_empty());
        drop(waited);
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
    /// Says what the connection is at; `false` where it is to end there.
    pub(crate) fn set(&self, activity: Activity) -> bool {
        let mut open = self.connections.lock();
        if let Some(connected) = open.sockets.get_mut(&self.id) {
            connected.now = activity;
        }
        !(self.is_draining() && activity.may_end(Instant::now()))
    }

    /// Whether there are to be no new requests, but for files that have begun to move.
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
    fn draining_ends_idle_connections_and_spares_those_that_move_a_file() {
        let connections = connections(4);
        let far = Instant::now() + Duration::from_secs(60);
        let activities =
            [Activity::Idle, Activity::Between(Instant::now()), Activity::Busy, Activity::Between(far)];
        let (places, peers): (Vec<_>, Vec<_>) = activities
            .iter()
            .map(|activity| {
                let (own, peer) = pair();
                let place = connections.enter(own.into(), None).unwrap();
                place.admit();
                assert!(place.set(*activity), "nobody ends yet");
                (place, peer)
            })
            .unzip();
        assert_eq!(connections.drain(Duration::ZERO), 4);
        for (activity, (mut peer, place)) in activities.iter().zip(peers.into_iter().zip(&places)) {
            let ends = activity.may_end(Instant::now());
            peer.set_nonblocking(true).unwrap();
            assert_eq!(peer.read(&mut [0]).is_ok(), ends, "{activity:?}");
            assert_eq!(place.set(*activity), !ends, "{activity:?}");
        }
        drop(places);
        assert_eq!(connections.drain(Duration::ZERO), 0);
    }
}
