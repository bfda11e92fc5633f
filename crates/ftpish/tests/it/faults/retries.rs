//! One invocation that outlives what happens to its connection; and one that knows when to stop.

use std::fs::{self, File};

use rustix::fs::{FlockOperation, flock, inotify};

use crate::harness::{World, names};
use crate::relay::{Harm, Relay, Toward};
use crate::trial::{BLOCK, TALK, Trial, Way, eventually};

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

#[test]
fn a_partial_file_that_somebody_is_still_at_is_waited_for() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 6 << 20);
        let relay = Relay::to(&world.server().address, way.onward(), 4_500_000, Harm::Cut);
        trial.run(&relay, "--retries 0").exits(13);
        trial.settle();
        let (path, missing) = (trial.dir().join(trial.partial()), trial.missing());
        let partial = File::open(&path).unwrap();
        flock(&partial, FlockOperation::LockExclusive).unwrap();
        let relay = Relay::harmless(&world.server().address);
        let looking = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&looking, &path, inotify::WatchFlags::OPEN).unwrap();
        let client = trial.spawn(&relay, "");
        // Whoever has opened it finds it locked.
        eventually(|| rustix::io::read(&looking, &mut [0; 64]).is_ok());
        drop(partial);
        world.wait(client).ok();
        assert!(trial.is_done());
        let moved = relay.passed(way.onward());
        assert!(moved <= missing + TALK, "{moved} bytes moved, where {missing} were missing");
        assert_eq!(names(&trial.dir()), ["big"]);
    }
}

#[test]
fn a_file_whose_reply_was_lost_is_no_reason_to_refuse_itself() {
    let world = World::plaintext();
    for (size, flags) in [(1000, "--if absent"), (5 << 20, "--if absent"), (1000, "--overwrite newer")] {
        let trial = Trial::new(&world, Way::Put, size);
        fs::remove_file(trial.target()).unwrap();
        let whole = Relay::harmless(&world.server().address);
        trial.run(&whole, flags).ok();
        let reply = whole.passed(Toward::Client) - 20;
        fs::remove_file(trial.target()).unwrap();
        let relay = Relay::to(&world.server().address, Toward::Client, reply, Harm::Cut);
        trial.run(&relay, &format!("{flags} --retries 2 --retry-wait 0.01")).ok();
        assert!(trial.is_done());
        // Nobody else's file is taken for it.
        fs::write(trial.target(), "another").unwrap();
        trial.run(&Relay::harmless(&world.server().address), "--if absent").exits(8);
    }
}
