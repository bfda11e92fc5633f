//! How bytes cross a network, for both ends: endpoints and their sockets ([`Endpoint`]), waits that end
//! ([`Socket`], [`Deadline`], [`Throttle`]), TLS 1.3 over them ([`Stream`], [`Fingerprint`]), and work beside them ([`attend`]).
//!
//! Out of scope: what the bytes mean (`ftpish-protocol`), whose key is trusted (`ftpish-client`), where a key is
//! kept (`ftpish-server`).
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod attend;
mod endpoint;
mod fingerprint;
mod socket;
mod stream;
mod throttle;
mod tls;

pub use attend::attend;
pub use endpoint::{Endpoint, EndpointError};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use socket::{Deadline, Interrupt, Readiness, Socket, Wait};
pub use stream::Stream;
pub use throttle::Throttle;
pub use tls::{TlsStream, client_config, server_config, signature_algorithms};
