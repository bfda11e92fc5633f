//! A relay between client and server that does harm at an exact byte, and counts what passes: what makes "in the
//! middle of a transfer" a place, and not a matter of luck.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::PATIENCE;

/// How long a byte takes where they only drip.
const DRIP: Duration = Duration::from_millis(2);

/// In which direction the harm is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    Client,
    Server,
}

/// The harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// None: whoever [waits](Relay::wait) for it is told, and everything passes.
    Tell,
    /// Nothing more comes through until [`Relay::go_on`].
    Stall,
    /// A byte at a time comes through, five hundred a second, until [`Relay::go_on`].
    Drip,
    /// The connection breaks.
    Cut,
    /// One bit is another.
    Flip,
    /// From the first byte on, a second connection to the server gets the same bytes: as if a client had made it twice.
    /// Nobody hears what the server says there.
    Double,
}

/// A running relay. Each harm is done once, in their order, the next one perhaps on the next connection; all that
/// comes behind the last of them passes.
pub struct Relay {
    pub address: String,
    wire: Arc<Wire>,
    reached: Receiver<()>,
    go_on: VecDeque<Sender<()>>,
}

/// What the relay's threads share.
struct Wire {
    server: Mutex<String>,
    traps: Mutex<VecDeque<Trap>>,
    to_client: AtomicU64,
    to_server: AtomicU64,
    connections: AtomicU64,
    /// The second connections that are open.
    twins: AtomicU64,
    stop: AtomicBool,
}

/// Where harm is done, and whom to tell.
struct Trap {
    toward: Toward,
    at: u64,
    harm: Harm,
    reached: Sender<()>,
    go_on: Receiver<()>,
}

impl Relay {
    /// A relay to the server at `server`, which does harm behind the `at`th byte of a connection in one direction.
    pub fn to(server: &str, toward: Toward, at: u64, harm: Harm) -> Self {
        Self::with(server, &[(toward, at, harm)])
    }

    /// A relay that only counts.
    pub fn harmless(server: &str) -> Self {
        Self::with(server, &[])
    }

    /// A relay that does harm several times.
    pub fn with(server: &str, harms: &[(Toward, u64, Harm)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (reached_sender, reached) = channel();
        let (mut traps, mut go_on) = (VecDeque::new(), VecDeque::new());
        for (toward, at, harm) in harms.iter().copied() {
            let (sender, receiver) = channel();
            if matches!(harm, Harm::Stall | Harm::Drip) {
                go_on.push_back(sender);
            }
            traps.push_back(Trap { toward, at, harm, reached: reached_sender.clone(), go_on: receiver });
        }
        let wire = Arc::new(Wire {
            server: Mutex::new(server.to_owned()),
            traps: Mutex::new(traps),
            to_client: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            twins: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&wire);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, wire, reached, go_on }
    }

    /// Waits until the next harm is done.
    #[track_caller]
    pub fn wait(&self) {
        assert!(self.has_reached(PATIENCE), "the transfer does not get as far as the harm");
    }

    /// Whether the next harm is done, or will be within `patience`.
    pub fn has_reached(&self, patience: Duration) -> bool {
        self.reached.recv_timeout(patience).is_ok()
    }

    /// Lets through what the first of the harms that hold back does, and called again, what the next does.
    pub fn go_on(&mut self) {
        self.go_on.pop_front();
    }

    /// How many bytes came through in one direction, over all connections.
    pub fn passed(&self, toward: Toward) -> u64 {
        self.wire.passed(toward).load(Ordering::SeqCst)
    }

    /// How many connections there were.
    pub fn connections(&self) -> u64 {
        self.wire.connections.load(Ordering::SeqCst)
    }

    /// Whether the server has closed every second connection.
    pub fn twins_are_over(&self) -> bool {
        self.wire.twins.load(Ordering::SeqCst) == 0
    }

    /// Leads the next connections to another server: one that was started anew has another port.
    pub fn lead_to(&self, server: &str) {
        server.clone_into(&mut self.wire.server.lock().unwrap());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.wire.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(&self.address);
    }
}

impl Wire {
    fn passed(&self, toward: Toward) -> &AtomicU64 {
        match toward {
            Toward::Client => &self.to_client,
            Toward::Server => &self.to_server,
        }
    }

    /// The next trap, if it lies before the `reached`th byte in this direction.
    fn spring(&self, toward: Toward, reached: u64) -> Option<Trap> {
        let mut traps = self.traps.lock().unwrap();
        let due = traps.front().is_some_and(|trap| trap.toward == toward && trap.at < reached);
        if due { traps.pop_front() } else { None }
    }
}

fn accept(listener: &TcpListener, wire: &Arc<Wire>) {
    for client in listener.incoming().map_while(Result::ok) {
        if wire.stop.load(Ordering::SeqCst) {
            break;
        }
        wire.connections.fetch_add(1, Ordering::SeqCst);
        let server = wire.server.lock().unwrap().clone();
        // Where no server is, the client finds its connection closed.
        let Ok(server) = TcpStream::connect(&server) else { continue };
        for toward in [Toward::Client, Toward::Server] {
            let (client, server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (from, to) = if toward == Toward::Client { (server, client) } else { (client, server) };
            let wire = Arc::clone(wire);
            std::thread::spawn(move || {
                let mut pump = Pump { from: &from, to: &to, toward, wire: &wire, drip: None, twin: None };
                if pump.run().is_err() {
                    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                }
            });
        }
    }
}

/// One direction of a connection.
struct Pump<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    toward: Toward,
    wire: &'a Arc<Wire>,
    /// While bytes only drip: until this is closed.
    drip: Option<Receiver<()>>,
    /// Who writes the same to a second connection, at whatever pace that takes it.
    twin: Option<Sender<Vec<u8>>>,
}

impl Pump<'_> {
    /// Copies from one end to the other, and walks into each trap that is set for this direction when it is its
    /// turn.
    fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut passed = 0;
        loop {
            let read = match self.from.read(&mut buffer)? {
                0 => return self.to.shutdown(Shutdown::Write),
                read => read,
            };
            let block = &mut buffer[..read];
            let mut sent = 0;
            while let Some(trap) = self.wire.spring(self.toward, passed + read as u64) {
                let at = usize::try_from(trap.at.saturating_sub(passed)).unwrap().max(sent);
                self.pass(&block[sent..at])?;
                sent = at;
                let _ = trap.reached.send(());
                match trap.harm {
                    Harm::Tell => {}
                    Harm::Stall => drop(trap.go_on.recv()),
                    Harm::Drip => self.drip = Some(trap.go_on),
                    Harm::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
                    Harm::Flip => block[sent] ^= 1,
                    Harm::Double => self.twin = Some(twin(self.to.peer_addr()?, self.wire)?),
                }
            }
            self.pass(&block[sent..])?;
            passed += read as u64;
        }
    }

    fn pass(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some(go_on) = self.drip.take_if(|_| !bytes.is_empty()) {
            self.pass_at_once(&bytes[..1])?;
            bytes = &bytes[1..];
            self.drip = (go_on.recv_timeout(DRIP) == Err(RecvTimeoutError::Timeout)).then_some(go_on);
        }
        self.pass_at_once(bytes)
    }

    fn pass_at_once(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (passed, length) = (self.wire.passed(self.toward), bytes.len() as u64);
        // Before the receiver has them, so that whoever has seen what they do finds them counted.
        passed.fetch_add(length, Ordering::SeqCst);
        if let Err(error) = self.to.write_all(bytes) {
            passed.fetch_sub(length, Ordering::SeqCst);
            return Err(error);
        }
        if let Some(twin) = &self.twin {
            let _ = twin.send(bytes.to_vec());
        }
        Ok(())
    }
}

/// A connection that gets what is sent to the channel, and whose answers are read by nobody.
fn twin(server: SocketAddr, wire: &Arc<Wire>) -> io::Result<Sender<Vec<u8>>> {
    let (sender, bytes) = channel::<Vec<u8>>();
    let mut reading = TcpStream::connect(server)?;
    let mut writing = reading.try_clone()?;
    wire.twins.fetch_add(1, Ordering::SeqCst);
    let wire = Arc::clone(wire);
    std::thread::spawn(move || {
        let _ = io::copy(&mut reading, &mut io::sink());
        wire.twins.fetch_sub(1, Ordering::SeqCst);
    });
    std::thread::spawn(move || {
        for bytes in bytes {
            if writing.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = writing.shutdown(Shutdown::Write);
    });
    Ok(sender)
}
