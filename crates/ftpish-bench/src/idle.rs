//! What a connection costs a server while nobody uses it: thousands of clients that said hello, and then nothing.

use std::path::Path;

use ftpish_client::{Client, Options, Security, Trust};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::contenders::{CLEAR, FTPISH};
use crate::field::work_in;
use crate::measure::memory_of;
use crate::servers::{NEAR, Server};

/// What this is called among the rows.
pub const NAME: &str = "idle connections";

/// What a connection may cost with TLS, and without it, in KiB.
pub const KIB: [(&str, f64); 2] = [(FTPISH, 24.0), (CLEAR, 4.0)];

/// Opens so many connections, two at least, to a new server, and tells the KiB that the server has for each of them, without
/// what the kernel keeps for a socket.
pub fn measure(parent: &Path, ftpish: &Path, connections: u16, plaintext: bool) -> Result<f64, String> {
    let dir = work_in(parent)?;
    let server = if plaintext { Server::FtpishPlaintext } else { Server::Ftpish };
    let flags = ["--max-connections", "--max-per-address"].map(|flag| format!("{flag}={connections}"));
    let running = server.start(ftpish, dir.path(), &flags)?;
    let pid = running.pid().ok_or("the server has no process")?;
    let endpoint = format!("{NEAR}:{}", running.port).parse().map_err(|_| "no address")?;
    let security = if plaintext { Security::Plaintext } else { Security::Tls(Trust::Any) };
    let options = Options::new(endpoint, security);
    let connect = |_| {
        let mut client = Client::connect(&options)?;
        client.welcome()?;
        Ok(client)
    };
    let weigh = || memory_of(pid).ok_or("the server is gone".to_owned());
    // The first one is served with what a server needs once.
    let mut clients =
        vec![connect(0).map_err(|e: ftpish_client::Error| format!("the first connection: {e}"))?];
    let before = weigh()?;
    for at in 1..connections {
        clients.push(connect(at).map_err(|e| format!("connection {}: {e}", at + 1))?);
    }
    let after = weigh()?;
    let gone = clients.iter_mut().filter_map(|client| (!client.is_usable()).then_some(())).count();
    if gone > 0 {
        return Err(format!("{gone} of {connections} connections were closed meanwhile"));
    }
    Ok(after.saturating_sub(before) as f64 / f64::from(connections - 1))
}

/// So many connections, or as many as this process and the server that it starts may have files open for: two each, and
/// some for all else.
pub fn allowed(connections: u16) -> u16 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = files.saturating_sub(200) / 2;
    connections.min(u16::try_from(most).unwrap_or(u16::MAX))
}
