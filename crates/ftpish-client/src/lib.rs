//! The ftpish client, to embed: connect, then one method a verb. It reports how far it is through [`Progress`], and
//! prints nothing.
//!
//! ```no_run
//! use ftpish_client::{Client, Options, Progress, Security, Trust};
//! use ftpish_protocol::Algorithm;
//!
//! # fn main() -> Result<(), ftpish_client::Error> {
//! let key = "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0".parse().expect("43 characters");
//! let options = Options::new("example.org".parse().expect("a host"), Security::Tls(Trust::Key(key)));
//! let mut client = Client::connect(&options)?;
//! let mut out = Vec::new();
//! client.get(&"docs/a.txt".parse().expect("a path"), Algorithm::Blake3, &mut out, &Progress::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! Out of scope: arguments, bars, prompts, exit codes.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod compare;
mod error;
mod hostkeys;
mod login;
mod progress;
mod transfer;
mod tree;
mod url;
mod way;

pub use client::{Client, Options, Security, Timeouts};
pub use compare::{Comparison, digest_of};
pub use error::Error;
pub use hostkeys::{KnownHosts, KnownHostsError, Trust};
pub use login::{By, Login};
pub use progress::{Part, Progress};
pub use transfer::{Ahead, Batch, Download, Jobs, Report, Upload};
pub use tree::{
    Compare, Done, Filter, FilterError, LeftOut, LinkPolicy, Listed, Outcome, Step, Tree, TreeJob,
};
pub use url::{ServerUrl, UrlError};
pub use way::Way;

/// What this client calls itself in `hello`.
pub const AGENT: &str = concat!("ftpish/", env!("CARGO_PKG_VERSION"));

/// From how many bytes on a transfer that was cut is worth resuming: less is sent anew in the time that asking
/// takes.
pub const RESUME_FROM: u64 = 4 * 1024 * 1024;

/// What a finished transfer proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// How many bytes the file has.
    pub size: u64,
    /// How many of them moved; the others were there already, and proven.
    pub moved: u64,
    /// Their digest, which both ends computed.
    pub digest: ftpish_protocol::Digest,
    /// The modification time that the file has on both sides, if it has one.
    pub mtime: Option<ftpish_protocol::message::Time>,
    /// What the receiving file system has not kept besides the bytes.
    pub unset: ftpish_protocol::message::Unset,
}
