//! Timeouts and caps. No peer can change any of them.

use std::time::Duration;

use ftpish_transport::Deadline;

/// The server's patience. The defaults suit a slow and lossy line, not a hostile one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections. Further ones are refused with `busy`.
    pub connections: usize,
    /// Open connections from one IPv4 address or IPv6 /64. Unix sockets have no address and are not counted.
    pub per_address: usize,
    /// Unauthenticated connections: those that have not sent `hello`, or have not logged in where that is required. Keep
    /// it above `per_address`, or one address can keep all others from logging in.
    pub unauthenticated: usize,
    /// Worker threads. Work queues when all are busy. A connection that waits for its client uses no thread.
    pub workers: usize,
    /// Worker threads that may serve unauthenticated connections at a time.
    pub workers_for_unauthenticated: usize,
    /// Worker threads that may hash files, for requests that do not transfer them, at a time.
    pub workers_for_digests: usize,
    /// Bytes buffered for all bodies in flight, in each direction. Each body gets 256 KiB while that fits (by default, up to
    /// 128 bodies), and never less than 16 KiB.
    pub body_memory: usize,
    /// From accepting a connection to the end of TLS, `hello` and, where it is required, `login`.
    pub greeting: Duration,
    /// From a request's first byte to its last.
    pub request: Duration,
    /// Between requests.
    pub idle: Duration,
    /// While a reply or a body is in flight: the time within which [`PACE_BYTES`] must move.
    pub pace: Duration,
    /// How long a client may stall a body, if it keeps saying that it is alive.
    pub stall: Duration,
    /// From the order to shut down until running transfers are cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_address: 64,
            unauthenticated: 1000,
            workers: 32,
            workers_for_unauthenticated: 8,
            workers_for_digests: std::thread::available_parallelism().map_or(1, usize::from).min(16),
            body_memory: 32 * 1024 * 1024,
            greeting: Duration::from_secs(10),
            request: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            pace: Duration::from_secs(30),
            stall: Duration::from_secs(60 * 60),
            drain: Duration::from_secs(30),
        }
    }
}

/// Bytes that must move within [`Limits::pace`]. At the default that is about half a KiB a second: the slowest modem
/// reaches it, and a peer that drips one byte a second does not.
pub const PACE_BYTES: u64 = 16 * 1024;

/// The longest header accepted from an unauthenticated client. `hello` and `login` need no more.
pub const UNAUTHENTICATED_HEADER: usize = 4 * 1024;

/// Connections over the limit that are told `busy` at a time. Further ones are closed without a reply.
pub const TURNED_AWAY: usize = 64;

/// How often a client that waits for slow work is sent `working`.
pub const WORKING_EVERY: Duration = Duration::from_secs(5);

/// Memory that a worker thread needs, buffers included, and the fewest workers, when memory is limited.
const THREAD_MEMORY: u64 = 8 * 1024 * 1024;
const FEWEST_WORKERS: usize = 4;

impl Limits {
    /// These limits, lowered to fit a process that may use `memory` bytes.
    pub(crate) fn within(mut self, memory: Option<u64>) -> Self {
        if let Some(memory) = memory {
            let share = |of: u64| usize::try_from(memory / of).unwrap_or(usize::MAX);
            self.workers = self.workers.min(share(THREAD_MEMORY).max(FEWEST_WORKERS));
            self.workers_for_unauthenticated = self.workers_for_unauthenticated.min(self.workers.div_ceil(4));
            self.body_memory = self.body_memory.min(share(8));
        }
        self
    }

    pub(crate) fn moving(&self) -> Deadline {
        Deadline::Pace { bytes: PACE_BYTES, window: self.pace, stall: self.stall }
    }

    /// For a body of unknown length. Its sender still produces it and may pause.
    pub(crate) fn streaming(&self) -> Deadline {
        Deadline::Pace { bytes: PACE_BYTES, window: (2 * self.idle).max(self.pace), stall: self.stall }
    }
}
