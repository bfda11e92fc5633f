//! Sources and targets that become something else, between two tries or in the middle of one.

use std::fs::{self, File};
use std::io::Write as _;

use crate::harness::{World, dress, names};
use crate::relay::{Harm, Relay, Toward};
use crate::trial::{BLOCK, TALK, Trial, Way, content, eventually};

/// More than sockets hold on the way.
const LARGE: u64 = 32 << 20;

#[test]
fn a_source_that_changed_between_two_tries_arrives_as_it_is_now() {
    for way in Way::BOTH {
        let world = World::plaintext();
        // A new time, as editors leave, and the old time, as `touch -r` does.
        for seconds in [1_000_000_999, 1_000_000_000] {
            let mut trial = Trial::new(&world, way, 6 << 20);
            let relay = Relay::to(&world.server().address, way.onward(), 5_500_000, Harm::Cut);
            trial.run(&relay, "--retries 0").exits(13);
            trial.settle();
            trial.new = content(3, 6 << 20);
            fs::write(trial.source(), &trial.new).unwrap();
            dress(&trial.source(), 0o640, seconds);
            assert_eq!(trial.missing(), trial.size());
            trial.completes(trial.size());
        }
    }
}

#[test]
fn a_source_that_changed_a_little_between_two_tries_moves_a_little() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let mut trial = Trial::new(&world, way, 8 << 20);
        let relay = Relay::to(&world.server().address, way.onward(), 6_500_000, Harm::Cut);
        trial.run(&relay, "--retries 0").exits(13);
        trial.settle();
        let missing = trial.missing();
        // One byte in the middle, and a longer end.
        trial.new[3_000_000] ^= 1;
        trial.new.extend(content(4, 500_000));
        fs::write(trial.source(), &trial.new).unwrap();
        assert!(trial.missing() <= missing + BLOCK + 500_000);
        trial.completes(trial.missing());
    }
}

#[test]
fn a_source_that_became_small_between_two_tries_arrives_too() {
    for way in Way::BOTH {
        for size in [0, 700_000, BLOCK, 2 << 20] {
            let world = World::plaintext();
            let mut trial = Trial::new(&world, way, 8 << 20);
            let relay = Relay::to(&world.server().address, way.onward(), 6_500_000, Harm::Cut);
            trial.run(&relay, "--retries 0").exits(13);
            trial.settle();
            trial.new = content(5, size);
            fs::write(trial.source(), &trial.new).unwrap();
            let relay = Relay::harmless(&world.server().address);
            trial.run(&relay, "").ok();
            assert!(trial.is_done(), "{way:?} {size}");
            assert!(relay.passed(way.onward()) <= size + TALK);
        }
    }
}

#[test]
fn a_source_that_grows_while_it_is_moved_arrives_as_it_was_and_the_connection_lives_on() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, LARGE);
        fs::write(trial.source().with_file_name("small"), "small").unwrap();
        let mut relay = Relay::to(&world.server().address, way.onward(), 5_000_000, Harm::Stall);
        let client = world.client_of(&relay.address).spawn(&format!("{} -q big small ./", way.verb()));
        relay.wait();
        File::options().append(true).open(trial.source()).unwrap().write_all(b"more").unwrap();
        relay.go_on();
        world.wait(client).ok();
        assert_eq!(fs::read_to_string(trial.dir().join("small")).unwrap(), "small");
        assert_eq!(relay.connections(), 1, "the next file came over the same connection");
        let arrived = fs::read(trial.target()).unwrap();
        assert!(arrived == fs::read(trial.source()).unwrap() || arrived == trial.new, "{way:?}");
    }
}

#[test]
fn a_source_that_changes_while_the_rest_of_it_is_fetched_leaves_the_next_command_in_step() {
    let world = World::plaintext();
    let trial = Trial::new(&world, Way::Get, LARGE);
    fs::write(world.root("small"), "small").unwrap();
    trial.completes(trial.size());
    // Two ranges are to be fetched, and both are asked for at once.
    trial.flip("big", 1);
    fs::write(trial.target(), [&vec![7; 16 << 20], &trial.new[16 << 20..30 << 20], &[7; 2 << 20]].concat())
        .unwrap();
    let mut relay = Relay::to(&world.server().address, Toward::Client, 3_000_000, Harm::Stall);
    let client = world.client_of(&relay.address).spawn("get -q --repair big small ./");
    relay.wait();
    // In place, so that only its time tells.
    fs::write(trial.source(), content(6, LARGE)).unwrap();
    relay.go_on();
    let partly = world.wait(client).exits(12);
    assert!(partly.stderr.contains("the file changed while it was read"), "{}", partly.stderr);
    assert_eq!(fs::read_to_string(world.here("small")).unwrap(), "small");
}

#[test]
fn a_source_that_becomes_small_while_the_rest_of_it_is_fetched_leaves_the_next_command_in_step() {
    let world = World::plaintext();
    let trial = Trial::new(&world, Way::Get, 8 << 20);
    fs::write(world.root("small"), "small").unwrap();
    trial.completes(trial.size());
    fs::write(trial.target(), [&vec![7; 2 << 20], &trial.new[2 << 20..6 << 20], &[7; 2 << 20]].concat())
        .unwrap();
    // Between the digests and the ranges; and what says that there are no such ranges any more comes slowly, so that
    // the next command is sent before all of it is here.
    let harms = [(Toward::Client, 400, Harm::Stall), (Toward::Client, 400, Harm::Drip)];
    let mut relay = Relay::with(&world.server().address, &harms);
    let client = world.client_of(&relay.address).spawn("get -q --repair big small ./ --retries 0");
    relay.wait();
    fs::write(trial.source(), "no longer big").unwrap();
    relay.go_on();
    let partly = world.wait(client).exits(12);
    assert!(partly.stderr.contains("changed while it was fetched"), "{}", partly.stderr);
    assert_eq!(fs::read_to_string(world.here("small")).unwrap(), "small");
}

#[test]
fn a_target_that_is_longer_or_shorter_is_mended_to_the_right_length() {
    for way in Way::BOTH {
        let world = World::plaintext();
        for other in [4 << 20, (6 << 20) - 1, (6 << 20) + 1, 8 << 20] {
            let trial = Trial::new(&world, way, 6 << 20);
            let mut target = trial.new.clone();
            target.resize(other, 7);
            fs::write(trial.target(), target).unwrap();
            let relay = Relay::harmless(&world.server().address);
            trial.run(&relay, "--repair").ok();
            assert!(fs::read(trial.target()).unwrap() == trial.new, "{way:?} {other}");
            assert!(relay.passed(way.onward()) <= (2 << 20) + TALK);
            assert_eq!(names(&trial.dir()), ["big"]);
        }
    }
}

#[test]
fn a_target_that_is_replaced_while_it_is_mended_mixes_nothing() {
    let world = World::plaintext();
    let trial = Trial::new(&world, Way::Put, 6 << 20);
    trial.completes(trial.size());
    trial.flip("big", 10);
    // What is there has been digested; what is to come has not begun.
    let mut relay = Relay::to(&world.server().address, Toward::Client, 400, Harm::Stall);
    let client = trial.spawn(&relay, "--retries 0");
    relay.wait();
    fs::write(world.root("other"), content(6, 6 << 20)).unwrap();
    fs::rename(world.root("other"), trial.target()).unwrap();
    relay.go_on();
    world.wait(client).ok();
    assert!(trial.is_done());
}

#[test]
fn a_target_that_is_written_to_while_it_is_mended_mixes_nothing() {
    let world = World::plaintext();
    let trial = Trial::new(&world, Way::Put, 6 << 20);
    trial.completes(trial.size());
    trial.flip("big", 10);
    let mut relay = Relay::to(&world.server().address, Toward::Client, 400, Harm::Stall);
    let client = trial.spawn(&relay, "--retries 0");
    relay.wait();
    let other = content(6, 6 << 20);
    fs::write(trial.target(), &other).unwrap();
    relay.go_on();
    world.wait(client).exits(16);
    assert!(fs::read(trial.target()).unwrap() == other);
}

#[test]
fn a_directory_that_takes_the_name_meanwhile_costs_nothing_that_came() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 6 << 20);
        let mut relay = Relay::to(&world.server().address, way.onward(), 3_000_000, Harm::Stall);
        let client = trial.spawn(&relay, "--retries 0");
        relay.wait();
        // What the relay has passed on may still lie in a socket.
        eventually(|| !trial.partials().is_empty());
        fs::remove_file(trial.target()).unwrap();
        fs::create_dir(trial.target()).unwrap();
        relay.go_on();
        world.wait(client).exits(9);
        assert_eq!(names(&trial.target()), [""; 0]);
        fs::remove_dir(trial.target()).unwrap();
        fs::write(trial.target(), trial.old.as_ref().unwrap()).unwrap();
        assert_eq!(trial.missing(), 0);
        trial.completes(0);
    }
}

#[test]
fn a_partial_file_that_was_about_to_be_committed_is_kept_however_old_its_source_is() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 6 << 20);
        let relay = Relay::to(&world.server().address, way.onward(), 3_500_000, Harm::Cut);
        trial.run(&relay, "--retries 0").exits(13);
        trial.settle();
        // As kill -9 leaves it between the last bytes and the rename: with its source's time.
        dress(&trial.dir().join(trial.partial()), 0o600, 1_000_000_000);
        trial.completes(trial.missing());
    }
}
