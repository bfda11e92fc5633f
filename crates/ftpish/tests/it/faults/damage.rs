//! Damage: bits that flip on the way, in what an earlier try left, and in a file that was whole. It is found to the
//! block, and only that block moves again.

use std::fs;

use crate::harness::{World, dress, names};
use crate::relay::{Harm, Relay, Toward};
use crate::trial::{BLOCK, TALK, Trial, Way};

/// Five blocks.
const SIZE: u64 = 5 << 20;

/// The bytes of a chunk's length.
const LENGTH: u64 = 4;

/// A bit flips in a body in the clear, wherever that is: it is caught, and the name keeps what it had.
#[track_caller]
fn check_flips(way: Way, algorithm: &str, hex: u64) {
    let world = World::plaintext();
    let trial = Trial::new(&world, way, SIZE);
    let digest = format!("--digest {algorithm}");
    let whole = Relay::harmless(&world.server().address);
    trial.run(&whole, &digest).ok();
    let end = whole.passed(way.onward());

    let before_hex = format!(r#"{{"length":{SIZE},"digest":"{algorithm}:"#).len() as u64;
    // Ranges of a file are told the digest of the whole, too.
    let by_block = way == Way::Put && algorithm == "blake3";
    let file = if by_block { r#","file":"blake3:""#.len() as u64 + hex } else { 0 };
    let head = format!(r#","head":"{algorithm}:""#).len() as u64 + hex;
    let trailer = end - (before_hex + hex + file + head + r#""}"#.len() as u64);
    let last = trailer - LENGTH - LENGTH - 1;
    let first = last - (SIZE - 1) - (SIZE / (256 << 10) - 1) * LENGTH;
    assert!(first < 1000, "nothing but messages precedes the body");
    for (place, at) in [
        ("the permission bits or the time, before the body", first - LENGTH - 12),
        ("the high byte of a chunk's length", first - 4),
        ("the low byte of a chunk's length", first - 1),
        ("the first byte", first),
        ("the middle", first + SIZE / 2),
        ("the last byte", last),
        ("the body's end", trailer - LENGTH - 1),
        ("the trailer's length", trailer - 1),
        ("the trailer's first byte", trailer),
        ("the trailer's number of bytes", trailer + 12),
        ("the trailer's digest", trailer + before_hex + 3),
        ("the trailer's last byte", end - 1),
    ] {
        trial.reset();
        world.tell(&format!("flip in {place}, byte {at} of {end}\n"));
        let relay = Relay::to(&world.server().address, way.onward(), at, Harm::Flip);
        let code = trial.run(&relay, &format!("--timeout 0.3 --retries 0 {digest}")).code;
        assert!(matches!(code, Some(1 | 11 | 13 | 14)), "{place}: {code:?}");
        relay.wait();
        assert!(!trial.is_done(), "{place}");
    }
    trial.completes(SIZE);
}

#[test]
fn a_bit_that_flips_in_a_body_is_caught_by_blake3() {
    Way::BOTH.iter().for_each(|way| check_flips(*way, "blake3", 64));
}

#[test]
fn a_bit_that_flips_in_a_body_is_caught_by_sha256() {
    Way::BOTH.iter().for_each(|way| check_flips(*way, "sha256", 64));
}

#[test]
fn a_bit_that_flips_in_a_body_is_caught_by_md5() {
    Way::BOTH.iter().for_each(|way| check_flips(*way, "md5", 32));
}

#[test]
fn a_bit_that_flips_in_an_encrypted_connection_ends_it() {
    let world = World::new();
    for way in Way::BOTH {
        for (toward, at) in [
            (Toward::Server, 100),
            (Toward::Client, 300),
            (way.onward(), 3_000_000),
            (way.onward(), SIZE + 4000),
        ] {
            let trial = Trial::new(&world, way, SIZE);
            let relay = Relay::to(&world.server().address, toward, at, Harm::Flip);
            let code = trial.run(&relay, "--timeout 0.3 --retries 0").code;
            relay.wait();
            assert!(matches!(code, Some(3 | 5 | 13)), "{way:?} {toward:?} {at}: {code:?}");
            assert!(!trial.is_done());
            trial.completes(trial.missing_after(at));
        }
    }
}

#[test]
fn only_the_block_that_a_flip_hit_moves_again() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 8 << 20);
        let relay = Relay::to(&world.server().address, way.onward(), 3_500_000, Harm::Flip);
        trial.run(&relay, "--retries 0").exits(11);
        trial.settle();
        assert_eq!(trial.missing(), BLOCK, "all but one block is there, and right");
        trial.completes(BLOCK);
    }
}

#[test]
fn a_bit_that_flips_in_a_partial_file_between_two_runs_costs_its_block() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 8 << 20);
        let relay = Relay::to(&world.server().address, way.onward(), 5_500_000, Harm::Cut);
        trial.run(&relay, "--retries 0").exits(13);
        trial.settle();
        let missing = trial.missing();
        assert!(missing <= 4 << 20, "{missing}");
        trial.flip(&trial.partial(), 2 * BLOCK + 77);
        assert_eq!(trial.missing(), missing + BLOCK);
        trial.completes(missing + BLOCK);
    }
}

#[test]
fn a_partial_file_that_is_all_wrong_or_too_long_harms_nothing() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 5 << 20);
        let relay = Relay::to(&world.server().address, way.onward(), 2_500_000, Harm::Cut);
        trial.run(&relay, "--retries 0").exits(13);
        trial.settle();
        let partial = trial.dir().join(trial.partial());
        fs::write(&partial, [trial.new[..2 << 20].to_vec(), vec![7; 20 << 20]].concat()).unwrap();
        trial.completes(3 << 20);
    }
}

#[test]
fn one_bad_byte_in_a_whole_file_is_mended_with_one_block() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 12 << 20);
        trial.completes(trial.size());
        trial.flip("big", 7 * BLOCK + 1);
        // Another time, as a disk that mangles it does not leave, but a person who edits it does.
        dress(&trial.target(), 0o640, 1_100_000_000);
        let relay = Relay::harmless(&world.server().address);
        trial.run(&relay, "--repair").ok();
        assert!(trial.is_done());
        let moved = relay.passed(way.onward());
        assert!((BLOCK..BLOCK + TALK).contains(&moved), "{moved}");
        assert_eq!(names(&trial.dir()), ["big"]);
    }
}

#[test]
fn a_repair_that_is_cut_keeps_what_it_has_mended() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let mut trial = Trial::new(&world, way, 12 << 20);
        let mut damaged = trial.new.clone();
        damaged.chunks_mut(BLOCK as usize).take(8).for_each(|block| block[5] ^= 1);
        trial.old = Some(damaged);
        trial.reset();
        let relay = Relay::to(&world.server().address, way.onward(), 5_500_000, Harm::Cut);
        trial.run(&relay, "--repair --retries 0").exits(13);
        trial.settle();
        let missing = trial.missing();
        assert!(missing <= 5 << 20, "{missing}");
        trial.completes_with("--repair", missing);
    }
}

#[test]
fn a_bad_byte_behind_an_unchanged_size_and_time_is_found_without_being_asked_for() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 6 << 20);
        trial.completes(trial.size());
        trial.flip("big", 5 * BLOCK + 1);
        trial.completes(BLOCK);
    }
}

#[test]
fn a_whole_file_is_a_success_without_moving() {
    for world in [World::plaintext(), World::new()] {
        for way in Way::BOTH {
            let trial = Trial::new(&world, way, 6 << 20);
            trial.completes(trial.size());
            trial.completes(0);
            trial.completes_with("--repair", 0);
        }
    }
}
