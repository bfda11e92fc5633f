//! The fuzzer's targets, on a stable compiler: fed with every fixture, whole, cut and with bits flipped, and with
//! whatever the fuzzer found. `scripts/fuzz` goes on from here.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is how a test fails")]

#[path = "../../../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use targets::TARGETS;

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The bytes of all fixtures, good and malformed.
fn fixtures() -> Vec<Vec<u8>> {
    let folders = ["fixtures/wire", "fixtures/wire/malformed"].map(|folder| Path::new(PROJECT).join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "hex")).map(|path| bytes(&path)).collect()
}

fn bytes(path: &PathBuf) -> Vec<u8> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let hex = lines.flat_map(|line| line.split_once("  ").map_or(line, |(hex, _)| hex).split(' '));
    hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn every_target_holds_its_claims_for_the_fixtures_and_their_damaged_kin() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 100);
    for (number, wire) in fixtures.iter().enumerate() {
        let json = wire.get(4..).unwrap_or_default();
        let cut = &wire[..wire.len() * (number % 7) / 7];
        let mut flipped = wire.clone();
        if let Some(byte) = flipped.get_mut(number * 5 % wire.len().max(1)) {
            *byte ^= 1 << (number % 8);
        }
        for (name, target) in TARGETS {
            for data in [wire, json, cut, &flipped] {
                match name {
                    // Their first bytes say how the rest is taken.
                    "reply" => (0..8).for_each(|how| target(&[&[how], data].concat())),
                    "body" => [0, 6, 10, 24].iter().for_each(|how| target(&[&[*how, 12], data].concat())),
                    _ => target(data),
                }
            }
        }
    }
}

#[test]
fn a_users_file_that_was_cut_or_damaged_anywhere_lets_nobody_in_by_chance() {
    let text = fs::read(Path::new(PROJECT).join("fixtures/users.toml")).unwrap();
    for at in 0..text.len() {
        targets::users(&text[..at]);
        let mut flipped = text.clone();
        flipped[at] ^= 1 << (at % 8);
        targets::users(&flipped);
    }
    targets::users(&text);
}

#[test]
fn keys_and_signatures_that_were_cut_or_damaged_anywhere_are_none() {
    for file in fs::read_dir(Path::new(PROJECT).join("fixtures/keys")).unwrap() {
        let text = fs::read(file.unwrap().path()).unwrap();
        for at in 0..=text.len() {
            targets::keys(&text[..at]);
            let mut flipped = text.clone();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 1 << (at % 8);
            }
            targets::keys(&flipped);
        }
    }
}

#[test]
fn what_the_fuzzer_found_stays_found() {
    for file in fs::read_dir(Path::new(PROJECT).join("fuzz/found")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Some((_, target)) = TARGETS.iter().find(|(target, _)| name.starts_with(target)) {
            target(&fs::read(&path).unwrap());
        }
    }
}
