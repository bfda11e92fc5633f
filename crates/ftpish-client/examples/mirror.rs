//! A bot that keeps a directory here like one on a server: it looks every so often, fetches what has changed, removes what has
//! gone, and tells what it did. It outlives a server that is away for a while.
//!
//!     cargo run -p ftpish-client --example mirror 'ftpish://localhost/photos#SHA256:…' copy 10
//!
//! The last word is the time between two looks, in seconds. With one more, it ends after so many looks.

use std::error::Error;
use std::time::Duration;

use ftpish_client::{
    Client, Compare, Done, Options, Progress, Security, ServerUrl, Tree, TreeJob, Trust, Way,
};

/// More names than these are not removed at once: the server's directory may be another one today.
const MOST_REMOVED: u64 = 1000;

/// Makes `tree` on this side like the server's. Returns how many of its files could not be had.
fn mirror(options: &Options, tree: &Tree) -> Result<usize, ftpish_client::Error> {
    let mut failed = 0;
    let mut client = Client::connect(options)?;
    TreeJob::new(tree.clone()).run(
        &mut client,
        &Progress::default(),
        &mut |step, outcome| match outcome {
            Ok(Done::Moved(done)) => println!("{}  {}", done.digest.hex(), step.path()),
            Ok(Done::Changed(_)) => println!("changed {}", step.path()),
            Ok(Done::Nothing) => {}
            Err(error) => {
                failed += 1;
                eprintln!("{}: {error}", step.path());
            }
        },
    )?;
    Ok(failed)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(local), Some(seconds)) = (words.next(), words.next(), words.next()) else {
        return Err("what to mirror, as a URL with the host key, where to, and how often, in seconds".into());
    };
    let looks: usize = words.next().map_or(Ok(usize::MAX), |word| word.parse())?;
    let url: ServerUrl = url.parse()?;
    let host_key = url.host_key.ok_or("the URL has no host key: #SHA256:…")?;
    let options = Options::new(url.endpoint, Security::Tls(Trust::Key(host_key)));
    let tree = Tree {
        compare: Some(Compare::Time),
        delete: Some(MOST_REMOVED),
        ..Tree::new(Way::Get, url.path, local)
    };
    for look in 1..=looks {
        match mirror(&options, &tree) {
            Ok(0) => {}
            Ok(failed) => eprintln!("{failed} were not fetched: they are tried again"),
            Err(error) => eprintln!("{error}: tried again"),
        }
        if look < looks {
            std::thread::sleep(Duration::from_secs(seconds.parse()?));
        }
    }
    Ok(())
}
