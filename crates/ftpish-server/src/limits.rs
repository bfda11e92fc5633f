//! How long a peer may take, and how many peers there may be. No peer can move any of these.

use std::time::Duration;

use ftpish_transport::Deadline;

/// The server's patience. The defaults suit a slow and lossy line, not a hostile one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many connections are open at once; the next are told `busy`.
    pub connections: usize,
    /// How many of them come from one address, or one /64 of IPv6; for Unix sockets, which have none, it says nothing.
    pub per_address: usize,
    /// How many of them have not said `hello` yet, or not logged in where that is needed. More than `per_address`, or
    /// one address could keep all others from logging in.
    pub strangers: usize,
    /// How many threads there are for all that is done; what they have no time for waits. A client that is waited for has
    /// none.
    pub workers: usize,
    /// How many of them for those who have not said `hello` yet, or not logged in where that is needed.
    pub workers_for_strangers: usize,
    /// How many of them hash files for clients that do not receive them.
    pub workers_for_digests: usize,
    /// How many bytes of all bodies that move are held at a time, in each direction: what a crowd shares. Each has 256 KiB,
    /// by default up to 128 bodies, and never less than 16 KiB.
    pub body_memory: usize,
    /// From the accepted connection to the end of its first request: TLS, and `hello`.
    pub greeting: Duration,
    /// From a request's first byte to its last.
    pub request: Duration,
    /// Between requests.
    pub idle: Duration,
    /// While a reply or a body moves: so much waiting for [`PACE_BYTES`] at the most.
    pub pace: Duration,
    /// For how long at most a client may take nothing of a body and say that it is alive.
    pub stall: Duration,
    /// From the order to shut down until transfers that still run are cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_address: 64,
            strangers: 1000,
            workers: 32,
            workers_for_strangers: 8,
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

/// How many bytes must move within [`Limits::pace`]: at its default, about half a KiB a second, which the
/// slowest modem reaches and a peer that drips one byte a second does not.
pub const PACE_BYTES: u64 = 16 * 1024;

/// The longest message of a client that has not said `hello` yet, or not logged in where that is needed; it has no need
/// of more.
pub const STRANGERS_HEADER: usize = 4 * 1024;

/// How many connections beyond the limit are told `busy` at the same time; those beyond are closed without a word.
pub const TURNED_AWAY: usize = 64;

/// How often a client that waits for slow work hears that it goes on.
pub const WORKING_EVERY: Duration = Duration::from_secs(5);

/// What a thread takes of a limited memory, with the buffers of what it is at; and how many there are at the least.
const THREAD_MEMORY: u64 = 8 * 1024 * 1024;
const FEWEST_WORKERS: usize = 4;

impl Limits {
    /// The same for a process that may have so many bytes of memory.
    pub(crate) fn within(mut self, memory: Option<u64>) -> Self {
        if let Some(memory) = memory {
            let share = |of: u64| usize::try_from(memory / of).unwrap_or(usize::MAX);
            self.workers = self.workers.min(share(THREAD_MEMORY).max(FEWEST_WORKERS));
            self.workers_for_strangers = self.workers_for_strangers.min(self.workers.div_ceil(4));
            self.body_memory = self.body_memory.min(share(8));
        }
        self
    }

    pub(crate) fn moving(&self) -> Deadline {
        Deadline::Pace { bytes: PACE_BYTES, window: self.pace, stall: self.stall }
    }

    /// For a body whose length its sender does not know, because it is still being made.
    pub(crate) fn streaming(&self) -> Deadline {
        Deadline::Pace { bytes: PACE_BYTES, window: (2 * self.idle).max(self.pace), stall: self.stall }
    }
}
