//! Two clients that put different content under one name at the same time, again and again.

use std::fs;
use std::io::Write as _;

use crate::harness::{World, dress, names};
use crate::relay::{Harm, Relay, Toward};
use crate::trial::{Trial, Way, content, eventually};

/// Whoever looks, at any time, sees one of the two, whole.
#[track_caller]
fn check(size: u64, rounds: usize, flags: &str) {
    let world = World::plaintext();
    let contents = [content(1, size), content(2, size)];
    for (name, content) in ["a", "b"].iter().zip(&contents) {
        fs::write(world.here(name), content).unwrap();
        // Neither size nor time tells them apart.
        dress(&world.here(name), 0o644, 1_000_000_000);
    }
    let writers = ["a", "b"].map(|name| {
        let mut shell = world.client().spawn("shell -q");
        let batch = format!("put {flags} {name} big\n").repeat(rounds);
        shell.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
        shell
    });
    let mut seen = [0, 0];
    let mut writers = writers.map(Some);
    while writers.iter().any(Option::is_some) {
        for writer in &mut writers {
            if writer.as_mut().is_some_and(|writer| writer.try_wait().unwrap().is_some()) {
                world.wait(writer.take().unwrap()).ok();
            }
        }
        if let Ok(now) = fs::read(world.root("big")) {
            let one = contents.iter().position(|content| *content == now);
            seen[one.expect("what is there is one of the two, whole")] += 1;
        }
    }
    world.tell(&format!("seen so often: {seen:?}\n"));
    assert!(contents.contains(&fs::read(world.root("big")).unwrap()));
    assert_eq!(names(&world.root("")), ["big"], "nothing is left beside it");
}

#[test]
fn two_writers_of_one_large_name_never_mix() {
    check((4 << 20) + 1, 50, "");
}

#[test]
fn two_writers_of_one_small_name_never_mix() {
    check(300_000, 50, "");
}

#[test]
fn two_who_mend_one_name_never_mix() {
    check((2 << 20) + 1, 50, "--repair");
}

#[test]
fn a_connection_that_is_made_twice_stores_the_file_once_more_and_mixes_nothing() {
    let world = World::plaintext();
    for way in Way::BOTH {
        for size in [1000, 6 << 20] {
            let trial = Trial::new(&world, way, size);
            let relay = Relay::to(&world.server().address, Toward::Server, 0, Harm::Double);
            trial.run(&relay, "--retries 0").ok();
            assert!(trial.is_done());
            eventually(|| relay.twins_are_over() && trial.partials().is_empty());
            assert!(trial.is_done());
            trial.completes(size);
        }
    }
}
