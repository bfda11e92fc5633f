//! Hundreds of connections that ask for much at the same time: others are served all the same, and the server's memory, threads
//! and descriptors are bounded.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::attack::{framed, peak};
use crate::harness::{Client, PATIENCE, Server, World, limited, noise, skip};

/// How many stall, and how many have files hashed.
const CROWD: usize = 300;

/// What a server may take of memory, whatever is done to it.
const MOST_MEMORY: u64 = 128 << 20;

/// How many threads it may have: its workers, and a few of its own.
const MOST_THREADS: usize = 48;

/// How long another client's `ls` may take: many times what it does, so that a busy machine fails no test.
const MOST_PATIENCE: Duration = Duration::from_secs(8);

const PASSWORD: &str = "open sesame";

/// One of a crowd: a connection in the clear, from an address of its choice.
struct Raw(socket2::Socket);

impl Raw {
    fn from(address: [u8; 4], server: &Server) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        socket.connect(&server.address.parse::<SocketAddr>().unwrap().into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut raw = Self(socket);
        raw.ask(&json!({"id": 0, "cmd": "hello", "version": 1}))?;
        Ok(raw)
    }

    fn send(&mut self, request: &Value) -> io::Result<()> {
        self.0.write_all(&framed(request.to_string().as_bytes()))
    }

    fn receive(&mut self) -> io::Result<Value> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut reply = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut reply)?;
        Ok(serde_json::from_slice(&reply)?)
    }

    fn ask(&mut self, request: &Value) -> io::Result<Value> {
        self.send(request)?;
        self.receive()
    }
}

/// What each of a crowd asks for, one after the other in turn.
const REQUESTS: [&str; 4] = [
    r#"{"id":9,"cmd":"get","path":"large","digest":"blake3"}"#,
    r#"{"id":9,"cmd":"hash","path":"vast","digest":"md5"}"#,
    r#"{"id":9,"cmd":"put","path":"half","digest":"md5","size":1000000,"body":true}"#,
    r#"{"id":9,"cmd":"blocks","path":"vast"}"#,
];

fn status(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Lets a crowd be there, of which `join` makes each; and another client move files among them.
#[track_caller]
fn withstands(
    world: &World,
    server: Server,
    client: &Client<'_>,
    join: impl Fn(usize, &Server) -> io::Result<Raw>,
) {
    fs::File::create(world.root("vast")).unwrap().set_len(4 << 40).unwrap();
    fs::File::create(world.root("large")).unwrap().set_len(64 << 20).unwrap();
    fs::write(world.here("file"), noise(8 << 20)).unwrap();
    let crowd: Vec<Raw> = (0..2 * CROWD)
        .map(|n| {
            let mut raw = join(n, &server).unwrap();
            raw.0.write_all(&framed(REQUESTS[n % REQUESTS.len()].as_bytes())).unwrap();
            raw
        })
        .collect();
    let began = Instant::now();
    client.run("ls").ok();
    let listed = began.elapsed();
    client.run("put file moved").ok();
    client.run("get moved back").ok();
    let moved = began.elapsed() - listed;
    assert!(fs::read(world.here("back")).unwrap() == fs::read(world.here("file")).unwrap());
    client.run("hash moved").ok();
    let (threads, memory) = (status(&server, "Threads"), peak(server.pid()));
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).map(Iterator::count);
    let _ = writeln!(
        io::stderr(),
        "among {} that stall, hash and stop: ls took {listed:.0?}, 8 MiB there and back {moved:.0?}; the server has \
         {threads} threads, {descriptors:?} descriptors, and had {} MiB",
        crowd.len(),
        memory >> 20
    );
    assert!(listed < MOST_PATIENCE, "{listed:?}");
    assert!(memory < MOST_MEMORY, "{} MiB", memory >> 20);
    assert!(threads < MOST_THREADS as u64, "{threads}");
    match descriptors {
        Ok(descriptors) => assert!(descriptors < 2 * crowd.len() + 100, "{descriptors}"),
        Err(error) => skip(format_args!("descriptors cannot be counted: {error}")),
    }
    drop(crowd);
    assert!(server.stop(rustix::process::Signal::TERM).success(), "it drains, and ends with 0");
}

#[test]
fn crowds_from_many_addresses_that_stall_and_hash_keep_nobody_waiting() {
    let world = World::empty();
    let server = world.start("127.0.0.1:0", "--plaintext --no-sync");
    let client = world.stranger_to(&server.address).flags(["--plaintext".into()]);
    withstands(&world, server, &client, |n, server| {
        Raw::from([127, 0, 1, u8::try_from(n / 60 + 1).unwrap()], server)
    });
}

#[test]
fn a_crowd_of_one_user_keeps_no_other_user_waiting() {
    let world = World::empty();
    let users = world.path("users.toml").display().to_string();
    for user in ["ada", "greedy"] {
        let add = format!("user add {users} {user} --password-fd 0");
        world.newcomer().pipe(PASSWORD.as_bytes(), &add).ok();
    }
    let flags = format!("--plaintext --no-sync --max-per-address 1000 --users {users}");
    let server = world.start("127.0.0.1:0", &flags);
    let ada = world.stranger_to(&server.address).flags(["--plaintext".into()]);
    let ada = ada.env("FTPISH_USER", "ada").env("FTPISH_PASSWORD", PASSWORD);
    let mut first = Raw::from([127, 0, 0, 2], &server).unwrap();
    let login = json!({"id": 1, "cmd": "login", "user": "greedy", "password": PASSWORD});
    let ticket = first.ask(&login).unwrap()["ticket"].clone();
    withstands(&world, server, &ada, |_, server| {
        let mut raw = Raw::from([127, 0, 0, 2], server)?;
        let login = raw.ask(&json!({"id": 1, "cmd": "login", "user": "greedy", "ticket": ticket}))?;
        assert_eq!(login["ok"], true, "{login}");
        Ok(raw)
    });
}

/// Everybody says who they are at the same time; of three, one is wrong.
#[test]
fn a_thousand_logins_at_once_cost_the_memory_of_two() {
    let world = World::empty();
    let users = world.path("users.toml").display().to_string();
    world.newcomer().pipe(PASSWORD.as_bytes(), &format!("user add {users} ada --password-fd 0")).ok();
    let server = world.start("127.0.0.1:0", &format!("--plaintext --users {users}"));
    let mut crowd: Vec<Raw> = (0..990)
        .map(|n| Raw::from([127, 0, 2, u8::try_from(n / 60 + 1).unwrap()], &server).unwrap())
        .collect();
    for (n, raw) in crowd.iter_mut().enumerate() {
        let password = if n % 3 == 0 { "wrong" } else { PASSWORD };
        raw.send(&json!({"id": 1, "cmd": "login", "user": "ada", "password": password})).unwrap();
    }
    // Not all have their turn before their greeting ends, nor is every network let in that guesses.
    let answers = crowd.iter_mut().map(|raw| raw.receive().ok());
    let logged_in = answers.flatten().filter(|answer| answer["ok"] == true).count();
    let memory = peak(server.pid());
    let _ = writeln!(
        io::stderr(),
        "of {} that log in at once, {logged_in} are in; the server had {} MiB",
        crowd.len(),
        memory >> 20
    );
    assert!(logged_in >= 20, "{logged_in}");
    assert!(memory < MOST_MEMORY, "{} MiB", memory >> 20);
    drop(crowd);
    assert!(server.stop(rustix::process::Signal::TERM).success());
}

/// `ulimit -v`: what does not fit is refused, and nothing of what runs ends.
#[test]
fn a_server_whose_memory_is_limited_refuses_new_work_and_lives() {
    let world = World::empty();
    fs::File::create(world.root("large")).unwrap().set_len(64 << 20).unwrap();
    fs::write(world.here("file"), noise(1 << 20)).unwrap();
    for kilobytes in [60_000, 120_000] {
        let command = world.serve_command("--listen 127.0.0.1:0 --plaintext --no-sync");
        let limit = format!("-v {kilobytes}");
        let server = Server::start(limited(&command, &limit), world.path("server.log"));
        let client = world.stranger_to(&server.address).flags(["--plaintext".into()]);
        let crowd: Vec<Raw> = (0..600)
            .filter_map(|n| {
                let mut raw = Raw::from([127, 0, 3, u8::try_from(n / 60 + 1).unwrap()], &server).ok()?;
                raw.send(&serde_json::from_str(REQUESTS[0]).unwrap()).ok()?;
                Some(raw)
            })
            .collect();
        // Behind all that was asked before: it is refused, or done.
        let listed = client.run("ls --retries 0");
        assert!(matches!(listed.code, Some(0 | 13 | 15)), "{:?}: {}", listed.code, listed.stderr);
        drop(crowd);
        client.run("put file moved --retries 20 --retry-wait 0.1").ok();
        client.run("get moved back").ok();
        assert!(server.stop(rustix::process::Signal::TERM).success());
    }
}
