//! `hash`, whose lines the checksum programs take as their own; and `df`.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use insta::assert_snapshot;

use crate::harness::{World, is_installed, noise};

/// Names that checksum files have to escape, or that invite to be split.
const NAMES: [&str; 6] = ["plain", "two  words", " leading", "back\\slash", "line\nfeed", "\\both\n"];

#[track_caller]
fn check(digest: &str, program: &str) {
    if !is_installed(program) {
        return;
    }
    let world = World::plaintext();
    fs::create_dir(world.root("dir")).unwrap();
    for (number, name) in NAMES.iter().enumerate() {
        fs::write(world.root(name), noise(number * 100_000)).unwrap();
        fs::write(world.root("dir").join(name), name).unwrap();
    }
    let mut words: Vec<String> = ["hash", "--digest", digest].map(str::to_owned).to_vec();
    words.extend(NAMES.iter().flat_map(|name| [(*name).to_owned(), format!("dir/{name}")]));
    let hashed = world.client().words(&words, b"").ok();
    assert_eq!(hashed.stderr, "");
    fs::write(world.path("sums"), &hashed.stdout).unwrap();
    let checked = Command::new(program).args(["-c", "../sums"]).current_dir(world.root("")).output().unwrap();
    let said =
        String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert_eq!(said.matches(": OK").count(), 2 * NAMES.len(), "{said}");
    fs::write(world.root("plain"), "damaged").unwrap();
    let mut again = Command::new(program);
    let status = again.args(["-c", "../sums"]).current_dir(world.root("")).output().unwrap().status;
    assert!(!status.success(), "{program} would take anything");
}

#[test]
fn md5_lines_are_accepted_by_md5sum() {
    check("md5", "md5sum");
}

#[test]
fn sha256_lines_are_accepted_by_sha256sum() {
    check("sha256", "sha256sum");
}

#[test]
fn blake3_lines_are_accepted_by_b3sum() {
    check("blake3", "b3sum");
}

#[test]
fn each_digest_is_the_known_one_and_blake3_is_the_default() {
    let world = World::plaintext();
    fs::write(world.root("abc"), "abc").unwrap();
    assert_snapshot!(world.run("hash abc").ok().text, @"6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85  abc");
    assert_eq!(world.run("hash abc").ok().text, world.run("hash --digest blake3 abc").ok().text);
    assert_snapshot!(world.run("hash --digest md5 abc").ok().text, @"900150983cd24fb0d6963f7d28e17f72  abc");
    assert_snapshot!(world.run("hash --digest sha256 abc").ok().text, @"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc");
    let unknown = world.run("hash --digest crc32 abc").exits(2);
    assert!(unknown.stderr.contains("crc32") && unknown.stderr.contains("md5"), "{}", unknown.stderr);
}

#[test]
fn hash_goes_on_behind_a_file_that_cannot_be_read() {
    let world = World::plaintext();
    fs::write(world.root("abc"), "abc").unwrap();
    fs::create_dir(world.root("dir")).unwrap();
    let hashed = world.client().words([OsStr::new("hash"), "dir".as_ref(), "abc".as_ref()], b"").exits(12);
    assert!(hashed.text.ends_with("  abc\n"));
    assert_snapshot!(hashed.stderr, @r"
    ftpish: cannot hash `dir`: it is a directory
    hint: name a file in it; `get -r` and `put -r` move a directory with all that it holds
    ftpish: 1 of 2 were not done
    ");
}

#[test]
fn df_tells_size_used_and_available() {
    let world = World::plaintext();
    let told = world.run("df").ok();
    let lines: Vec<Vec<_>> = told.text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["size", "used", "available"]);
    assert_eq!(lines[1].len(), 6, "{}", told.text);
    for pair in lines[1].chunks(2) {
        assert!(pair[0].parse::<f64>().is_ok() && pair[1].ends_with('B'), "{}", told.text);
    }
    assert_eq!(told.stderr, "");
}
