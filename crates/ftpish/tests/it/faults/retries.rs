//! One invocation that outlives what happens to its connection; and one that knows when to stop.

use super::trial::{BLOCK, TALK, Trial, Way};
use crate::harness::World;
use crate::relay::{Harm, Relay, Toward};

#[test]
fn one_invocation_outlives_two_cuts_and_moves_little_twice() {
    for world in [World::plaintext(), World::new()] {
        for way in Way::BOTH {
            let trial = Trial::new(&world, way, 8 << 20);
            let cut = (way.onward(), 2_500_000, Harm::Cut);
            let relay = Relay::with(&world.server().address, &[cut, cut]);
            trial.run(&relay, "--retries 5 --retry-wait 0.01").ok();
            assert!(trial.is_done());
            assert_eq!(relay.connections(), 3);
            let (moved, most) = (relay.passed(way.onward()), trial.size() + 2 * 2 * BLOCK + TALK);
            assert!(moved <= most, "{moved} bytes moved, {most} are the most");
            trial.completes(0);
        }
    }
}

#[test]
fn tries_that_get_further_are_not_counted() {
    let world = World::plaintext();
    let trial = Trial::new(&world, Way::Get, 8 << 20);
    let relay = Relay::with(&world.server().address, &[(Toward::Client, 2_500_000, Harm::Cut); 3]);
    trial.run(&relay, "--retries 1 --retry-wait 0.01").ok();
    assert_eq!(relay.connections(), 4);
    assert!(trial.is_done());
}

#[test]
fn tries_that_get_no_further_are_as_many_as_was_said() {
    let world = World::plaintext();
    for way in Way::BOTH {
        let trial = Trial::new(&world, way, 5 << 20);
        let relay = Relay::with(&world.server().address, &[(Toward::Server, 80, Harm::Cut); 9]);
        trial.run(&relay, "--retries 2 --retry-wait 0.01").exits(13);
        assert_eq!(relay.connections(), 3);
        trial.completes(trial.size());
    }
}

#[test]
fn what_cannot_change_is_not_tried_again() {
    let world = World::plaintext();
    let relay = Relay::harmless(&world.server().address);
    world.client_of(&relay.address).run("get missing --retries 5").exits(6);
    assert_eq!(relay.connections(), 1);
}
