//! TLS 1.3 (RFC 8446) over a [`Socket`], for either end.
//!
//! rustls' unbuffered interface lets records be encrypted into, and decrypted in, buffers of our own: one large
//! read or write of the socket for many records. Nothing but this file knows it.

use std::io::{self, Read, Write};
use std::sync::Arc;

use ftpish_protocol::ALPN;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::Socket;

/// The largest record on the wire (RFC 8446, section 5.2), header included.
const MAX_RECORD: usize = 5 + (1 << 14) + 256;

/// The most that is read from the socket at a time; reached only while a peer keeps filling smaller reads, and one that is
/// [trusted](TlsStream::trust) to do so.
const MAX_INPUT: usize = 256 * 1024;

/// What is read from the socket at first: more than a `ClientHello`.
const MIN_INPUT: usize = 4 * 1024;

/// The most plaintext that is encrypted before it is written: a block of a body, with the lengths and messages around
/// it.
const MAX_OUTPUT: usize = 257 * 1024;

/// A client's configuration: TLS 1.3, ALPN `ftpish/1`, and `verifier` to judge the server's key.
pub fn client_config(verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// A server's configuration: TLS 1.3, ALPN `ftpish/1`, and its key.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Nobody resumes sessions, and a client that looks whether its server has spoken should not find a ticket.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The signatures that a verifier of certificates can check.
pub fn signature_algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    default_provider().signature_verification_algorithms
}

/// Either end of rustls' unbuffered interface, whose two types have the same methods but no trait.
pub trait Side: Send {
    /// The end's own data.
    type Data;

    /// Goes on with what is in `incoming`.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// A TLS stream. A peer that closes the socket without saying so in TLS reads as the end of the stream: what may
/// not be cut short, a message or a body, says its own length.
pub struct TlsStream<C> {
    tls: C,
    socket: Socket,
    /// Records that were read and not yet processed: `incoming[start..end]`.
    incoming: Vec<u8>,
    start: usize,
    end: usize,
    /// How large `incoming` may become.
    most: usize,
    /// Records to be written: `outgoing[written..queued]`. It never shrinks, so that it is zeroed once only.
    outgoing: Vec<u8>,
    written: usize,
    queued: usize,
    /// Bytes that were decrypted before there was room for them: `plain[taken..]`.
    plain: Vec<u8>,
    taken: usize,
    closed: bool,
}

/// What one step of the TLS state machine came to.
enum Step {
    /// A record was decrypted: this many bytes of it into the caller's buffer, the rest set aside.
    Plain(usize),
    /// All records are processed; application data may be written.
    Ready,
    /// All records are processed, and the handshake needs more of them.
    Blocked,
    /// The peer said that it closes.
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
    /// A server's end, whose handshake is done by the first reads.
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

    /// Reads as much at a time as the peer sends, up to `most` bytes; before that, no more than a record.
    pub fn trust(&mut self, most: usize) {
        self.most = most.clamp(MAX_RECORD, MAX_INPUT);
    }

    /// Gives back the memory that is not needed while nothing moves. The next read and write cost an allocation each.
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

    /// Goes on until application data may be written.
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

    /// Processes records until there is something to tell. What the handshake has to say is queued.
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
                    // It is written before anything that comes later, and before the peer is waited for.
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

    /// Tells the peer why the handshake failed, as well as it still can be told.
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
        // What was taken before this comes first; if that waits, nothing of this was taken.
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

/// Lets `write` put bytes into `buffer` from `at` on; where it wants more room it gets it, once.
fn encode<E: Into<Room>>(
    buffer: &mut Vec<u8>,
    at: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> io::Result<usize> {
    match write(&mut buffer[at..]).map_err(Into::into) {
        Ok(length) => Ok(length),
        Err(Room::Needs(size)) => {
            resize(buffer, at + size)?;
            match write(&mut buffer[at..]).map_err(Into::into) {
                Ok(length) => Ok(length),
                Err(_) => Err(io::Error::other("TLS wants more room than it said")),
            }
        }
        Err(Room::Never) => Err(io::Error::other("the TLS keys of this connection are used up")),
    }
}

/// Makes a buffer larger or smaller. Where there is no memory for it, the connection ends, and not the process.
fn resize(buffer: &mut Vec<u8>, size: usize) -> io::Result<()> {
    buffer.try_reserve_exact(size.saturating_sub(buffer.len()))?;
    buffer.resize(size, 0);
    Ok(())
}

/// rustls' two errors of writing into a buffer, as one.
enum Room {
    Needs(usize),
    Never,
}

impl From<EncodeError> for Room {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(needs) => Self::Needs(needs.required_size),
            EncodeError::AlreadyEncoded => Self::Never,
        }
    }
}

impl From<EncryptError> for Room {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(needs) => Self::Needs(needs.required_size),
            EncryptError::EncryptExhausted => Self::Never,
        }
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
