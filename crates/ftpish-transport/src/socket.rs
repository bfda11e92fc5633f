//! A connected socket whose every wait ends: at a deadline that the peer cannot move, or when somebody on this
//! side interrupts it.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a wait may go on before the [`Interrupt`] is looked at.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// How long a wait goes on at a time that nobody can interrupt: what the system surely can count.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// After how long without traffic, and how often then, TCP asks whether the peer still is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

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

/// A connected TCP or Unix socket. Reads and writes fail with `TimedOut` when the [`Deadline`] is over, and with
/// `ConnectionAborted` when the [`Interrupt`] is set.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
    deadline: Deadline,
    /// Under [`Deadline::Pace`]: how much waiting is left until the next `bytes` have moved.
    patience: Duration,
    /// How many of these `bytes` have moved.
    moved: u64,
    interrupt: Interrupt,
}

impl Socket {
    /// Takes over a connected socket. TCP is set to send at once and to notice a peer that is gone.
    pub fn new(inner: socket2::Socket, deadline: Deadline, interrupt: Interrupt) -> io::Result<Self> {
        inner.set_nonblocking(true)?;
        if inner.local_addr()?.as_socket().is_some() {
            inner.set_tcp_nodelay(true)?;
            let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
            inner.set_tcp_keepalive(&keepalive)?;
        }
        let mut socket = Self { inner, deadline, patience: Duration::ZERO, moved: 0, interrupt };
        socket.set_deadline(deadline);
        Ok(socket)
    }

    /// Says when waits from now on are over.
    pub fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
        self.moved = 0;
        if let Deadline::Pace { window, .. } = deadline {
            self.patience = window;
        }
    }

    /// Whether a read would not wait: there are bytes, or the peer closed.
    pub fn is_readable(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.inner, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The socket itself, to shut it down from another thread.
    pub fn try_clone(&self) -> io::Result<socket2::Socket> {
        self.inner.try_clone()
    }

    /// Does `step` until it would no longer wait.
    fn patiently(
        &mut self,
        flags: PollFlags,
        mut step: impl FnMut(&socket2::Socket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match step(&self.inner) {
                Ok(moved) => {
                    self.note(moved as u64);
                    return Ok(moved);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(flags)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn note(&mut self, moved: u64) {
        if let Deadline::Pace { bytes, window } = self.deadline {
            self.moved += moved;
            if self.moved >= bytes {
                self.moved = 0;
                self.patience = window;
            }
        }
    }

    fn wait(&mut self, flags: PollFlags) -> io::Result<()> {
        let began = Instant::now();
        let until = match self.deadline {
            Deadline::At(until) => until,
            Deadline::Pace { .. } => began + self.patience,
        };
        let waited = self.wait_until(flags, until);
        self.patience = self.patience.saturating_sub(began.elapsed());
        waited
    }

    fn wait_until(&self, flags: PollFlags, until: Instant) -> io::Result<()> {
        loop {
            if self.interrupt.is_set() {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted"));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer took too long"));
            }
            // A server's ten thousand idle connections, which nobody interrupts, would keep a processor busy with that.
            let slice = if self.interrupt.is_shared() { INTERRUPT_CHECK } else { LONGEST_WAIT };
            let slice = Timespec::try_from(left.min(slice)).expect("an hour fits");
            let mut fds = [PollFd::new(&self.inner, flags)];
            match poll(&mut fds, Some(&slice)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(PollFlags::IN, |mut socket| socket.read(buffer))
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(PollFlags::OUT, |mut socket| socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(deadline: Deadline) -> (Socket, Socket) {
        let (a, b) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        let far = Deadline::after(Duration::from_secs(60));
        let new = |socket, deadline| Socket::new(socket, deadline, Interrupt::default()).unwrap();
        (new(a, deadline), new(b, far))
    }

    #[test]
    fn tcp_sends_at_once_and_asks_after_a_peer_that_is_silent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = Deadline::after(Duration::from_secs(60));
        let socket = Socket::new(stream.into(), far, Interrupt::default()).unwrap();
        assert!(socket.inner.tcp_nodelay().unwrap() && socket.inner.keepalive().unwrap());
        assert_eq!(socket.inner.tcp_keepalive_time().unwrap(), KEEPALIVE);
    }

    #[test]
    fn a_silent_peer_is_left_at_the_deadline() {
        let (mut socket, _peer) = pair(Deadline::after(Duration::from_millis(20)));
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_peer_that_never_reads_is_left_at_the_deadline() {
        let (mut socket, _peer) = pair(Deadline::after(Duration::from_millis(20)));
        let error = socket.write_all(&vec![0; 16 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_dripping_peer_does_not_move_the_deadline() {
        let pace = Deadline::Pace { bytes: 1000, window: Duration::from_millis(50) };
        let (mut socket, mut peer) = pair(pace);
        let dripping = std::thread::spawn(move || {
            while peer.write(b"x").is_ok() {
                peer.set_deadline(Deadline::after(Duration::from_millis(5)));
                if peer.read(&mut [0]).is_ok() {
                    break;
                }
            }
        });
        let mut received = 0;
        let error = loop {
            match socket.read(&mut [0]) {
                Ok(read) => received += read,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((1..1000).contains(&received), "{received}");
        drop(socket);
        dripping.join().unwrap();
    }

    #[test]
    fn an_interrupt_ends_a_wait() {
        let (mut socket, _peer) = pair(Deadline::after(Duration::from_secs(60)));
        let interrupt = socket.interrupt.clone();
        let waiting = std::thread::spawn(move || socket.read(&mut [0]).unwrap_err().kind());
        interrupt.set();
        assert_eq!(waiting.join().unwrap(), io::ErrorKind::ConnectionAborted);
    }
}
