//! Fetches a file or a tree, and says how far it is.
//!
//!     cargo run -p ftpish-client --example download 'ftpish://localhost/photos#SHA256:…' copy

use std::error::Error;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use ftpish_client::{Client, Done, Options, Progress, Security, ServerUrl, Tree, TreeJob, Trust, Way};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(local)) = (words.next(), words.next()) else {
        return Err("what to fetch, as a URL with the host key, and where to".into());
    };
    let url: ServerUrl = url.parse()?;
    let host_key = url.host_key.ok_or("the URL has no host key: #SHA256:…")?;
    let mut client = Client::connect(&Options::new(url.endpoint, Security::Tls(Trust::Key(host_key))))?;

    let (progress, mut failed) = (Progress::default(), 0);
    std::thread::scope(|scope| {
        let (ended, wait) = channel::<()>();
        // It can be looked at from any thread.
        let shown = &progress;
        scope.spawn(move || {
            while wait.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{} of {} bytes", shown.done(), shown.total().unwrap_or(0));
            }
        });
        let tree = Tree::new(Way::Get, url.path, local);
        let ran = TreeJob::new(tree).run(&mut client, &progress, &mut |step, outcome| match outcome {
            Ok(Done::Moved(done)) => println!("{}  {}", done.digest.hex(), step.path()),
            Ok(Done::Changed(_) | Done::Nothing) => {}
            Err(error) => {
                failed += 1;
                eprintln!("{}: {error}", step.path());
            }
        });
        drop(ended);
        ran
    })?;
    if failed > 0 { Err(format!("{failed} were not fetched").into()) } else { Ok(()) }
}
