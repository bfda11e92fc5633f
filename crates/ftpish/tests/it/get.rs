//! `get` and `cat`: where fetched files go, and what is said about them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;

use crate::harness::{World, dress, names, noise, time};

/// A server with a few small files.
fn world() -> World {
    let world = World::new();
    fs::create_dir(world.root("docs")).unwrap();
    for name in ["a", "b", "docs/c"] {
        fs::write(world.root(name), format!("this is {name}\n")).unwrap();
    }
    world
}

#[test]
fn a_bare_get_stores_the_file_here_and_says_what_proves_it() {
    let world = world();
    let got = world.run("get docs/c").ok();
    assert_eq!(fs::read_to_string(world.here("c")).unwrap(), "this is docs/c\n");
    assert_eq!(got.text, "");
    assert_snapshot!(got.stderr, @"docs/c  15 B  [SECONDS]  [SPEED]  verified blake3 24b8a2827c5d1d2e24f485fd21de4fda6f0ee9e88fa1ee94becf57e6ad097524");
}

#[test]
fn the_finished_line_is_name_size_seconds_speed_and_digest() {
    let world = world();
    fs::write(world.root("half"), noise(1536 * 1024)).unwrap();
    let line = String::from_utf8(world.run("get --digest sha256 half").ok().raw_stderr).unwrap();
    let fields: Vec<_> = line.trim_end().split("  ").collect();
    let [name, size, seconds, speed, verified] = fields[..] else { panic!("{line}") };
    assert_eq!((name, size), ("half", "1.5 MiB"));
    let number = |text: &str, unit: &str| text.strip_suffix(unit).unwrap().parse::<f64>().unwrap();
    assert!(number(seconds, " s") < 60.0);
    let (speed, unit) = speed.split_once(' ').unwrap();
    assert!(speed.parse::<f64>().unwrap() > 0.0);
    assert!(["B/s", "KiB/s", "MiB/s", "GiB/s"].contains(&unit), "{unit}");
    let hex = verified.strip_prefix("verified sha256 ").unwrap();
    assert_eq!(hex.len(), 64);
    assert!(world.run("hash --digest sha256 half").ok().text.starts_with(hex));
}

#[test]
fn quiet_says_nothing_and_does_it_all_the_same() {
    let world = world();
    world.run("get -q a b new/").ok().silent();
    world.run("--quiet get a").ok().silent();
    assert_eq!(names(&world.here("new")), ["a", "b"]);
    assert_eq!(world.run("get -q a -").ok().stderr, "");
}

#[test]
fn several_files_go_into_a_directory_which_is_made() {
    let world = world();
    let got = world.run("get a b docs/c new/dir/").ok();
    assert_eq!(names(&world.here("new/dir")), ["a", "b", "c"]);
    let said: Vec<_> = got.stderr.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(said, ["a", "b", "docs/c", "3 files"]);
}

#[test]
fn several_files_and_no_directory_are_refused_before_anything_is_written() {
    let world = world();
    let refused = world.run("get a b docs/c nowhere").exits(2);
    assert_snapshot!(refused.stderr, @r"
    ftpish: `nowhere` is no directory, and 3 files are to go there
    hint: write `nowhere/` to make one
    ");
    assert_eq!(names(&world.here("")), [""; 0]);
}

#[test]
fn a_dash_is_standard_output_and_nothing_but_the_data_is_there() {
    let world = world();
    let got = world.run("get a docs/c -").ok();
    assert_eq!(got.text, "this is a\nthis is docs/c\n");
    assert_eq!(got.stderr.matches("  verified blake3 ").count(), 2);
    assert_eq!(names(&world.here("")), [""; 0]);
}

#[test]
fn a_directory_that_exists_takes_the_file_under_its_own_name() {
    let world = world();
    fs::create_dir(world.here("dir")).unwrap();
    world.run("get docs/c dir").ok();
    world.run("get a dir/").ok();
    world.run("get b ..").ok();
    assert_eq!(names(&world.here("dir")), ["a", "c"]);
    assert!(world.path("b").exists());
}

#[test]
fn a_name_that_is_new_or_a_file_is_where_it_goes() {
    let world = world();
    world.run("get a copy").ok();
    world.run("get b copy").ok();
    assert_eq!(fs::read_to_string(world.here("copy")).unwrap(), "this is b\n");
    assert_eq!(names(&world.here("")), ["copy"]);
}

#[test]
fn time_and_permission_bits_are_kept_and_setuid_is_not() {
    let world = world();
    dress(&world.root("a"), 0o4751, 1_000_000_000);
    world.run("get a").ok();
    let metadata = world.here("a").metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o751);
    assert_eq!(metadata.modified().unwrap(), time(1_000_000_000));
}

#[test]
fn sizes_around_a_block_arrive_whole() {
    let world = World::new();
    let sizes = [0, 1, 262_143, 262_144, 262_145, 1_048_575, 1_048_576, 1_048_577, 3_000_000];
    let names = sizes.map(|size| size.to_string());
    for (name, size) in names.iter().zip(sizes) {
        fs::write(world.root(name), noise(size)).unwrap();
    }
    world.run(&format!("get --no-sync {} .", names.join(" "))).ok();
    for (name, size) in names.iter().zip(sizes) {
        assert!(fs::read(world.here(name)).unwrap() == noise(size), "{size}");
    }
}

#[test]
fn cat_writes_files_one_behind_the_other_without_a_word() {
    let world = world();
    let cat = world.run("cat a docs/c a").ok();
    assert_eq!(cat.text, "this is a\nthis is docs/c\nthis is a\n");
    assert_eq!(cat.stderr, "");
    fs::write(world.root("binary"), noise(700_000)).unwrap();
    assert!(world.run("cat binary").ok().stdout == noise(700_000));
}

#[test]
fn no_sync_changes_nothing_that_can_be_seen() {
    let world = world();
    world.run("get --no-sync a").ok();
    assert_eq!(fs::read_to_string(world.here("a")).unwrap(), "this is a\n");
}

#[test]
fn of_files_that_go_to_one_name_each_is_told_for_itself_and_the_last_has_it() {
    let world = world();
    std::fs::create_dir(world.root("other")).unwrap();
    std::fs::write(world.root("other/a"), "other").unwrap();
    world.run("get missing/a other/a b new/").exits(12);
    assert_eq!(std::fs::read(world.here("new/a")).unwrap(), b"other");
    for dir in ["one", "two"] {
        std::fs::create_dir(world.here(dir)).unwrap();
        std::fs::write(world.here(dir).join("q"), dir).unwrap();
    }
    let put = world.run("put --overwrite never one/q two/q other/").ok();
    assert!(put.stderr.contains("other/q  kept what is on the server"), "{}", put.stderr);
    assert!(put.stderr.contains("other/q  3 B"), "{}", put.stderr);
    assert_eq!(std::fs::read(world.root("other/q")).unwrap(), b"one");
}
