//! A server with a rule of one's own: anybody may read, and may bring files to `inbox`, but no program and not twice.
//!
//!     cargo run -p ftpish-server --example policy

use std::error::Error;
use std::fs;

use ftpish_client::{Client, Options, Progress, Security, Trust, Upload};
use ftpish_protocol::RemotePath;
use ftpish_protocol::message::Replace;
use ftpish_server::{Access, Config, Identity, Limits, Policy, Right, Rule, Server};
use ftpish_storage::Root;
use ftpish_transport::Endpoint;

/// Whether a client may do this. `path` is where a file is, whatever links lead to it.
fn rule(access: &Access<'_>) -> Result<(), String> {
    let inbox: RemotePath = "inbox".parse().expect("it is a path");
    let is_program = access.path.name().is_some_and(|name| name.as_bytes().ends_with(b".exe"));
    match access.right {
        Right::List | Right::Read => Ok(()),
        Right::Write if !access.path.is_within(&inbox) => Err("files go to `inbox`".to_owned()),
        Right::Write if is_program => Err("no programs are taken".to_owned()),
        Right::Write => Ok(()),
        Right::Delete => Err("what was brought stays".to_owned()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    for dir in ["served", "served/inbox", "state"] {
        fs::create_dir(scratch.path().join(dir))?;
    }
    let listener = Endpoint::Tcp("127.0.0.1".to_owned(), 0).listen()?;
    let endpoint = Endpoint::of(&listener)?;
    let identity = Identity::load_or_create(&scratch.path().join("state"))?;
    let host_key = identity.fingerprint();
    let config = Config {
        root: Root::open(&scratch.path().join("served"), true)?,
        policy: Policy { read_only: false, rule: Some(Rule::new(rule)) },
        limits: Limits::default(),
        accounts: None,
        identity: Some(identity),
    };
    let server = Server::new(config, vec![listener])?;
    let shutdown = server.shutdown();
    let running = std::thread::spawn(|| server.run());

    let mut client = Client::connect(&Options::new(endpoint, Security::Tls(Trust::Key(host_key))))?;
    let report = scratch.path().join("report");
    fs::write(&report, "all is well")?;
    let mut outcomes = Vec::new();
    for to in ["inbox/report", "report", "inbox/report.exe", "inbox/report"] {
        let upload = Upload { replace: Replace::Never, ..Upload::new(&report, to.parse()?) };
        let outcome = client.upload(&upload, &Progress::default());
        println!(
            "{to}: {}",
            outcome.as_ref().map_or_else(ToString::to_string, |done| done.digest.to_string())
        );
        outcomes.push(outcome.is_ok());
    }
    let removed = client.rm(&"inbox/report".parse()?, false);
    println!("rm: {}", removed.as_ref().map_or_else(ToString::to_string, |()| "removed".to_owned()));
    assert_eq!(outcomes, [true, false, false, false]);
    assert!(removed.is_err() && scratch.path().join("served/inbox/report").exists());

    drop(client);
    shutdown.start();
    running.join().expect("the server does not panic")?;
    Ok(())
}
