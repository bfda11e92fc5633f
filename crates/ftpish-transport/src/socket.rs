//! A connected socket whose every wait ends: at a deadline that the peer cannot move, or when somebody on this
//! side interrupts it. A client's socket waits by itself; a server's fails with `WouldBlock` and says what it waits for
//! ([`Wait`]), so that many of them wait in one place.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Throttle;

/// How long a wait may go on before the [`Interrupt`] is looked at.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// How long a wait goes on at a time that nobody can interrupt: what the system surely can count.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// After how long without traffic TCP asks whether the peer still is there (tcp(7), `TCP_KEEPIDLE`).
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How often it then asks, and after how many questions without an answer the peer is gone: within a minute in all.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// When a wait for the peer is over.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// At a point in time, whatever moves until then: for a handshake or a message.
    At(Instant),
    /// When fewer than `bytes` moved, in both directions together, within `window` of waiting: for a body. It
    /// bounds the slowest pace, not the length, and our own slowness is not the peer's.
    Pace {
        /// How many bytes must move.
        bytes: u64,
        /// Within how long.
        window: Duration,
        /// For how long at most nothing need move while the peer takes no bytes, but sends some: that shows it is alive.
        stall: Duration,
    },
}

impl Deadline {
    /// `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self::At(Instant::now() + limit)
    }
}

/// Ends the waits of the sockets that were given a clone of it, from another thread or a signal handler.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Ends all waits, now and to come.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Lets new waits begin.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether waits are to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Whether anybody else could set it.
    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// What a socket waits for that does not wait by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What it is to be ready for.
    pub readiness: Readiness,
    /// When to try again in any case.
    pub until: Instant,
}

/// What a socket may be ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// There are bytes to read, or the peer closed.
    Read,
    /// There is room for bytes to be written.
    Write,
    /// Nothing is to be moved; but the connection may end.
    Hangup,
}

/// A [`Wait`] that has begun.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    wait: Wait,
    began: Instant,
    /// How many bytes of the peer lay unread when it was last looked.
    unread: u64,
}

/// A connected TCP or Unix socket. Reads and writes fail with `TimedOut` when the [`Deadline`] is over, and with
/// `ConnectionAborted` when the [`Interrupt`] is set.
#[derive(Debug)]
pub struct Socket {
    inner: Arc<socket2::Socket>,
    deadline: Deadline,
    /// Under [`Deadline::Pace`]: how much waiting is left until the next `bytes` have moved.
    patience: Duration,
    /// How many of these `bytes` have moved.
    moved: u64,
    interrupt: Interrupt,
    throttle: Option<Arc<Throttle>>,
    /// Until when the throttle lets nothing more move.
    held_until: Option<Instant>,
    /// Whether it fails with `WouldBlock` in place of waiting.
    yields: bool,
    /// What it failed to wait for.
    waiting: Option<Waiting>,
}

impl Socket {
    /// Takes over a connected socket. TCP is set to send at once and to notice a peer that is gone.
    pub fn new(inner: socket2::Socket, deadline: Deadline, interrupt: Interrupt) -> io::Result<Self> {
        inner.set_nonblocking(true)?;
        if inner.local_addr()?.as_socket().is_some() {
            inner.set_tcp_nodelay(true)?;
            let keepalive = socket2::TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE_INTERVAL)
                .with_retries(KEEPALIVE_RETRIES);
            inner.set_tcp_keepalive(&keepalive)?;
        }
        let (patience, moved, throttle, held_until, yields, waiting) = Default::default();
        let inner = Arc::new(inner);
        let mut socket =
            Self { inner, deadline, patience, moved, interrupt, throttle, held_until, yields, waiting };
        socket.set_deadline(deadline);
        Ok(socket)
    }

    /// As [`new`](Self::new), but what would wait fails with `WouldBlock`; [`wait`](Self::wait) says for what.
    pub fn yielding(inner: socket2::Socket, deadline: Deadline) -> io::Result<Self> {
        Ok(Self { yields: true, ..Self::new(inner, deadline, Interrupt::default())? })
    }

    /// What the call waits for that failed with `WouldBlock`. It is to be repeated when that has come: it knows how long it
    /// waited.
    pub fn wait(&self) -> Option<Wait> {
        self.waiting.map(|waiting| waiting.wait)
    }

    /// Says when waits from now on are over.
    pub fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
        self.waiting = None;
        self.moved = 0;
        if let Deadline::Pace { window, .. } = deadline {
            self.patience = window;
        }
    }

    /// Lets no more move from now on than the throttle does. What it holds back is not the peer's slowness.
    pub fn set_throttle(&mut self, throttle: Option<Arc<Throttle>>) {
        self.throttle = throttle;
    }

    /// Whether a read would not wait: there are bytes, or the peer closed.
    pub fn is_readable(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&*self.inner, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The socket itself: to shut it down from another thread, or to wait for it along with others.
    pub fn shared(&self) -> Arc<socket2::Socket> {
        Arc::clone(&self.inner)
    }

    /// Does `step` until it would no longer wait.
    fn patiently(
        &mut self,
        readiness: Readiness,
        mut step: impl FnMut(&socket2::Socket, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.hold()?;
        let most = self.throttle.as_ref().map_or(usize::MAX, |throttle| throttle.step());
        loop {
            match step(&self.inner, most) {
                Ok(moved) => {
                    if let Some(Waiting { wait, .. }) = self.waiting.take() {
                        self.patience = wait.until.saturating_duration_since(Instant::now());
                    }
                    self.note(moved as u64);
                    self.held_until =
                        self.throttle.as_ref().map(|throttle| throttle.charge(moved, Instant::now()));
                    return Ok(moved);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for(readiness)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn note(&mut self, moved: u64) {
        if let Deadline::Pace { bytes, window, .. } = self.deadline {
            self.moved += moved;
            if self.moved >= bytes {
                self.moved = 0;
                self.patience = window;
            }
        }
    }

    /// Waits for the throttle; not for a connection that is gone, or cut.
    fn hold(&mut self) -> io::Result<()> {
        let Some(until) = self.held_until else { return Ok(()) };
        if !self.yields {
            match self.wait_until(PollFlags::empty(), until) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                waited => waited?,
            }
        } else if self.waiting.take().is_none() && Instant::now() < until {
            // Whoever comes back before that time was told that the connection is gone.
            let wait = Wait { readiness: Readiness::Hangup, until };
            self.waiting = Some(Waiting { wait, began: Instant::now(), unread: 0 });
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.held_until = None;
        Ok(())
    }

    /// Waits until the socket is ready, or fails with `WouldBlock` and takes note of the wait.
    fn wait_for(&mut self, readiness: Readiness) -> io::Result<()> {
        let mut waiting = self.waiting.take().unwrap_or_else(|| self.begin_wait(readiness));
        waiting.wait.readiness = readiness;
        loop {
            waiting = self.go_on_waiting(waiting)?;
            self.waiting = Some(waiting);
            if self.yields {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let flags = if readiness == Readiness::Read { PollFlags::IN } else { PollFlags::OUT };
            match self.wait_until(flags, waiting.wait.until) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                waited => return waited,
            }
        }
    }

    fn begin_wait(&self, readiness: Readiness) -> Waiting {
        let began = Instant::now();
        let until = match self.deadline {
            Deadline::At(until) => until,
            Deadline::Pace { .. } => began + self.patience,
        };
        Waiting { wait: Wait { readiness, until }, began, unread: self.unread(readiness) }
    }

    /// The same wait, unless the deadline is over. A peer that takes no bytes, but has sent some since it was last looked,
    /// is alive, and has another window.
    fn go_on_waiting(&self, waiting: Waiting) -> io::Result<Waiting> {
        let (now, Wait { readiness, until }) = (Instant::now(), waiting.wait);
        if now < until {
            return Ok(waiting);
        }
        let Deadline::Pace { window, stall, .. } = self.deadline else { return Err(too_slow()) };
        let (unread, until) = (self.unread(readiness), (now + window).min(waiting.began + stall));
        if unread > waiting.unread && now < until {
            Ok(Waiting { wait: Wait { readiness, until }, began: waiting.began, unread })
        } else {
            Err(too_slow())
        }
    }

    /// How many bytes of the peer lie here unread, while it is to take some (ioctl_tty(2), `FIONREAD`).
    fn unread(&self, readiness: Readiness) -> u64 {
        match readiness {
            Readiness::Write => rustix::io::ioctl_fionread(&*self.inner).unwrap_or(0),
            Readiness::Read | Readiness::Hangup => 0,
        }
    }

    fn wait_until(&self, flags: PollFlags, until: Instant) -> io::Result<()> {
        loop {
            if self.interrupt.is_set() {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted"));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(too_slow());
            }
            let slice = if self.interrupt.is_shared() { INTERRUPT_CHECK } else { LONGEST_WAIT };
            let slice = Timespec::try_from(left.min(slice)).expect("an hour fits");
            let mut fds = [PollFd::new(&*self.inner, flags)];
            match poll(&mut fds, Some(&slice)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer took too long")
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(Readiness::Read, |mut socket, most| {
            let most = most.min(buffer.len());
            socket.read(&mut buffer[..most])
        })
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(Readiness::Write, |mut socket, most| socket.write(&bytes[..most.min(bytes.len())]))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
