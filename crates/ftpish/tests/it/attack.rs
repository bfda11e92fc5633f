//! Two hundred connections that do the worst they can, all at once, while somebody moves files.

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ftpish_transport::{Deadline, Interrupt, Socket, Stream, client_config, signature_algorithms};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use crate::harness::{PATIENCE, World, noise};

/// How many attack.
const ATTACKERS: usize = 200;

/// What a server may take of memory, whatever is done to it.
const MOST_MEMORY: u64 = 128 << 20;

/// Trusts every server: an attacker does not care.
#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature_algorithms().supported_schemes()
    }
}

/// What all attackers know.
struct Raid {
    address: SocketAddr,
    /// Where they are.
    from: SocketAddr,
    /// Ends them.
    over: Interrupt,
    /// How many are at it.
    at_work: AtomicUsize,
    /// How many were turned away before that.
    turned_away: AtomicUsize,
}

impl Raid {
    /// Lets all attack, while `meanwhile` is done; they begin before it.
    fn meanwhile<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            for number in 0..ATTACKERS {
                scope.spawn(move || {
                    // On machines of their own they would not take the time of this one.
                    let _ = rustix::process::nice(19);
                    if self.attack(number % 8).is_err() {
                        self.turned_away.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let begun = || self.at_work.load(Ordering::SeqCst) + self.turned_away.load(Ordering::SeqCst);
            let began = Instant::now();
            while begun() < ATTACKERS && began.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
            self.over.set();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn socket(&self) -> Socket {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&self.from.into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        Socket::new(socket, Deadline::after(PATIENCE), self.over.clone()).unwrap()
    }

    fn encrypted(&self) -> io::Result<Stream> {
        let tls = (client_config(Arc::new(Careless)), ServerName::try_from("localhost").unwrap());
        Stream::connect(self.socket(), Some(tls))
    }

    /// Behind `hello`.
    fn greeted(&self) -> io::Result<Stream> {
        let mut stream = self.encrypted()?;
        stream.write_all(&framed(br#"{"id":0,"cmd":"hello","version":1}"#))?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        stream.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize])?;
        Ok(stream)
    }

    /// Does the worst of one kind, until the raid is over or the server has had enough.
    fn attack(&self, kind: usize) -> io::Result<()> {
        match kind {
            // A handshake that is never begun.
            0 => self.stay(self.socket()),
            // One that is never finished.
            1 => self.drip(self.socket(), &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
            // A header of 64 MiB.
            2 => {
                let mut stream = self.encrypted()?;
                let _ = stream.write_all(&(64_u32 << 20).to_be_bytes());
                self.at_work();
                while stream.write_all(&[b' '; 16 * 1024]).is_ok() {}
            }
            // A slow header.
            3 => self.drip(self.encrypted()?, &[0, 0, 0xff, 0xff, b'{', b' ']),
            // Headers that nest as deep as there is room for, one after the other.
            4 => {
                let bomb = format!(r#"{{"id":1,"cmd":"df","x":{}"#, "[".repeat(65_000));
                let mut stream = self.greeted()?;
                self.at_work();
                while stream.write_all(&framed(bomb.as_bytes())).is_ok() {
                    let mut answer = [0; 4096];
                    match stream.read(&mut answer) {
                        Ok(1..) => {}
                        _ if self.over.is_set() => return Ok(()),
                        _ => match self.greeted() {
                            Ok(next) => stream = next,
                            Err(_) => return Ok(()),
                        },
                    }
                }
            }
            // A body without an end, and then without a next byte.
            5 => {
                let mut stream = self.greeted()?;
                let put = br#"{"id":1,"cmd":"put","body":true,"path":"junk","digest":"md5"}"#;
                let _ = stream.write_all(&framed(put));
                let _ = (0..4).try_for_each(|_| stream.write_all(&framed(&[0xff; 1 << 18])));
                self.stay(stream);
            }
            // All that may be asked at once, and nothing of it read.
            6 => {
                let mut stream = self.greeted()?;
                let get = framed(br#"{"id":1,"cmd":"get","path":"large","digest":"md5"}"#);
                let _ = stream.write_all(&get.repeat(64));
                self.stay(stream);
            }
            // A file of 2⁶⁴ − 1 bytes that is about to be resumed.
            _ => {
                let mut stream = self.greeted()?;
                let resume = format!(
                    r#"{{"id":1,"cmd":"resume","path":"vast {}","size":{},"mtime":[0,0]}}"#,
                    self.at_work.load(Ordering::Relaxed),
                    u64::MAX
                );
                let _ = stream.write_all(&framed(resume.as_bytes()));
                let _ = stream.read(&mut [0]);
                self.stay(stream);
            }
        }
        Ok(())
    }

    fn at_work(&self) {
        self.at_work.fetch_add(1, Ordering::SeqCst);
    }

    /// Holds a connection, and reads nothing.
    fn stay<S>(&self, held: S) {
        self.at_work();
        while !self.over.is_set() {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        drop(held);
    }

    /// Says `beginning`, and then a byte now and then.
    fn drip(&self, mut stream: impl Write, beginning: &[u8]) {
        let _ = stream.write_all(beginning);
        self.at_work();
        while stream.write_all(b" ").is_ok() && !self.over.is_set() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

pub fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// Stores a file and fetches it, several times, and tells how long that took: the median.
#[track_caller]
fn there_and_back(world: &World) -> Duration {
    let mut took: Vec<_> = (0..5)
        .map(|_| {
            let began = Instant::now();
            world.run("--no-progress put file moved").ok();
            world.run("--no-progress get moved back").ok();
            let took = began.elapsed();
            assert!(fs::read(world.here("back")).unwrap() == fs::read(world.here("file")).unwrap());
            fs::remove_file(world.here("back")).unwrap();
            fs::remove_file(world.root("moved")).unwrap();
            took
        })
        .collect();
    took.sort();
    took[took.len() / 2]
}

/// The most memory that a process ever had.
pub fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The time that a process had of the processors.
fn time_used(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    // In hundredths of a second, whatever the machine: proc_pid_stat(5).
    Duration::from_millis(10 * ticks)
}

/// Lets them attack a server that was started with these flags, from that address; tells how many were turned away.
#[track_caller]
fn withstood(flags: &str, from: &str) -> usize {
    let mut world = World::serving(flags);
    fs::write(world.here("file"), noise(8 << 20)).unwrap();
    fs::File::create(world.root("large")).unwrap().set_len(1 << 30).unwrap();
    let pid = world.server().pid();
    let alone = there_and_back(&world);
    let raid = Raid {
        address: world.server().address.parse().unwrap(),
        from: from.parse().unwrap(),
        over: Interrupt::default(),
        at_work: AtomicUsize::new(0),
        turned_away: AtomicUsize::new(0),
    };
    let (among, wall, theirs, ours) = raid.meanwhile(|| {
        let (began, server, attackers) = (Instant::now(), time_used(pid), time_used(std::process::id()));
        let among = there_and_back(&world);
        (among, began.elapsed(), time_used(std::process::id()) - attackers, time_used(pid) - server)
    });
    let (turned_away, peak) = (raid.turned_away.into_inner(), peak(pid));
    let _ = writeln!(
        io::stderr(),
        "8 MiB there and back: {alone:.0?} alone, {among:.0?} among {ATTACKERS} attackers, of whom {turned_away} were \
         turned away; in {wall:.0?} they took {theirs:.0?} of the processors, the server {ours:.0?}; its peak: {} MiB",
        peak >> 20
    );
    assert!(peak < MOST_MEMORY, "{} MiB", peak >> 20);
    assert!(world.stop().success(), "it drains, and ends with 0");
    let log = fs::read_to_string(world.path("server.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    turned_away
}

/// CVE-2026-70464, -70456 and -45232 of rsync, CVE-2026-71310 of rclone, GHSA-6jcg-q3wp-x2f4, and all of the above
/// together.
#[test]
fn two_hundred_attackers_keep_nobody_from_moving_files_and_cost_little_memory() {
    // On a busy machine a few may be too slow for the server's patience.
    assert!(withstood("--max-per-address 256", "127.0.0.1:0") < ATTACKERS / 4, "most were at it");
}

#[test]
fn attackers_from_one_address_leave_others_their_places() {
    assert!(withstood("", "127.0.0.2:0") > 0, "some were one too many");
}
