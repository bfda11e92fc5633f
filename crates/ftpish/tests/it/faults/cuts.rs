//! Connections that are cut: at every stage of a transfer, in either direction, encrypted and in the clear.

use std::fs;

use ftpish_protocol::Algorithm;

use crate::harness::World;
use crate::relay::{Harm, Relay, Toward};
use crate::trial::{TALK, Trial, Way};

/// Six blocks and a bit.
const SIZE: u64 = (6 << 20) + 12_345;

#[track_caller]
fn check(world: &World, way: Way) {
    let trial = Trial::new(world, way, SIZE);
    let (onward, backward) = measure(&trial);
    let places = [
        ("the very first byte", way.onward(), 0),
        ("the handshake, or the first message", way.onward(), 30),
        ("the first messages", way.onward(), onward - SIZE - 400),
        ("the first block", way.onward(), onward - SIZE + 200_000),
        ("behind the first block", way.onward(), onward - SIZE + 1_500_000),
        ("the middle", way.onward(), onward / 2),
        ("the last block", way.onward(), onward - 500_000),
        ("the last bytes", way.onward(), onward - 1000),
        ("the trailer", way.onward(), onward - 90),
        ("the last byte", way.onward(), onward - 1),
        ("the first byte back", way.backward(), 0),
        ("the handshake, or the first message back", way.backward(), 30),
        ("the last messages back", way.backward(), backward - 60),
        ("the last byte back", way.backward(), backward - 1),
    ];
    for (place, toward, at) in places {
        trial.reset();
        world.tell(&format!("cut in {place}\n"));
        let relay = Relay::to(&world.server().address, toward, at, Harm::Cut);
        let code = trial.run(&relay, "--retries 0").code;
        // TLS' signatures and its farewell move the end by a few bytes.
        let beyond = world.server().key.is_some() && place.starts_with("the last byte");
        assert!(matches!(code, Some(3 | 13)) || (beyond && code == Some(0)), "cut in {place}: {code:?}");
        assert!(trial.is_done() || code != Some(0), "cut in {place}");
        trial.completes(trial.missing_after(relay.passed(way.onward())));
    }
}

/// How many bytes go either way when nobody does harm.
fn measure(trial: &Trial<'_>) -> (u64, u64) {
    let relay = Relay::harmless(&trial.world.server().address);
    trial.run(&relay, "").ok();
    let (onward, backward) = (relay.passed(trial.way.onward()), relay.passed(trial.way.backward()));
    assert!((SIZE..SIZE + TALK).contains(&onward) && backward < TALK, "{onward} {backward}");
    (onward, backward)
}

#[test]
fn a_get_in_the_clear_may_be_cut_anywhere() {
    check(&World::plaintext(), Way::Get);
}

#[test]
fn a_put_in_the_clear_may_be_cut_anywhere() {
    check(&World::plaintext(), Way::Put);
}

#[test]
fn an_encrypted_get_may_be_cut_anywhere() {
    check(&World::new(), Way::Get);
}

#[test]
fn an_encrypted_put_may_be_cut_anywhere() {
    check(&World::new(), Way::Put);
}

#[test]
fn many_cuts_in_a_row_each_keep_what_came_before() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let trial = Trial::new(&world, way, 9 << 20);
        let mut before = trial.size();
        for _ in 0..4 {
            let relay = Relay::to(&world.server().address, way.onward(), 2_200_000, Harm::Cut);
            trial.run(&relay, "--retries 0").exits(13);
            trial.settle();
            let missing = trial.missing();
            assert!(missing < before, "{missing} of {before} are still missing");
            before = missing;
        }
        assert!(before <= 2 << 20, "{before}");
        trial.completes(before);
    }
}

#[test]
fn a_connection_that_breaks_for_one_client_is_not_felt_by_another() {
    let world = World::new();
    let trial = Trial::new(&world, Way::Get, 4 << 20);
    let relay = Relay::to(&world.server().address, Toward::Client, 2_000_000, Harm::Stall);
    let stalled = world.client_of(&relay.address).spawn("get -q big other");
    relay.wait();
    trial.run(&relay, "").ok();
    drop(relay);
    world.wait(stalled).ok();
    assert!(trial.is_done());
}

#[test]
fn with_any_digest_a_transfer_goes_on_where_it_was_cut_and_tells_that_digest() {
    let world = World::plaintext();
    for (way, digest) in [(Way::Get, "md5"), (Way::Put, "md5"), (Way::Get, "sha256"), (Way::Put, "sha256")] {
        let trial = Trial::new(&world, way, SIZE);
        let (at, flags) = (4 << 20, format!("--digest {digest}"));
        let relay = Relay::to(&world.server().address, way.onward(), at, Harm::Cut);
        trial.run(&relay, &format!("--retries 0 {flags}")).exits(13);
        trial.completes_with(&format!("{flags} --manifest ../noted"), trial.missing_after(at));
        let right = digest.parse::<Algorithm>().unwrap().digest(&fs::read(trial.source()).unwrap());
        let noted = fs::read_to_string(world.path("noted")).unwrap();
        assert!(noted.contains(&right.to_string()), "{noted}");
        fs::remove_file(world.path("noted")).unwrap();
    }
}
