//! A client that frames by hand and sends whatever it likes: it shares no framing code with the server.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use ftpish_protocol::Algorithm;
use ftpish_transport::{Deadline, Endpoint, Interrupt, Socket};
use serde_json::{Value, json};

use crate::harness::PATIENCE;

/// A raw connection in the clear. Its waits end, so that a test fails and does not hang.
pub struct Raw {
    socket: Socket,
    handle: Arc<socket2::Socket>,
}

impl Raw {
    pub fn connect(endpoint: &Endpoint) -> Self {
        let inner = endpoint.connect(PATIENCE).unwrap();
        let socket = Socket::new(inner, Deadline::after(PATIENCE), Interrupt::default()).unwrap();
        Self { handle: socket.shared(), socket }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Sends a request, and receives the reply to it.
    #[track_caller]
    pub fn ask(&mut self, request: &Value) -> Value {
        self.send(&frame(request));
        let reply = self.receive();
        assert_eq!(reply["id"], request["id"], "{reply}");
        reply
    }

    #[track_caller]
    pub fn hello(&mut self) {
        let reply = self.ask(&hello());
        assert_eq!(reply["ok"], true, "{reply}");
    }

    /// The next message, which must come.
    #[track_caller]
    pub fn receive(&mut self) -> Value {
        self.next().expect("the server closed in place of a message")
    }

    /// The next message; `None` where the server closed. A server that closes with bytes unread may reset the
    /// connection: that counts as closed. Skips `working`, which a server on a slow disk may send before any reply.
    #[track_caller]
    pub fn next(&mut self) -> Option<Value> {
        loop {
            let length = self.length()?;
            assert!(length <= 65536, "the server sends a message of {length} bytes");
            let message: Value = serde_json::from_slice(&self.bytes(length)).unwrap();
            if message["working"].is_null() {
                return Some(message);
            }
        }
    }

    /// A body and its trailer: its bytes, verified; or the error that aborted it.
    #[track_caller]
    pub fn body(&mut self, algorithm: Algorithm) -> Result<Vec<u8>, Value> {
        self.body_from(Vec::new(), algorithm)
    }

    /// The bytes of a body, whatever its trailer says of them.
    pub fn chunks(&mut self) -> Vec<u8> {
        let mut bytes = vec![];
        loop {
            match self.chunk() {
                chunk if chunk.is_empty() => break,
                chunk => bytes.extend(chunk),
            }
        }
        self.receive();
        bytes
    }

    /// The rest of a body of which `bytes` were received.
    #[track_caller]
    pub fn body_from(&mut self, mut bytes: Vec<u8>, algorithm: Algorithm) -> Result<Vec<u8>, Value> {
        loop {
            match self.length().expect("the server closed within a body") {
                0 => break,
                0xffff_ffff => return Err(self.receive()["error"].take()),
                length => {
                    assert!(length <= 1 << 20, "the server sends a chunk of {length} bytes");
                    bytes.extend(self.bytes(length));
                }
            }
        }
        let trailer = self.receive();
        assert_eq!(trailer["length"], bytes.len());
        assert_eq!(trailer["digest"], algorithm.digest(&bytes).to_string());
        Ok(bytes)
    }

    /// One chunk of a body.
    #[track_caller]
    pub fn chunk(&mut self) -> Vec<u8> {
        let length = self.length().unwrap();
        self.bytes(length)
    }

    /// Says that no more comes, and receives all there is to the end.
    #[track_caller]
    pub fn finish(mut self) -> Vec<Value> {
        // A server that has closed cannot be told.
        let _ = self.handle.shutdown(Shutdown::Write);
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Says nothing, and receives all there is until the server closes: an idle client of a server that drains.
    #[track_caller]
    pub fn farewell(mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Sends one byte after the other, for as long as the server neither says anything nor closes.
    #[track_caller]
    pub fn drip(&mut self, byte: u8) {
        let began = std::time::Instant::now();
        while self.socket.write_all(&[byte]).is_ok() && !self.is_readable(1) {
            assert!(began.elapsed() < PATIENCE, "the server waits for all of it");
        }
    }

    /// Whether there is something to read, or the end, within so many milliseconds.
    pub fn is_readable(&self, milliseconds: i64) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let limit = Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
        poll(&mut [PollFd::new(&*self.handle, PollFlags::IN)], Some(&limit)).unwrap() > 0
    }

    /// How many bytes the kernel holds for us.
    pub fn waiting(&self) -> u64 {
        rustix::io::ioctl_fionread(&*self.handle).unwrap()
    }

    /// Disappears as a machine does that is switched off: the connection is reset.
    pub fn vanish(self) {
        self.handle.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    fn length(&mut self) -> Option<usize> {
        let mut prefix = [0; 4];
        match self.socket.read(&mut prefix[..1]) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no message: {error}"),
        }
        self.socket.read_exact(&mut prefix[1..]).unwrap();
        Some(u32::from_be_bytes(prefix) as usize)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes
    }
}

pub fn hello() -> Value {
    json!({"id": 0, "cmd": "hello", "version": 1})
}

/// A message: its length and its JSON.
pub fn frame(message: &Value) -> Vec<u8> {
    framed(message.to_string().as_bytes())
}

/// Any bytes behind their length: a message or a chunk.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A body in one chunk, if it has any byte, with its MD5 trailer.
pub fn body(bytes: &[u8]) -> Vec<u8> {
    let mut body = if bytes.is_empty() { vec![] } else { framed(bytes) };
    body.extend([0; 4]);
    body.extend(frame(&trailer(bytes)));
    body
}

pub fn trailer(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "digest": Algorithm::Md5.digest(bytes).to_string()})
}

/// A whole `put` of `bytes` as `path`.
pub fn put(id: u64, path: &str, bytes: &[u8]) -> Vec<u8> {
    [frame(&put_header(id, path)), body(bytes)].concat()
}

pub fn put_header(id: u64, path: &str) -> Value {
    json!({"id": id, "cmd": "put", "body": true, "path": path, "digest": "md5"})
}

/// The code of a reply that refuses.
#[track_caller]
pub fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or_else(|| panic!("it is no refusal: {reply}"))
}
