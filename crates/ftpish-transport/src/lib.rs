//! How bytes cross a network, for both ends: endpoints and their sockets ([`Endpoint`]), waits that end
//! ([`Socket`], [`Deadline`]), and TLS 1.3 over them ([`Stream`], [`Fingerprint`]).
//!
//! Out of scope: what the bytes mean (`ftpish-protocol`), whose key is trusted (`ftpish-client`), where a key is
//! kept (`ftpish-server`).
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod endpoint;
mod fingerprint;
mod socket;
mod stream;
mod tls;

pub use endpoint::{Endpoint, EndpointError};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use socket::{Deadline, Interrupt, Socket};
pub use stream::Stream;
pub use tls::{TlsStream, client_config, server_config, signature_algorithms};
