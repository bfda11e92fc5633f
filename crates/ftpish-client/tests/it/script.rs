//! A server for one connection that does what a test says, whatever the protocol says.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use ftpish_client::{Client, Options, Security, Timeouts};
use ftpish_protocol::Algorithm;
use ftpish_transport::{Deadline, Endpoint, Interrupt, Socket};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a test waits for what must come. Reached only where a test fails.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// For servers that never do what is waited for.
pub const SHORT: Duration = Duration::from_millis(50);

/// A scripted server. What it panics at, the test panics at, when it is dropped.
pub struct Script {
    pub endpoint: Endpoint,
    playing: Option<JoinHandle<()>>,
    _dir: TempDir,
}

impl Script {
    /// Plays for the first client, from its first byte on.
    pub fn from_the_start(play: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Unix(dir.path().join("socket"));
        let listener = endpoint.listen().unwrap();
        let playing = std::thread::spawn(move || {
            let accepted = listener.accept().unwrap().0;
            drop(listener);
            play(&mut Peer::new(accepted));
        });
        Self { endpoint, playing: Some(playing), _dir: dir }
    }

    /// Plays behind `hello`; what the client asks when the play is over is answered as `df` is.
    pub fn run(play: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        Self::from_the_start(|peer| {
            peer.greet();
            play(peer);
            while let Some(request) = peer.next() {
                peer.grant(&request, json!({"total": 3, "free": 2, "available": 1}));
            }
        })
    }

    pub fn options(&self) -> Options {
        let timeouts = Timeouts { connect: PATIENCE, reply: PATIENCE, pace: PATIENCE };
        Options { timeouts, ..Options::new(self.endpoint.clone(), Security::Plaintext) }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.options()).unwrap()
    }

    /// A client that does not wait long.
    pub fn impatient_client(&self) -> Client {
        let timeouts = Timeouts { connect: SHORT, reply: SHORT, pace: SHORT };
        Client::connect(&Options { timeouts, ..self.options() }).unwrap()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let played = self.playing.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || !matches!(played, Some(Err(_))), "the scripted server panicked");
    }
}

/// The server's end of the connection. A client that is gone is no surprise to it.
pub struct Peer {
    socket: Socket,
    handle: std::sync::Arc<socket2::Socket>,
}

impl Peer {
    fn new(accepted: socket2::Socket) -> Self {
        let socket = Socket::new(accepted, Deadline::after(PATIENCE), Interrupt::default()).unwrap();
        Self { handle: socket.shared(), socket }
    }

    /// Receives `hello`, and answers it.
    pub fn greet(&mut self) {
        self.greet_as_one_that_knows(&ftpish_protocol::FEATURES);
    }

    /// As a server that knows these extensions alone.
    pub fn greet_as_one_that_knows(&mut self, features: &[&str]) {
        let hello = self.request();
        assert_eq!(hello["cmd"], "hello");
        let digests = ["blake3", "sha256", "md5"];
        self.grant(
            &hello,
            json!({"version": 1, "agent": "script", "digests": digests, "commands": [], "features": features, "login": false}),
        );
    }

    /// The next message, which must come.
    #[track_caller]
    pub fn request(&mut self) -> Value {
        self.next().expect("the client left in place of a request")
    }

    /// The next message; `None` where the client left, or what comes is none.
    pub fn next(&mut self) -> Option<Value> {
        serde_json::from_slice(&self.piece()?).ok()
    }

    /// A message or a chunk as it came; `None` where the client left.
    pub fn piece(&mut self) -> Option<Vec<u8>> {
        let mut prefix = [0; 4];
        self.socket.read_exact(&mut prefix).ok()?;
        let mut bytes = vec![0; u32::from_be_bytes(prefix) as usize];
        self.socket.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Receives a body that has a trailer.
    pub fn body(&mut self) -> Vec<u8> {
        let mut body = vec![];
        loop {
            match self.piece().unwrap() {
                end if end.is_empty() => break,
                chunk => body.extend(chunk),
            }
        }
        self.request();
        body
    }

    /// Sends any bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.try_send(bytes);
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Answers a request with these fields, and `"ok":true` if they do not say otherwise.
    pub fn grant(&mut self, request: &Value, fields: Value) {
        let mut reply = json!({"id": request["id"], "ok": true});
        reply.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.send(&frame(&reply));
    }

    pub fn refuse(&mut self, request: &Value, code: &str) {
        let error = json!({"code": code, "message": "because"});
        self.send(&frame(&json!({"id": request["id"], "error": error})));
    }

    /// Receives a `get`, and announces a file of `length` bytes.
    pub fn announce(&mut self, length: u64) {
        let request = self.request();
        assert_eq!(request["cmd"], "get");
        self.grant(&request, file(length));
    }

    /// Closes, so that the client reads the end at once.
    pub fn close(&mut self) {
        let _ = self.handle.shutdown(Shutdown::Both);
    }

    /// The abort at the end of a body, whose other bytes are thrown away.
    #[track_caller]
    pub fn rest_of_aborted_body(&mut self) -> Value {
        self.rest_of_body_or_abort().expect("the body has a trailer")
    }

    /// The same; none where the body has a trailer, which is thrown away, too.
    pub fn rest_of_body_or_abort(&mut self) -> Option<Value> {
        loop {
            let mut prefix = [0; 4];
            self.socket.read_exact(&mut prefix).unwrap();
            match u32::from_be_bytes(prefix) {
                u32::MAX => return Some(self.request()),
                0 => {
                    self.request();
                    return None;
                }
                length => {
                    let mut chunk = (&mut self.socket).take(length.into());
                    assert_eq!(io::copy(&mut chunk, &mut io::sink()).unwrap(), u64::from(length));
                }
            }
        }
    }

    /// Waits until the client is gone, and reads nothing of what it sends.
    pub fn wait_until_gone_unread(&self) {
        assert!(self.is_gone_within(PATIENCE), "the client stays");
    }

    /// Sends one byte after the other, slower than anybody can wait for, until the client is gone.
    pub fn drip(&mut self, byte: u8) {
        while self.try_send(&[byte]).is_ok() && !self.is_gone_within(Duration::from_millis(2)) {}
    }

    fn is_gone_within(&self, limit: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let limit = Timespec::try_from(limit).unwrap();
        // Bytes that are not read must not wake us; a hang-up is told without being asked for.
        poll(&mut [PollFd::new(&*self.handle, PollFlags::empty())], Some(&limit)).unwrap() > 0
    }

    /// Waits until the client is gone, and says nothing.
    pub fn wait_until_gone(&mut self) {
        let _ = io::copy(&mut self.socket, &mut io::sink());
    }
}

/// The reply's fields to a `get` of a file of `length` bytes.
pub fn file(length: u64) -> Value {
    json!({"body": true, "size": length, "length": length, "mtime": [1, 0], "mode": "644"})
}

/// A message: its length and its JSON.
pub fn frame(message: &Value) -> Vec<u8> {
    framed(message.to_string().as_bytes())
}

/// Any bytes behind their length: a message or a chunk.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A body in one chunk, if it has any byte, with its trailer.
pub fn body(bytes: &[u8]) -> Vec<u8> {
    let chunk = if bytes.is_empty() { vec![] } else { framed(bytes) };
    [chunk, end(&trailer(bytes))].concat()
}

/// The end of a body's chunks, and this behind it.
pub fn end(trailer: &Value) -> Vec<u8> {
    [vec![0; 4], frame(trailer)].concat()
}

pub fn trailer(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "digest": Algorithm::Md5.digest(bytes).to_string()})
}

/// What a directory holds: names and contents; links as what they hold, all else as its kind.
pub fn contents(dir: &Path) -> Vec<(String, String)> {
    let content = |path: &Path| {
        let file_type = path.symlink_metadata().unwrap().file_type();
        match std::fs::read_link(path) {
            Ok(target) => format!("-> {}", target.display()),
            Err(_) if file_type.is_file() => {
                String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
            }
            Err(_) => format!("{file_type:?}"),
        }
    };
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = paths
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), content(&path)))
        .collect();
    all.sort();
    all
}
