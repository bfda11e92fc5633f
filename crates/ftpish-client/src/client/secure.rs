//! The TLS handshake, and the key that the server shows in it.

use std::io;

use ftpish_transport::{Endpoint, Fingerprint, Interrupt, Socket, Stream, client_config};
use rustls::pki_types::ServerName;

use crate::hostkeys::KeyVerifier;
use crate::{Error, Trust};

/// Does the TLS handshake, and tells the server's key.
pub(super) fn secure(
    socket: Socket,
    endpoint: &Endpoint,
    trust: Trust,
    interrupt: &Interrupt,
) -> Result<(Stream, Fingerprint), Error> {
    let verifier = KeyVerifier::new(trust);
    // Servers have one key; they are told the name only because TLS wants one.
    let name = match endpoint {
        Endpoint::Tcp(host, _) => ServerName::try_from(host.clone()).ok(),
        Endpoint::Unix(_) => None,
    };
    let name = name.unwrap_or(ServerName::try_from("localhost").expect("a valid name"));
    let stream = Stream::connect(socket, Some((client_config(verifier.clone()), name)));
    let endpoint = endpoint.clone();
    match (stream, verifier.offered()) {
        (Ok(stream), Some(key)) => Ok((stream, key)),
        (Err(_), _) if interrupt.is_set() => Err(Error::Interrupted),
        (Err(error), Some(offered)) => Err(match trust {
            Trust::Key(expected) if expected != offered => {
                Error::WrongHostKey { endpoint, expected, offered }
            }
            Trust::Nothing => Error::UnknownHostKey { endpoint, fingerprint: offered },
            Trust::Key(_) | Trust::Any => Error::Handshake { endpoint, error },
        }),
        (Err(error), None) => Err(Error::Handshake { endpoint, error }),
        (Ok(_), None) => {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the server showed no key");
            Err(Error::Handshake { endpoint, error })
        }
    }
}
