//! The ftpish wire. `docs/PROTOCOL.md` and the pages in `docs/protocol` are the standard; this crate is its Rust form.
//!
//! In scope: messages and what they mean ([`message`]), paths that cannot escape ([`RemotePath`]),
//! digests ([`Digest`]), framing ([`Connection`]) and verified bodies ([`send_body`], [`receive_body`]).
//! It works over any `Read + Write`.
//!
//! Out of scope: sockets, TLS, deadlines, files, threads, terminals. A caller that must not wait forever
//! gives a stream whose reads and writes fail when its time is up.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod blocks;
mod body;
mod connection;
mod digest;
mod entry;
mod error;
mod frame;
mod key;
mod listing;
pub mod message;
mod meter;
mod path;
mod refusal;
mod secret;
pub mod text;
mod tree;
mod verified;

pub use body::{
    BodyError, BodyReceiver, BodySender, Digested, PartReceiver, RangesReceiver, SendError, Sent, Watch,
    receive_body, receive_part, receive_ranges, send_body, send_digested, send_part, send_ranges,
    send_subtree,
};
pub use connection::{Arrived, BLOCK, Connection, MIN_BLOCK};
pub use digest::{Algorithm, Digest, Hasher, ParseDigestError, Reading, read_through};
pub use error::Error;
pub use frame::Header;
pub use key::{KeyError, NAMESPACE, PrivateKey, PublicKey, Statement};
pub use listing::{Line, Lines, receive_listing, send_listing};
pub use meter::Meter;
pub use path::{Name, PathError, RemotePath};
pub use refusal::{Code, Refusal};
pub use secret::Secret;
pub use tree::{WalkOrder, walk_order};
pub use verified::Verified;

/// The protocol version that `hello` carries. It changes only when an old peer would misread a new one.
pub const VERSION: u32 = 1;

/// The extensions of the protocol, each by the name of its page in `docs/protocol`.
pub const FEATURES: [&str; 8] =
    ["alive", "attributes", "backup", "blocks", "links", "login", "parts", "trees"];

/// The ALPN protocol name (RFC 7301) of ftpish over TLS.
pub const ALPN: &[u8] = b"ftpish/1";

/// The port used where none is named.
pub const DEFAULT_PORT: u16 = 2121;

/// The longest message in bytes. The largest real one, `mv` of two base64 paths, takes about 11 KiB.
pub const MAX_HEADER: usize = 64 * 1024;

/// The deepest nesting of arrays and objects in a message. Real ones need 3.
pub const MAX_DEPTH: usize = 16;

/// The longest chunk of a body in bytes that a receiver must take.
pub const MAX_CHUNK: usize = 1024 * 1024;

/// How many requests a client may have sent whose replies it has not read. More could fill both directions'
/// socket buffers and leave the two ends waiting for each other.
pub const MAX_IN_FLIGHT: usize = 1024;

/// The longest path in bytes: Linux's `PATH_MAX`.
pub const MAX_PATH: usize = 4096;

/// The longest component of a path in bytes: `NAME_MAX` of every common file system.
pub const MAX_NAME: usize = 255;
