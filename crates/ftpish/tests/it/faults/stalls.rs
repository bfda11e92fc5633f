//! Peers that stop, or all but stop: they are left, with what came until then kept.

use crate::harness::World;
use crate::relay::{Harm, Relay, Toward};
use crate::trial::{Trial, Way};

/// More than sockets hold on the way, so that a sender notices, too.
const SIZE: u64 = 12 << 20;

#[track_caller]
fn check(world: &World, way: Way, toward: Toward, at: u64, harm: Harm, code: i32) {
    let trial = Trial::new(world, way, SIZE);
    let relay = Relay::to(&world.server().address, toward, at, harm);
    trial.run(&relay, "--timeout 0.3 --retries 0").exits(code);
    relay.wait();
    let passed = relay.passed(way.onward());
    // What was held back arrives now, and the server sees that the client has left.
    drop(relay);
    trial.completes(trial.missing_after(passed));
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let world = World::plaintext();
    check(&world, Way::Get, Toward::Client, 10, Harm::Stall, 13);
    check(&world, Way::Get, Toward::Client, 5_000_000, Harm::Stall, 13);
    check(&world, Way::Put, Toward::Client, 10, Harm::Stall, 13);
}

#[test]
fn a_server_that_takes_nothing_any_more_is_left() {
    let world = World::plaintext();
    check(&world, Way::Put, Toward::Server, 5_000_000, Harm::Stall, 13);
    check(&world, Way::Get, Toward::Server, 10, Harm::Stall, 13);
}

#[test]
fn a_server_that_drips_is_left() {
    let world = World::new();
    check(&world, Way::Get, Toward::Client, 5_000_000, Harm::Drip, 13);
    check(&world, Way::Put, Toward::Server, 5_000_000, Harm::Drip, 13);
}

#[test]
fn a_server_that_falls_silent_in_the_handshake_is_left() {
    let world = World::new();
    check(&world, Way::Get, Toward::Client, 100, Harm::Stall, 3);
    check(&world, Way::Put, Toward::Server, 100, Harm::Stall, 3);
}

#[test]
fn one_invocation_leaves_a_silent_connection_and_goes_on_with_another() {
    let world = World::plaintext();
    for way in Way::BOTH {
        let trial = Trial::new(&world, way, SIZE);
        let relay = Relay::to(&world.server().address, Toward::Client, 10, Harm::Drip);
        trial.run(&relay, "--timeout 0.3 --retry-wait 0.01").ok();
        assert!(trial.is_done());
        assert_eq!(relay.connections(), 2);
    }
}
