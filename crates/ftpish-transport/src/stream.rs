//! A connection to a peer, encrypted or in the clear, as one type.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};

use crate::{Deadline, Socket, Throttle, TlsStream, Wait};

/// Either end of a connection.
pub enum Stream {
    /// In the clear.
    Plain(Socket),
    /// A client's TLS.
    Client(Box<TlsStream<UnbufferedClientConnection>>),
    /// A server's TLS.
    Server(Box<TlsStream<UnbufferedServerConnection>>),
}

impl Stream {
    /// A client's connection: with TLS where there is a configuration, which expects the server named `name`.
    pub fn connect(
        socket: Socket,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    ) -> io::Result<Self> {
        match tls {
            None => Ok(Self::Plain(socket)),
            Some((config, name)) => {
                TlsStream::connect(socket, config, name).map(|stream| Self::Client(Box::new(stream)))
            }
        }
    }

    /// A server's connection: with TLS where there is a configuration.
    pub fn accept(socket: Socket, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        match tls {
            None => Ok(Self::Plain(socket)),
            Some(config) => TlsStream::accept(socket, config).map(|stream| Self::Server(Box::new(stream))),
        }
    }

    /// Says when waits from now on are over.
    pub fn set_deadline(&mut self, deadline: Deadline) {
        match self {
            Self::Plain(socket) => socket.set_deadline(deadline),
            Self::Client(tls) => tls.socket().set_deadline(deadline),
            Self::Server(tls) => tls.socket().set_deadline(deadline),
        }
    }

    /// Lets no more move from now on than the throttle does.
    pub fn set_throttle(&mut self, throttle: Option<Arc<Throttle>>) {
        match self {
            Self::Plain(socket) => socket.set_throttle(throttle),
            Self::Client(tls) => tls.socket().set_throttle(throttle),
            Self::Server(tls) => tls.socket().set_throttle(throttle),
        }
    }

    /// Lets a peer that is no stranger any more fill buffers of up to so many bytes.
    pub fn trust(&mut self, most: usize) {
        match self {
            Self::Plain(_) => {}
            Self::Client(tls) => tls.trust(most),
            Self::Server(tls) => tls.trust(most),
        }
    }

    /// What a call waits for that failed with `WouldBlock`, as [`Socket::wait`].
    pub fn wait(&mut self) -> Option<Wait> {
        match self {
            Self::Plain(socket) => socket.wait(),
            Self::Client(tls) => tls.socket().wait(),
            Self::Server(tls) => tls.socket().wait(),
        }
    }

    /// Whether bytes can be written: there is no TLS, or its handshake is over.
    pub fn is_set_up(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Client(_) => true,
            Self::Server(tls) => tls.is_set_up(),
        }
    }

    /// Gives back the memory that is not needed while nothing moves.
    pub fn rest(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Client(tls) => tls.rest(),
            Self::Server(tls) => tls.rest(),
        }
    }

    /// The socket below all, as [`Socket::shared`].
    pub fn socket(&mut self) -> Arc<socket2::Socket> {
        match self {
            Self::Plain(socket) => socket.shared(),
            Self::Client(tls) => tls.socket().shared(),
            Self::Server(tls) => tls.socket().shared(),
        }
    }

    /// Whether a read would not wait: the peer has sent something, or closed.
    pub fn is_readable(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(socket) => socket.is_readable(),
            Self::Client(tls) => tls.is_readable(),
            Self::Server(tls) => tls.is_readable(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Client(tls) => tls.read(buffer),
            Self::Server(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Client(tls) => tls.write(bytes),
            Self::Server(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Client(tls) => tls.flush(),
            Self::Server(tls) => tls.flush(),
        }
    }
}
