//! What a transfer may replace, on both sides.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use insta::assert_snapshot;

use crate::harness::{World, dress, names};

/// Where the file is that may be replaced.
#[derive(Clone, Copy)]
enum Side {
    Here,
    OnTheServer,
}

/// Moves a file of time 2000 onto one of time `existing`.
#[track_caller]
fn check(side: Side, overwrite: &str, existing: u64, replaced: bool) {
    let world = World::plaintext();
    let (verb, from, to) = match side {
        Side::Here => ("get", world.root("a"), world.here("a")),
        Side::OnTheServer => ("put", world.here("a"), world.root("a")),
    };
    fs::write(&from, "new").unwrap();
    dress(&from, 0o600, 2000);
    fs::write(&to, "old").unwrap();
    dress(&to, 0o644, existing);
    let done = world.run(&format!("{verb} a --overwrite {overwrite}")).ok();
    assert_eq!(fs::read_to_string(&to).unwrap(), if replaced { "new" } else { "old" });
    let time = |path: &Path| path.metadata().unwrap().modified().unwrap();
    assert_eq!(time(&to) == time(&from), replaced || existing == 2000);
    assert_eq!(done.stderr.contains("  verified "), replaced, "{}", done.stderr);
    assert_eq!(done.stderr.contains("  kept what is "), !replaced, "{}", done.stderr);
}

#[test]
fn always_is_the_default_and_replaces_whatever_its_time() {
    for side in [Side::Here, Side::OnTheServer] {
        check(side, "always", 1000, true);
        check(side, "always", 3000, true);
    }
}

#[test]
fn never_keeps_whatever_its_time() {
    for side in [Side::Here, Side::OnTheServer] {
        check(side, "never", 1000, false);
        check(side, "never", 3000, false);
    }
}

#[test]
fn newer_replaces_only_what_is_older() {
    for side in [Side::Here, Side::OnTheServer] {
        check(side, "newer", 1999, true);
        check(side, "newer", 2000, false);
        check(side, "newer", 2001, false);
    }
}

#[test]
fn ask_keeps_where_there_is_nobody_to_ask() {
    for side in [Side::Here, Side::OnTheServer] {
        check(side, "ask", 1000, false);
    }
}

#[test]
fn every_way_stores_what_was_not_there() {
    let world = World::plaintext();
    fs::write(world.root("a"), "a").unwrap();
    for overwrite in ["ask", "always", "never", "newer"] {
        world.run(&format!("get a {overwrite} --overwrite {overwrite}")).ok();
        world.run(&format!("put {overwrite} --overwrite {overwrite}")).ok();
    }
    assert_eq!(names(&world.here("")), ["always", "ask", "never", "newer"]);
    assert_eq!(names(&world.root("")), ["a", "always", "ask", "never", "newer"]);
}

#[test]
fn what_is_kept_is_told_and_is_no_failure() {
    let world = World::plaintext();
    fs::write(world.root("a"), "a").unwrap();
    fs::write(world.here("a"), "a").unwrap();
    assert_snapshot!(world.run("get a --overwrite never").ok().stderr, @"a  kept what is here: the name exists already");
    assert_snapshot!(world.run("put a --overwrite never").ok().stderr, @"a  kept what is on the server: the name exists already");
    dress(&world.root("a"), 0o644, 1000);
    dress(&world.here("a"), 0o644, 1000);
    assert_snapshot!(world.run("get a --overwrite newer").ok().stderr, @"a  kept what is here: the existing file is at least as new");
    assert_snapshot!(world.run("put a --overwrite newer").ok().stderr, @"a  kept what is on the server: the existing file is at least as new");
    world.run("get -q a --overwrite never").ok().silent();
}

#[test]
fn a_link_to_a_file_is_replaced_and_the_file_behind_it_is_not_touched() {
    let world = World::plaintext();
    for (from, side) in [(world.root("a"), world.here("")), (world.here("a"), world.root(""))] {
        fs::write(from, "new").unwrap();
        fs::write(side.join("behind"), "old").unwrap();
        symlink("behind", side.join("link")).unwrap();
        symlink("nowhere", side.join("dangling")).unwrap();
    }
    for line in ["get a link", "get a dangling", "put a link", "put a dangling"] {
        world.run(line).ok();
    }
    for side in [world.here(""), world.root("")] {
        assert_eq!(fs::read_to_string(side.join("behind")).unwrap(), "old");
        for link in ["link", "dangling"] {
            assert!(side.join(link).symlink_metadata().unwrap().is_file());
            assert_eq!(fs::read_to_string(side.join(link)).unwrap(), "new");
        }
        assert!(!side.join("nowhere").exists());
    }
}

#[test]
fn special_files_are_refused_and_not_replaced() {
    let world = World::plaintext();
    fs::write(world.root("a"), "new").unwrap();
    fs::write(world.here("a"), "new").unwrap();
    let is_device = |path: &str| Path::new(path).metadata().unwrap().file_type().is_char_device();
    // Nobody would miss this device; only behind it does the one that everybody needs have its turn.
    assert_snapshot!(world.run("get a /dev/full").exits(9).stderr, @"ftpish: cannot get `a`: `/dev/full`: it is a fifo, a socket or a device, or leads to one");
    assert!(is_device("/dev/full"));
    world.run("get a /dev/null").exits(9);
    assert!(is_device("/dev/null"));

    let _sockets = [world.here("socket"), world.root("socket")].map(|path| UnixListener::bind(path).unwrap());
    for line in ["get a socket", "put a socket"] {
        world.run(line).exits(9);
    }
    for side in [world.here("socket"), world.root("socket")] {
        assert!(side.metadata().unwrap().file_type().is_socket());
    }
}

#[test]
fn a_link_to_a_device_is_refused_and_not_replaced() {
    let world = World::plaintext();
    fs::write(world.root("a"), "new").unwrap();
    symlink("/dev/full", world.here("link")).unwrap();
    world.run("get a link").exits(9);
    assert_eq!(fs::read_link(world.here("link")).unwrap(), Path::new("/dev/full"));
}
