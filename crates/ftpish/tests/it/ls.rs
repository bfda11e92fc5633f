//! `ls` and `stat`: what a person and what a script see of names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use insta::assert_snapshot;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::harness::{World, dress};

/// A served directory with a file, a link and a name that is not UTF-8, all of known times.
fn world() -> World {
    let world = World::plaintext();
    fs::write(world.root("b.txt"), "12345").unwrap();
    dress(&world.root("b.txt"), 0o640, 1_767_323_045);
    fs::write(world.root(OsStr::from_bytes(b"caf\xe9")), "").unwrap();
    dress(&world.root(OsStr::from_bytes(b"caf\xe9")), 0o604, 0);
    symlink("b.txt", world.root("link")).unwrap();
    let at = Timespec { tv_sec: 1_000_000_000, tv_nsec: 1 };
    let times = Timestamps { last_access: at, last_modification: at };
    utimensat(CWD, world.root("link"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    world
}

#[test]
fn a_listing_is_sorted_and_bare_off_a_terminal() {
    let world = world();
    fs::create_dir(world.root("a dir")).unwrap();
    let listing = world.run("ls").ok();
    assert_snapshot!(listing.text, @r"
    a dir
    b.txt
    caf\xe9
    link
    ");
    assert_eq!(listing.stderr, "");
}

#[test]
fn a_long_listing_tells_permissions_size_time_and_target() {
    let world = world();
    assert_snapshot!(world.run("ls -l").ok().text, @r"
    -rw-r-----            5 2026-01-02 03:04:05 b.txt
    -rw----r--            0 1970-01-01 00:00:00 caf\xe9
    lrwxrwxrwx            5 2001-09-09 01:46:40 link -> b.txt
    ");
    fs::create_dir(world.root("dir")).unwrap();
    dress(&world.root("dir"), 0o751, 1);
    let long = world.run("ls -l").ok().text;
    let dir = long.lines().find(|line| line.ends_with(" dir")).unwrap();
    assert!(dir.starts_with("drwxr-x--x ") && dir.ends_with(" 1970-01-01 00:00:01 dir"), "{dir}");
}

#[test]
fn json_is_one_exact_object_a_line_and_keeps_names_that_are_not_utf8() {
    let world = world();
    let listing = world.run("ls --json").ok();
    assert_snapshot!(listing.text, @r#"
    {"name":"b.txt","kind":"file","size":5,"mtime":[1767323045,500000000],"mode":"640"}
    {"name":{"b64":"Y2Fm6Q=="},"kind":"file","size":0,"mtime":[0,500000000],"mode":"604"}
    {"name":"link","kind":"link","size":5,"mtime":[1000000000,1],"mode":"777","target":"b.txt"}
    "#);
    assert_eq!(world.run("stat --json b.txt link").ok().text.lines().count(), 2);
    assert!(listing.text.starts_with(&world.run("stat --json b.txt").ok().text));
}

#[test]
fn several_directories_have_headings_and_a_file_is_listed_as_itself() {
    let world = world();
    fs::create_dir_all(world.root("one/two")).unwrap();
    assert_snapshot!(world.run("ls one b.txt one/two").ok().text, @r"
    one:
    two
    b.txt

    one/two:
    ");
    assert_snapshot!(world.run("ls missing one missing one/two").exits(12).text, @r"
    one:
    two

    one/two:
    ");
}

#[test]
fn an_empty_directory_says_nothing() {
    let world = World::plaintext();
    world.run("ls").ok().silent();
    world.run("ls -l /").ok().silent();
    world.run("ls --json .").ok().silent();
}

#[test]
fn a_listing_too_long_to_be_sorted_is_complete() {
    let world = World::plaintext();
    fs::write(world.root("0"), "").unwrap();
    for number in 1..10_050 {
        fs::hard_link(world.root("0"), world.root(number.to_string())).unwrap();
    }
    let listing = world.run("ls").ok();
    let mut numbers: Vec<usize> = listing.text.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..10_050));
}

#[test]
fn stat_tells_all_about_a_file_and_about_a_link_itself() {
    let world = world();
    assert_snapshot!(world.run("stat b.txt link").ok().text, @r"
    path  b.txt
    kind  file
    size  5
    mode  -rw-r----- 640
    time  2026-01-02 03:04:05.500000000
    path  link -> b.txt
    kind  link
    size  5
    mode  lrwxrwxrwx 777
    time  2001-09-09 01:46:40.000000001
    ");
}

#[test]
fn stat_tells_the_kind_of_directories_and_of_special_files() {
    let world = World::plaintext();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(CWD, world.root("fifo"), fifo, rustix::fs::Mode::from_bits_truncate(0o600), 0)
        .unwrap();
    #[track_caller]
    fn check(world: &World, path: &str, kind: &str) {
        let told = world.run(&format!("stat {path}")).ok().text;
        assert_eq!(told.lines().nth(1), Some(&*format!("kind  {kind}")));
    }
    check(&world, ".", "directory");
    check(&world, "fifo", "special");
}

#[test]
fn names_that_are_not_utf8_can_be_typed() {
    let world = world();
    let name = OsStr::from_bytes(b"caf\xe9");
    let told = world.client().words([OsStr::new("stat"), name], b"").ok();
    assert!(told.text.starts_with("path  caf\\xe9\nkind  file\n"));
    let client = world.client();
    client.words([OsStr::new("get"), name], b"").ok();
    assert!(world.here(Path::new(name)).exists());
    client.words([OsStr::new("put"), name, OsStr::from_bytes(b"\xff")], b"").ok();
    assert!(world.root(Path::new(OsStr::from_bytes(b"\xff"))).exists());
}
