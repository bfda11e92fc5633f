//! `demo`: a server in this process on a free loopback port and a throwaway root; then what a user would do, each
//! command shown as it is typed and run as it is run, on real files.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::path::Path;

use ftpish_protocol::Algorithm;
use ftpish_server::{Config, Identity, Limits, Policy, Server};
use ftpish_storage::Root;
use ftpish_transport::Endpoint;

use crate::cli::{Cli, Command};
use crate::commands;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;
use crate::ui::{Ui, print};

/// How large the file is that moves.
const SIZE: usize = 64 * 1024 * 1024;

pub fn run(ui: &Ui) -> Result<(), Failure> {
    let broken = |error: io::Error| Failure::new(Exit::Other, format!("cannot set up the demo: {error}"));
    let scratch = tempfile::tempdir().map_err(broken)?;
    let [served, here, state] = ["served", "here", "state"].map(|name| scratch.path().join(name));
    for dir in [&served, &here] {
        std::fs::create_dir(dir).map_err(broken)?;
    }
    std::fs::write(served.join("welcome.txt"), "Hello from the server.\n").map_err(broken)?;
    make_file(&here.join("video.bin")).map_err(broken)?;

    let identity = Identity::ephemeral().map_err(|error| Failure::new(Exit::HostKey, error.to_string()))?;
    let listener = Endpoint::Tcp("127.0.0.1".to_owned(), 0).listen().map_err(broken)?;
    let endpoint = Endpoint::of(&listener).map_err(broken)?;
    let config = Config {
        root: Root::open(&served, true).map_err(broken)?,
        policy: Policy::default(),
        limits: Limits::default(),
        accounts: None,
        identity: Some(identity.clone()),
    };
    let server = Server::new(config, vec![listener]).map_err(broken)?;
    let shutdown = server.shutdown();
    let serving = std::thread::spawn(move || server.run());

    std::env::set_current_dir(&here).map_err(broken)?;
    let server = [endpoint.to_string(), identity.fingerprint().to_string(), state.display().to_string()];
    let outcome = act(&server, ui).and_then(|()| compare(&here));
    shutdown.start();
    let drained = serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(broken);
    outcome?;
    if drained? > 0 {
        return Err(Failure::new(Exit::Other, "the server did not end in time"));
    }
    print("every byte verified; now try it yourself: ftpish serve")
}

/// What a user would do.
fn act(server: &[String; 3], ui: &Ui) -> Result<(), Failure> {
    let [endpoint, host_key, state] = server;
    let flags = ["--server", endpoint, "--host-key", host_key, "--state-dir", state];
    print(format_args!("$ ftpish serve    # on {endpoint}, key {host_key}\n"))?;
    let mut session: Option<Session> = None;
    for line in [
        "ls -l",
        "cat welcome.txt",
        "put video.bin",
        "get video.bin copy.bin",
        "hash video.bin",
        "mkdir films",
        "mv video.bin films/",
        "ls -l films",
        "sync . :backup",
        "sync . :backup",
    ] {
        print(format_args!("$ ftpish {line}"))?;
        let words = ["ftpish"].into_iter().chain(flags).chain(line.split(' '));
        let cli = Cli::of(words).map_err(|error| Failure::usage(error.to_string()))?;
        let session = match &mut session {
            Some(session) => session,
            none => none.insert(Session::new(&cli.global, ui)?),
        };
        if let Some(Command::Verb(verb)) = &cli.command {
            commands::run(verb, session)?;
        }
        print("")?;
    }
    Ok(())
}

/// The copy is the original, byte by byte, whatever the transfers said.
fn compare(here: &Path) -> Result<(), Failure> {
    print("$ cmp video.bin copy.bin")?;
    let read = |name| std::fs::read(here.join(name));
    match (read("video.bin"), read("copy.bin")) {
        (Ok(original), Ok(copy)) if original == copy && original.len() == SIZE => {
            print(format_args!("{SIZE} bytes are the same\n"))
        }
        (Ok(_), Ok(_)) => Err(Failure::new(Exit::Verification, "the copy differs from the original")),
        (Err(error), _) | (_, Err(error)) => {
            Err(Failure::new(Exit::Other, format!("cannot compare: {error}")))
        }
    }
}

/// A file that does not compress, and that is another one at each run.
fn make_file(path: &Path) -> io::Result<()> {
    let mut random = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let mut out = BufWriter::new(File::create_new(path)?);
    let mut written = 0;
    for counter in 0_u64.. {
        if written >= SIZE {
            break;
        }
        let block = Algorithm::Blake3.digest(&[&random[..], &counter.to_le_bytes()].concat());
        out.write_all(block.as_bytes())?;
        written += block.as_bytes().len();
    }
    out.flush()
}
