//! kill -9 of either end, at a moment that the bytes on the way choose.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::World;
use crate::relay::{Harm, Relay, Toward};
use crate::trial::{Trial, Way, eventually};

/// Eight blocks.
const SIZE: u64 = 8 << 20;

/// Behind the first messages; within a block; at the file's last bytes.
const MOMENTS: [u64; 3] = [1000, 4_300_000, SIZE - 100];

fn kill(child: &Child) {
    kill_process(Pid::from_child(child), Signal::KILL).unwrap();
}

#[track_caller]
fn check_client(way: Way) {
    for (world, at) in [World::plaintext(), World::new()].iter().flat_map(|w| MOMENTS.map(|at| (w, at))) {
        let trial = Trial::new(world, way, SIZE);
        let mut relay = Relay::to(&world.server().address, way.onward(), at, Harm::Stall);
        let client = trial.spawn(&relay, "");
        relay.wait();
        let passed = relay.passed(way.onward());
        kill(&client);
        assert_eq!(world.wait(client).code, None, "it was killed");
        assert!(!trial.is_done());
        relay.go_on();
        trial.completes(if way == Way::Put { trial.missing_after(passed) } else { trial.missing() });
    }
}

#[test]
fn a_client_that_is_killed_in_a_get_has_what_it_had() {
    check_client(Way::Get);
}

#[test]
fn a_client_that_is_killed_in_a_put_leaves_what_had_come() {
    check_client(Way::Put);
}

/// A server dies with a transfer on its hands, and another takes its place: over the same root, with the same key.
#[track_caller]
fn check_server(way: Way, flags: &str) {
    let world = World::serving(flags);
    for at in MOMENTS {
        let trial = Trial::new(&world, way, SIZE);
        let victim = world.start("127.0.0.1:0", &format!("--no-sync {flags}"));
        let mut relay = Relay::to(&victim.address, way.onward(), at, Harm::Stall);
        let client = trial.spawn(&relay, "--retries 0");
        relay.wait();
        if way == Way::Put {
            eventually(|| trial.missing() <= trial.missing_after(at));
        }
        victim.stop(Signal::KILL);
        relay.go_on();
        let code = world.wait(client).code;
        // What is left of a get may be on its way already.
        let sent = way == Way::Get && code == Some(0);
        assert!(code == Some(13) || sent, "{code:?}");
        assert_eq!(trial.is_done(), sent);
        let missing = trial.missing();
        assert!(missing <= trial.missing_after(at), "{missing}");
        trial.completes(missing);
    }
}

#[test]
fn a_server_that_is_killed_in_a_get_costs_little() {
    check_server(Way::Get, "");
    check_server(Way::Get, "--plaintext");
}

#[test]
fn a_server_that_is_killed_in_a_put_leaves_what_had_come() {
    check_server(Way::Put, "");
    check_server(Way::Put, "--plaintext");
}

#[test]
fn one_invocation_outlives_the_server() {
    for way in Way::BOTH {
        let world = World::new();
        let trial = Trial::new(&world, way, SIZE);
        let victim = world.start("127.0.0.1:0", "--no-sync");
        let mut relay = Relay::to(&victim.address, way.onward(), 4_300_000, Harm::Stall);
        let client = trial.spawn(&relay, "--retries 5 --retry-wait 0.01");
        relay.wait();
        relay.lead_to(&world.server().address);
        victim.stop(Signal::KILL);
        relay.go_on();
        world.wait(client).ok();
        assert!(trial.is_done());
        // What is left of a get may have been on its way already.
        assert!(relay.connections() == 2 || way == Way::Get);
        trial.completes(0);
    }
}

#[test]
fn a_server_that_is_killed_behind_its_commit_has_stored_the_file() {
    let world = World::plaintext();
    let trial = Trial::new(&world, Way::Put, SIZE);
    let whole = Relay::harmless(&world.server().address);
    trial.run(&whole, "").ok();
    trial.reset();
    let victim = world.start("127.0.0.1:0", "--plaintext");
    // All but the last byte of the reply that says so.
    let at = whole.passed(Toward::Client) - 1;
    let mut relay = Relay::to(&victim.address, Toward::Client, at, Harm::Stall);
    let client = trial.spawn(&relay, "--retries 0");
    relay.wait();
    victim.stop(Signal::KILL);
    relay.go_on();
    // The byte that was held back still comes through.
    world.wait(client).ok();
    assert!(trial.is_done());
    trial.completes(0);
}

#[test]
fn an_end_that_is_killed_in_full_flight_leaves_the_old_content_or_the_new() {
    let world = World::plaintext();
    for (way, at) in Way::BOTH.into_iter().flat_map(|way| [3_000_000, SIZE].map(|at| (way, at))) {
        let trial = Trial::new(&world, way, SIZE);
        let relay = Relay::to(&world.server().address, way.onward(), at, Harm::Tell);
        let client = trial.spawn(&relay, "--retries 0");
        relay.wait();
        kill(&client);
        world.wait(client);
        trial.completes(trial.size());

        trial.reset();
        let victim = world.start("127.0.0.1:0", "--no-sync --plaintext");
        let relay = Relay::to(&victim.address, way.onward(), at, Harm::Tell);
        let client = trial.spawn(&relay, "--retries 0");
        relay.wait();
        victim.stop(Signal::KILL);
        let acknowledged = world.wait(client).code == Some(0);
        assert!(trial.is_done() || !acknowledged);
        trial.completes(trial.missing());
    }
}
