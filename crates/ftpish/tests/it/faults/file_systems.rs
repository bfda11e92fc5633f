//! The same on every file system that can be made here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::disk::Disk;
use crate::harness::{Server, World, noise};
use crate::relay::{Harm, Relay};
use crate::trial::{Trial, Way};

/// Six blocks.
const SIZE: u64 = 6 << 20;

/// What is in a directory and below it.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let walk = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files = walk.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let name = entry.path().strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Does `test` with both ends on a disk of each kind, for both ways.
fn on_each(test: impl Fn(&str, &Disk, &World, &Server, Way)) {
    for kind in Disk::KINDS {
        for way in Way::BOTH {
            let world = World::plaintext();
            let Some(disk) = Disk::any(kind, &world.path(way.to())) else { continue };
            let command = world.serve_command("--listen 127.0.0.1:0 --plaintext");
            let server = Server::start(disk.inside(&command), world.path("server.log"));
            test(kind, &disk, &world, &server, way);
        }
    }
}

#[test]
fn a_tree_arrives_whole_and_the_second_run_copies_nothing() {
    on_each(|kind, disk, world, server, way| {
        let (from, to) = match way {
            Way::Get => (world.root("tree"), world.here("tree")),
            Way::Put => (world.here("tree"), world.root("tree")),
        };
        fs::create_dir_all(from.join("dir/empty")).unwrap();
        for (at, (name, size)) in
            [("top", 7), ("empty", 0), ("dir/small", 5000), ("dir/large", 5 << 20)].into_iter().enumerate()
        {
            fs::write(from.join(name), noise(size)).unwrap();
            // Odd seconds and even ones, with all their digits.
            let time = UNIX_EPOCH + Duration::new(1_000_000_000 + at as u64, 123_456_789);
            fs::File::options().write(true).open(from.join(name)).unwrap().set_modified(time).unwrap();
        }
        let client = world.client_of(&server.address);
        let line = if way == Way::Get { "sync -v :tree tree" } else { "sync -v tree :tree" };
        let told = client.run_in(disk, line).ok();
        assert!(!told.stderr.contains("times of"), "{kind}: {}", told.stderr);
        assert!(contents(&disk.path(&to)) == contents(&from), "{kind} {way:?}");
        assert!(disk.path(&to).join("dir/empty").is_dir(), "{kind}");
        let again = client.run_in(disk, line).ok().text;
        assert!(!again.lines().any(|line| line.starts_with("copy")), "{kind} {way:?}: {again}");
    });
}

#[test]
fn what_came_before_a_connection_broke_is_kept_and_nothing_is_left_behind() {
    on_each(|kind, disk, world, server, way| {
        let trial = Trial::on(disk, world, server, way, SIZE);
        let cut = Relay::to(&trial.address, way.onward(), 3_500_000, Harm::Cut);
        trial.run(&cut, "--retries 0").exits(13);
        trial.settle();
        assert!(trial.missing() <= trial.missing_after(3_500_000), "{kind}");
        trial.completes(trial.missing());
    });
}
