//! TLS 1.3 (RFC 8446) over a [`Socket`], for either end.
//!
//! rustls' unbuffered interface encrypts and decrypts records in buffers of our own, so that one large read or write of
//! the socket moves many records. No file outside of this folder uses it.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{ClientConfig, ServerConfig};

use crate::Socket;

mod buffer;
mod config;
mod side;

use buffer::{encode, resize};
pub use config::{client_config, server_config, signature_algorithms};
pub use side::Side;

/// The largest record on the wire (RFC 8446, section 5.2), header included.
const MAX_RECORD: usize = 5 + (1 << 14) + 256;

/// Upper bound on one read of the socket. It is reached only while a [trusted](TlsStream::trust) peer keeps filling
/// smaller reads.
const MAX_INPUT: usize = 256 * 1024;

/// The size of the first read of the socket: more than a `ClientHello`.
const MIN_INPUT: usize = 4 * 1024;

/// Upper bound on the plaintext that is encrypted before it is written: a block of a body, with the lengths and messages
/// around it.
const MAX_OUTPUT: usize = 257 * 1024;

/// A TLS stream. If the peer closes the socket without a TLS `close_notify`, that reads as the end of the stream. This is
/// safe because messages and bodies have their lengths, so that a truncated one is noticed.
pub struct TlsStream<C> {
    tls: C,
    socket: Socket,
    /// Records that were read and not yet processed: `incoming[start..end]`.
    incoming: Vec<u8>,
    start: usize,
    end: usize,
    /// Upper bound on the size of `incoming`.
    most: usize,
    /// Records to be written: `outgoing[written..queued]`. It does not shrink while the stream is used, so that its
    /// memory is zeroed only once.
    outgoing: Vec<u8>,
    written: usize,
    queued: usize,
    /// Decrypted bytes that did not fit into the caller's buffer: `plain[taken..]`.
    plain: Vec<u8>,
    taken: usize,
    /// Whether the peer has closed.
    closed: bool,
}

/// The result of one step of the TLS state machine.
enum Step {
    /// Records were decrypted. So many bytes are in the caller's buffer, and the rest is in `plain`.
    Plain(usize),
    /// All records are processed, and application data may be written.
    Ready,
    /// All records are processed, and the handshake needs more of them.
    Blocked,
    /// The peer has sent a `close_notify`.
    Closed,
}

impl TlsStream<UnbufferedClientConnection> {
    /// Does a client's handshake with the server that `name` names.
    pub fn connect(socket: Socket, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let mut stream = Self::new(UnbufferedClientConnection::new(config, name).map_err(tls_error)?, socket);
        stream.trust(MAX_INPUT);
        stream.until_ready()?;
        stream.push()?;
        Ok(stream)
    }
}

impl TlsStream<UnbufferedServerConnection> {
    /// A server's end. The handshake takes place in the first reads.
    pub fn accept(socket: Socket, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self::new(UnbufferedServerConnection::new(config).map_err(tls_error)?, socket))
    }

    /// Whether the handshake is over.
    pub fn is_set_up(&self) -> bool {
        !self.tls.is_handshaking()
    }
}

impl<C: Side> TlsStream<C> {
    fn new(tls: C, socket: Socket) -> Self {
        Self {
            tls,
            socket,
            incoming: Vec::new(),
            start: 0,
            end: 0,
            most: MAX_RECORD,
            outgoing: Vec::new(),
            written: 0,
            queued: 0,
            plain: Vec::new(),
            taken: 0,
            closed: false,
        }
    }

    /// Lets one read take as much as the peer sends, up to `most` bytes. Until this is called, it takes at most one
    /// record.
    pub fn trust(&mut self, most: usize) {
        self.most = most.clamp(MAX_RECORD, MAX_INPUT);
    }

    /// Releases the memory that is not needed while nothing moves. The next read and the next write each allocate again.
    pub fn rest(&mut self) {
        self.outgoing.truncate(self.queued);
        self.outgoing.drain(..self.written);
        self.outgoing.shrink_to_fit();
        (self.written, self.queued) = (0, self.outgoing.len());
        self.incoming.truncate(self.end);
        self.incoming.drain(..self.start);
        (self.start, self.end) = (0, self.incoming.len());
        self.incoming.shrink_to_fit();
        self.plain.drain(..self.taken);
        self.taken = 0;
        self.plain.shrink_to_fit();
    }

    /// The socket below.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Whether a read would not wait: the peer has sent something, or closed.
    pub fn is_readable(&mut self) -> io::Result<bool> {
        while self.taken == self.plain.len() && !self.closed {
            match self.step(&mut [])? {
                Step::Plain(_) => {}
                Step::Closed => self.closed = true,
                Step::Ready | Step::Blocked if self.socket.is_readable()? => self.read_records()?,
                Step::Ready | Step::Blocked => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Processes and reads records until application data may be written.
    fn until_ready(&mut self) -> io::Result<()> {
        loop {
            match self.step(&mut [])? {
                Step::Ready => return Ok(()),
                Step::Plain(_) => {}
                Step::Closed => self.closed = true,
                Step::Blocked => self.read_records()?,
            }
            if self.closed {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }

    /// Writes the records that are queued.
    fn push(&mut self) -> io::Result<()> {
        while self.written < self.queued {
            match self.socket.write(&self.outgoing[self.written..self.queued])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.written += written,
            }
        }
        (self.written, self.queued) = (0, 0);
        Ok(())
    }

    /// Processes records until there is a result. Records of the handshake are queued.
    fn step(&mut self, out: &mut [u8]) -> io::Result<Step> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.tls.process(&mut self.incoming[self.start..self.end]);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let mut copied = 0;
                    while let Some(record) = traffic.next_record() {
                        let payload = record.map_err(tls_error)?.payload;
                        let now = payload.len().min(out.len() - copied);
                        out[copied..copied + now].copy_from_slice(&payload[..now]);
                        copied += now;
                        if self.taken == self.plain.len() {
                            self.plain.clear();
                            self.taken = 0;
                        }
                        self.plain.extend_from_slice(&payload[now..]);
                    }
                    Some(Step::Plain(copied))
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    self.queued += encode(&mut self.outgoing, self.queued, |room| data.encode(room))?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // The queued records are written before any later ones, and before the stream waits for the peer.
                    data.done();
                    None
                }
                Ok(ConnectionState::WriteTraffic(_)) => Some(Step::Ready),
                Ok(ConnectionState::BlockedHandshake) => Some(Step::Blocked),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Step::Closed),
                Ok(state) => return Err(io::Error::other(format!("unexpected TLS state {state:?}"))),
                Err(error) => {
                    self.start += discard;
                    self.send_alert();
                    return Err(tls_error(error));
                }
            };
            self.start += discard;
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Sends the alert that tells the peer why the handshake failed, if that is still possible.
    fn send_alert(&mut self) {
        let status = self.tls.process(&mut self.incoming[self.start..self.end]);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state
            && let Ok(length) = encode(&mut self.outgoing, self.queued, |room| data.encode(room))
        {
            self.queued += length;
            let _ = self.push();
        }
    }

    /// Reads more records from the socket. Its buffer grows while the peer keeps filling it.
    fn read_records(&mut self) -> io::Result<()> {
        self.push()?;
        self.incoming.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.incoming.len() {
            if self.incoming.len() >= self.most {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a TLS record is too large"));
            }
            let size = (self.incoming.len() * 2).max(MIN_INPUT).min(self.most);
            resize(&mut self.incoming, size)?;
        }
        let read = self.socket.read(&mut self.incoming[self.end..])?;
        self.end += read;
        self.closed |= read == 0;
        if self.end == self.incoming.len() && self.end < self.most {
            resize(&mut self.incoming, (self.end * 2).min(self.most))?;
        }
        Ok(())
    }
}

impl<C: Side> Read for TlsStream<C> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let aside = &self.plain[self.taken..];
            if !aside.is_empty() {
                let now = aside.len().min(buffer.len() - done);
                buffer[done..done + now].copy_from_slice(&aside[..now]);
                self.taken += now;
                done += now;
                continue;
            }
            if self.closed {
                break;
            }
            match self.step(&mut buffer[done..])? {
                Step::Plain(copied) => done += copied,
                Step::Closed => self.closed = true,
                Step::Ready | Step::Blocked if done > 0 => break,
                Step::Ready | Step::Blocked => self.read_records()?,
            }
        }
        Ok(done)
    }
}

impl<C: Side> Write for TlsStream<C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(MAX_OUTPUT)];
        self.until_ready()?;
        // Earlier bytes are written first. If that fails with `WouldBlock`, nothing of `bytes` was taken.
        self.push()?;
        let status = self.tls.process(&mut self.incoming[self.start..self.end]);
        self.start += status.discard;
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return Err(io::Error::other("a TLS connection that was ready is not"));
        };
        self.queued = encode(&mut self.outgoing, 0, |room| traffic.encrypt(bytes, room))?;
        match self.push() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push()
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
