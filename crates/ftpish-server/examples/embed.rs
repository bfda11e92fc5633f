//! A server inside another program, and a client that stores a directory on it and fetches it again.
//!
//!     cargo run -p ftpish-server --example embed

use std::error::Error;
use std::fs;

use ftpish_client::{Client, Done, Options, Progress, Security, Tree, TreeJob, Trust, Way};
use ftpish_protocol::RemotePath;
use ftpish_server::{Config, Identity, Limits, Policy, Server};
use ftpish_storage::Root;
use ftpish_transport::Endpoint;

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    for dir in ["served", "state", "photos"] {
        fs::create_dir(scratch.path().join(dir))?;
    }
    fs::write(scratch.path().join("photos/dog.jpg"), "woof")?;

    // The server: a listener that is bound, a root directory, and who may do what in it.
    let listener = Endpoint::Tcp("127.0.0.1".to_owned(), 0).listen()?;
    let endpoint = Endpoint::of(&listener)?;
    let identity = Identity::load_or_create(&scratch.path().join("state"))?;
    let host_key = identity.fingerprint();
    let root = Root::open(&scratch.path().join("served"), true)?;
    let config = Config {
        root,
        policy: Policy::default(),
        limits: Limits::default(),
        accounts: None,
        identity: Some(identity),
    };
    let server = Server::new(config, vec![listener])?;
    let shutdown = server.shutdown();
    let running = std::thread::spawn(|| server.run());

    // The client: it trusts this very key, and moves a tree each way.
    let options = Options::new(endpoint, Security::Tls(Trust::Key(host_key)));
    let mut client = Client::connect(&options)?;
    let remote: RemotePath = "photos".parse()?;
    for (way, local) in [(Way::Put, "photos"), (Way::Get, "copy")] {
        let tree = Tree::new(way, remote.clone(), scratch.path().join(local));
        TreeJob::new(tree).run(&mut client, &Progress::default(), &mut |step, outcome| match outcome {
            Ok(Done::Moved(done)) => {
                println!("{way:?} {}: {} bytes, {}", step.path(), done.size, done.digest);
            }
            Ok(_) => {}
            Err(error) => eprintln!("{way:?} {}: {error}", step.path()),
        })?;
    }
    assert_eq!(fs::read(scratch.path().join("copy/dog.jpg"))?, b"woof");

    drop(client);
    shutdown.start();
    running.join().expect("the server does not panic")?;
    Ok(())
}
