//! A link that is long and narrow: a TCP relay which lets each byte through no sooner than it would arrive over a line
//! of a given rate and delay. Connections may share a line, one lane each way.
//!
//! What it does not have: loss, and TCP's slow start, for the two halves of a connection end on this machine.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How many bytes are taken from a connection at a time.
const BLOCK: usize = 64 * 1024;

/// How many blocks may be on their way: far more than fit on the line, and a bound for a receiver that does not read.
const ON_THE_WAY: usize = 4096;

/// How far a sender may be ahead of the line, as with the buffer of a network card: more than a thread oversleeps, so that
/// the line never waits for one.
const AHEAD: Duration = Duration::from_millis(4);

/// One direction of the line.
pub struct Lane {
    bytes_a_second: f64,
    delay: Duration,
    /// When all that was sent has left.
    free: Mutex<Instant>,
}

impl Lane {
    /// A lane with so much of a delay, one way.
    pub fn new(bytes_a_second: f64, delay: Duration) -> Self {
        Self { bytes_a_second, delay, free: Mutex::new(Instant::now()) }
    }

    /// Sends so many bytes at `now`, behind all that was sent before: when they have left, and when they arrive.
    fn send(&self, now: Instant, bytes: usize) -> (Instant, Instant) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let left = now.max(*free) + Duration::from_secs_f64(bytes as f64 / self.bytes_a_second);
        *free = left;
        (left, left + self.delay)
    }
}

/// A line to somewhere.
pub struct Line {
    pub to_server: Lane,
    pub to_client: Lane,
}

impl Line {
    /// A line that takes `round_trip` there and back, and so many bytes a second each way.
    pub fn new(round_trip: Duration, bytes_a_second: f64) -> Self {
        let lane = || Lane::new(bytes_a_second, round_trip / 2);
        Self { to_server: lane(), to_client: lane() }
    }
}

/// Relays what connects to `listener` to `server`, each connection over the line that it is given, until the process ends.
pub fn relay(listener: TcpListener, server: SocketAddr, line: impl Fn() -> Arc<Line> + Send + 'static) {
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let line = line();
            // A connection that fails is told to its two ends by being closed.
            thread::spawn(move || drop(carry(client, server, line)));
        }
    });
}

fn carry(client: TcpStream, server: SocketAddr, line: Arc<Line>) -> io::Result<()> {
    // What a connection costs before its first byte: the client may speak one round trip after it began to connect,
    // the server is told by the client's next packet. Here the client was connected at once, so all that it says is
    // as late as the handshake would have made it.
    let way = line.to_server.delay;
    thread::sleep(way * 2);
    let (requests, incoming) = sync_channel(ON_THE_WAY);
    let reading = (client.try_clone()?, Arc::clone(&line));
    thread::spawn(move || take(&reading.0, &reading.1.to_server, &requests));
    thread::sleep(way);
    let server = TcpStream::connect(server)?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    let (replies, outgoing) = sync_channel(ON_THE_WAY);
    let reading = server.try_clone()?;
    thread::spawn(move || take(&reading, &line.to_client, &replies));
    thread::spawn(move || give(&incoming, &server));
    give(&outgoing, &client);
    Ok(())
}

/// A block and when it arrives; an empty one is the end.
type Block = (Instant, Vec<u8>);

/// Takes what one end sends, as fast as the line takes it.
fn take(from: &TcpStream, lane: &Lane, onto: &SyncSender<Block>) {
    let mut buffer = vec![0; BLOCK];
    let mut from = from;
    loop {
        // An error is an end, too: what was sent before it arrives.
        let read = from.read(&mut buffer).unwrap_or(0);
        let (left, arrives) = lane.send(Instant::now(), read);
        if onto.send((arrives, buffer[..read].to_vec())).is_err() || read == 0 {
            break;
        }
        sleep_until(left.checked_sub(AHEAD));
    }
}

/// Gives to the other end what arrives, when it does.
fn give(arriving: &Receiver<Block>, to: &TcpStream) {
    let mut to = to;
    for (arrives, block) in arriving {
        sleep_until(Some(arrives));
        if block.is_empty() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        if to.write_all(&block).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn sleep_until(when: Option<Instant>) {
    let left = when.and_then(|when| when.checked_duration_since(Instant::now()));
    thread::sleep(left.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn bytes_take_their_time_behind_those_before_them() {
        let lane = Lane::new(1000.0, 25 * MS);
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(lane.send(now, 10), (now + 10 * MS, now + 35 * MS));
        assert_eq!(lane.send(now + MS, 5), (now + 15 * MS, now + 40 * MS));
        // A line that was idle does not make up for it.
        assert_eq!(lane.send(now + 100 * MS, 1), (now + 101 * MS, now + 126 * MS));
    }

    #[test]
    fn all_bytes_pass_both_ways_and_so_does_the_end() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = listener.local_addr().unwrap();
        relay(listener, server.local_addr().unwrap(), || Arc::new(Line::new(2 * MS, 1e9)));
        thread::spawn(move || {
            let (echo, _) = server.accept().unwrap();
            let mut all = vec![];
            (&echo).read_to_end(&mut all).unwrap();
            (&echo).write_all(&all).unwrap();
        });
        let mut sent = vec![0; 3_000_001];
        fastrand::Rng::with_seed(1).fill(&mut sent);
        let client = TcpStream::connect(near).unwrap();
        let mut back = vec![];
        thread::scope(|scope| {
            scope.spawn(|| {
                (&client).write_all(&sent).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            (&client).read_to_end(&mut back).unwrap();
        });
        assert!(back == sent);
    }
}
