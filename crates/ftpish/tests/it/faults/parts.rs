//! A large file in parts, over several connections: cut, killed, stalled, damaged, changed; and moved all the same, or not
//! at all.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{World, dress, names, noise};
use crate::relay::{Harm, Relay};
use crate::trees::{described, same};
use crate::trial::{TALK, Trial, Way, content};

/// Four parts and a bit.
const SIZE: u64 = (34 << 20) + 12_345;

/// Behind the first messages; within a part; behind the first; near the end of what one connection has.
const MOMENTS: [u64; 4] = [20_000, 4_300_000, 8_500_000, 11_000_000];

#[test]
fn a_large_file_moves_over_several_connections_once() {
    for (world, way) in Way::BOTH.into_iter().flat_map(|way| [(World::new(), way), (World::plaintext(), way)])
    {
        let trial = Trial::new(&world, way, SIZE);
        let relay = Relay::harmless(&world.server().address);
        trial.run(&relay, "-j 4 --manifest ../noted").ok();
        assert!(trial.is_done());
        assert_eq!(names(&trial.dir()), ["big"]);
        // One that comes late finds nothing left to do.
        assert!((2..=4).contains(&relay.connections()), "{}", relay.connections());
        let passed = relay.passed(way.onward());
        assert!((SIZE..SIZE + SIZE / 500 + 4 * TALK).contains(&passed), "{passed}");
        let whole = ftpish_protocol::Algorithm::Blake3.digest(&trial.new);
        let noted = fs::read_to_string(world.path("noted")).unwrap();
        assert!(noted.contains(&whole.to_string()), "{noted}");
        trial.completes(0);
    }
}

#[test]
fn another_digest_moves_over_one_connection() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, SIZE);
        let relay = Relay::harmless(&world.server().address);
        trial.run(&relay, "-j 4 --digest md5").ok();
        assert!(trial.is_done());
        assert_eq!(relay.connections(), 1);
    }
}

#[test]
fn a_connection_that_is_cut_costs_the_others_a_part() {
    for (world, way) in Way::BOTH.into_iter().flat_map(|way| [(World::new(), way), (World::plaintext(), way)])
    {
        let trial = Trial::new(&world, way, SIZE);
        for at in MOMENTS {
            trial.reset();
            let relay = Relay::to(&world.server().address, way.onward(), at, Harm::Cut);
            let code = trial.run(&relay, "-j 3 --retries 0").code;
            // It may be the one that leads.
            assert!(matches!(code, Some(0 | 3 | 13)), "cut at {at}: {code:?}");
            assert_eq!(trial.is_done(), code == Some(0), "cut at {at}");
            trial.settle();
            // What had come over the connection that was cut is kept, but for the blocks that it was in.
            let missing = trial.missing();
            assert!(missing <= trial.missing_after(at - TALK), "cut at {at}: {missing} are missing");
            trial.completes(missing);
        }
        trial.reset();
        let harms = [300_000, 9_000_000, 700_000, 2_000_000].map(|at| (way.onward(), at, Harm::Cut));
        let relay = Relay::with(&world.server().address, &harms);
        trial.run(&relay, "-j 3 --retries 9 --retry-wait 0.01").ok();
        assert!(trial.is_done());
        assert_eq!(names(&trial.dir()), ["big"]);
    }
}

#[test]
fn a_client_that_is_killed_keeps_what_was_there() {
    for (way, at) in Way::BOTH.into_iter().flat_map(|way| MOMENTS.map(|at| (way, at))) {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, SIZE);
        let mut relay = Relay::to(&world.server().address, way.onward(), at, Harm::Stall);
        let client = trial.spawn(&relay, "-j 3");
        relay.wait();
        kill_process(Pid::from_child(&client), Signal::KILL).unwrap();
        assert_eq!(world.wait(client).code, None, "it was killed");
        assert!(!trial.is_done());
        relay.go_on();
        trial.settle();
        trial.completes(trial.missing());
    }
}

#[test]
fn a_server_that_is_killed_leaves_the_old_content_and_the_parts() {
    for (way, at) in Way::BOTH.into_iter().flat_map(|way| [4_300_000, 8_500_000].map(|at| (way, at))) {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, SIZE);
        let victim = world.start("127.0.0.1:0", "--no-sync --plaintext");
        let mut relay = Relay::to(&victim.address, way.onward(), at, Harm::Stall);
        let client = trial.spawn(&relay, "-j 3 --retries 0");
        relay.wait();
        victim.stop(Signal::KILL);
        relay.go_on();
        let code = world.wait(client).code;
        // What is left of a get may be on its way already.
        assert_eq!(trial.is_done(), code == Some(0), "{code:?}");
        trial.settle();
        trial.completes(trial.missing());
    }
}

#[test]
fn a_connection_that_stalls_is_given_up_and_its_parts_go_elsewhere() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, SIZE);
        let relay = Relay::to(&world.server().address, way.onward(), 4_300_000, Harm::Stall);
        let code = trial.run(&relay, "-j 3 --timeout 0.5 --retries 0").code;
        // It may be the one that leads.
        assert!(matches!(code, Some(0 | 13)), "{code:?}");
        assert_eq!(trial.is_done(), code == Some(0));
        drop(relay);
        trial.settle();
        trial.completes(trial.missing());
    }
}

#[test]
fn a_flipped_bit_is_found_and_nothing_is_written() {
    for (way, at) in Way::BOTH.into_iter().flat_map(|way| [4_300_000, 10_000_000].map(|at| (way, at))) {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, SIZE);
        let relay = Relay::to(&world.server().address, way.onward(), at, Harm::Flip);
        trial.run(&relay, "-j 3 --retries 0").exits(11);
        assert!(!trial.is_done());
        trial.settle();
        trial.completes(trial.missing());
    }
}

#[test]
fn a_file_that_changes_underfoot_is_noticed() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 2 * SIZE);
        // Each connection has two parts to move, more than sockets hold: one is not read before the change.
        let mut relay = Relay::to(&world.server().address, way.onward(), 1_000_000, Harm::Stall);
        let client = trial.spawn(&relay, "-j 3 --retries 0");
        relay.wait();
        // In place, so that only its time tells.
        let changed = content(3, 2 * SIZE);
        fs::write(trial.source(), &changed).unwrap();
        relay.go_on();
        let code = world.wait(client).code;
        assert!(!matches!(code, Some(0) | None), "{code:?}");
        assert!(!trial.is_done());
    }
}

#[test]
fn what_is_missing_of_a_file_comes_over_several_connections_too() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 2 * SIZE);
        let relay = Relay::to(&world.server().address, way.onward(), 9_000_000, Harm::Cut);
        let code = trial.run(&relay, "--retries 0").code;
        assert_eq!(code, Some(13));
        trial.settle();
        let (missing, whole) = (trial.missing(), Relay::harmless(&world.server().address));
        trial.run(&whole, "-j 3").ok();
        assert!(trial.is_done());
        assert!((2..=3).contains(&whole.connections()), "{}", whole.connections());
        let passed = whole.passed(way.onward());
        assert!(passed < missing + missing / 500 + 4 * TALK, "{passed} of {missing}");
    }
}

#[test]
fn holes_and_zeros_arrive_as_zeros() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let mut trial = Trial::new(&world, way, SIZE);
        let end = trial.new.len();
        for zeros in [0..3 << 20, 9 << 20..20 << 20, end - (2 << 20)..end] {
            trial.new[zeros].fill(0);
        }
        trial.reset();
        let relay = Relay::harmless(&world.server().address);
        trial.run(&relay, "-j 3").ok();
        assert!(trial.is_done());
        // Over what an earlier try has left, too.
        trial.reset();
        let relay = Relay::to(&world.server().address, way.onward(), 4_300_000, Harm::Cut);
        trial.run(&relay, "-j 3 --retries 9 --retry-wait 0.01").ok();
        assert!(trial.is_done());
    }
}

#[test]
fn a_tree_with_large_files_moves_them_one_by_one() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let (from, to) = match way {
            Way::Get => (world.root("tree"), world.here("tree")),
            Way::Put => (world.here("tree"), world.root("tree")),
        };
        fs::create_dir_all(from.join("deep/er")).unwrap();
        for file in 0..100 {
            fs::write(from.join(format!("deep/{file}")), noise(30_000 + file)).unwrap();
        }
        for (name, seed) in [("deep/er/large", 1), ("larger", 2)] {
            fs::write(from.join(name), content(seed, SIZE + seed)).unwrap();
        }
        dress(&from.join("deep/er"), 0o700, 1_000_000_000);
        fs::create_dir_all(to.join("extra")).unwrap();
        let relay = Relay::harmless(&world.server().address);
        let ends = if way == Way::Get { ":tree tree --no-sync" } else { "tree :tree" };
        world.client_of(&relay.address).run(&format!("sync {ends} --delete -j 3")).ok();
        same(&described(&from), &described(&to));
        // Those for the small ones are there for the large.
        assert!((2..=3).contains(&relay.connections()), "{}", relay.connections());
    }
}
