//! Every byte of a conversation in the clear, in both directions, with one of its bits flipped: whether it is caught.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::harness::{World, names};
use crate::relay::{Harm, Relay, Toward};
use crate::trial::{Trial, Way};

pub fn run() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 1000);
        let whole = Relay::harmless(&trial.address);
        trial.run(&whole, "--retries 0").ok();
        let right = state(&trial);
        let (mut caught, mut same, mut untold) = (0, 0, BTreeMap::<_, u64>::new());
        for toward in [Toward::Server, Toward::Client] {
            for at in 0..whole.passed(toward) {
                trial.reset();
                let before = state(&trial);
                let relay = Relay::to(&trial.address, toward, at, Harm::Flip);
                let code = trial.run(&relay, "--retries 0 --timeout 0.2").code;
                trial.settle();
                let now = state(&trial);
                // The content is old or new even so.
                trial.is_done();
                match code {
                    Some(0) if now == right => same += 1,
                    _ if now == before || code != Some(0) && now == right => caught += 1,
                    _ => *untold.entry(difference(&right, &now)).or_default() += 1,
                }
            }
        }
        println!("  {} of 1000 bytes: {caught} flips caught, {same} without effect", way.verb());
        untold.iter().for_each(|(what, times)| println!("    nobody was told of: {what}, {times} times"));
    }
}

/// In what the state after a flip is not the right one.
fn difference(right: &[State], now: &[State]) -> &'static str {
    match (right, now) {
        ([right], [now]) if right.0 != now.0 => "another name",
        ([right], [now]) if right.1 != now.1 => "another size",
        ([right], [now]) if right.2 != now.2 => "other permission bits",
        ([_], [_]) => "another time",
        _ => "another name",
    }
}

/// A name at the receiver, with size, permission bits and time.
type State = (String, u64, u32, i64);

fn state(trial: &Trial<'_>) -> Vec<State> {
    let names = names(&trial.dir()).into_iter();
    let described = names.map(|name| {
        let metadata = fs::metadata(trial.dir().join(&name)).unwrap();
        (name, metadata.size(), metadata.permissions().mode() & 0o7777, metadata.mtime())
    });
    described.collect()
}
