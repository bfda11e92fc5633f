//! `put`: where stored files go, and what is said about them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;

use crate::harness::{World, dress, names, noise, time};

/// A server, and a few small files here.
fn world() -> World {
    let world = World::new();
    fs::create_dir(world.here("docs")).unwrap();
    for name in ["a", "b", "docs/c"] {
        fs::write(world.here(name), format!("this is {name}\n")).unwrap();
    }
    world
}

#[test]
fn a_bare_put_stores_the_file_under_its_own_name_and_says_what_proves_it() {
    let world = world();
    let put = world.run("put docs/c").ok();
    assert_eq!(fs::read_to_string(world.root("c")).unwrap(), "this is docs/c\n");
    assert_eq!(names(&world.root("")), ["c"]);
    assert_eq!(put.text, "");
    assert_snapshot!(put.stderr, @"c  15 B  [SECONDS]  [SPEED]  verified blake3 24b8a2827c5d1d2e24f485fd21de4fda6f0ee9e88fa1ee94becf57e6ad097524");
}

#[test]
fn quiet_says_nothing_and_does_it_all_the_same() {
    let world = world();
    world.run("put -q a").ok().silent();
    world.client().pipe(b"piped", "put -q - piped").ok().silent();
    assert_eq!(names(&world.root("")), ["a", "piped"]);
}

#[test]
fn several_files_go_into_a_directory_that_exists() {
    let world = world();
    fs::create_dir(world.root("dir")).unwrap();
    world.run("put a b docs/c dir/").ok();
    world.run("put a b dir").ok();
    assert_eq!(names(&world.root("dir")), ["a", "b", "c"]);
    assert_eq!(names(&world.root("")), ["dir"]);
}

#[test]
fn a_file_put_onto_a_directory_goes_into_it() {
    let world = world();
    fs::create_dir(world.root("dir")).unwrap();
    let put = world.run("put a dir").ok();
    assert!(put.stderr.starts_with("dir/a  10 B  "), "{}", put.stderr);
    world.run("put b /").ok();
    world.run("put docs/c .").ok();
    assert_eq!(names(&world.root("")), ["b", "c", "dir"]);
    assert_eq!(names(&world.root("dir")), ["a"]);
}

#[test]
fn standard_input_goes_under_the_name_that_it_is_given() {
    let world = world();
    let bytes = noise(3_000_000);
    let put = world.client().pipe(&bytes, "put - piped").ok();
    assert!(put.stderr.starts_with("piped  2.9 MiB  "), "{}", put.stderr);
    assert!(fs::read(world.root("piped")).unwrap() == bytes);
    world.client().pipe(b"", "put - empty").ok();
    assert_eq!(fs::read(world.root("empty")).unwrap(), b"");
}

#[test]
fn standard_input_without_a_name_is_refused() {
    let world = world();
    fs::create_dir(world.root("dir")).unwrap();
    let refused = world.client().pipe(b"piped", "put -").exits(2);
    assert_snapshot!(refused.stderr, @"ftpish: standard input has no name of its own: say which to store it under");
    world.client().pipe(b"piped", "put - dir/").exits(2);
    world.client().pipe(b"piped", "put - /").exits(2);
    let refused = world.client().pipe(b"piped", "put - dir").exits(9);
    assert_snapshot!(refused.stderr, @r"
    ftpish: cannot put `dir`: a directory has this name
    hint: name a file in it; `get -r` and `put -r` move a directory with all that it holds
    ");
    assert_eq!(names(&world.root("dir")), [""; 0]);
}

#[test]
fn time_and_permission_bits_are_kept_and_setuid_is_not() {
    let world = world();
    dress(&world.here("a"), 0o4751, 1_000_000_000);
    world.run("put a").ok();
    let metadata = world.root("a").metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o751);
    assert_eq!(metadata.modified().unwrap(), time(1_000_000_000));
}

#[test]
fn sizes_around_a_block_arrive_whole() {
    let world = World::new();
    let sizes = [0, 1, 262_143, 262_144, 262_145, 1_048_575, 1_048_576, 1_048_577, 3_000_000];
    let names = sizes.map(|size| size.to_string());
    for (name, size) in names.iter().zip(sizes) {
        fs::write(world.here(name), noise(size)).unwrap();
    }
    world.run(&format!("put {} /", names.join(" "))).ok();
    for (name, size) in names.iter().zip(sizes) {
        assert!(fs::read(world.root(name)).unwrap() == noise(size), "{size}");
    }
}
