//! Disks that are full, become full, or can only be read, at either end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::disk::Disk;
use crate::harness::{Server, World, names};
use crate::relay::{Harm, Relay};
use crate::trial::{Trial, Way, eventually};

/// Six blocks: with what was there before, and room for a copy, no more than the disk has.
const SIZE: u64 = 6 << 20;

/// Does `test` with both ends on a disk of their own, for both ways; not at all where there can be none.
fn on_a_disk(test: impl Fn(&Disk, &World, &Trial<'_>)) {
    for way in Way::BOTH {
        let world = World::plaintext();
        let Some(disk) = Disk::on(&world.path(way.to())) else { return };
        let command = world.serve_command("--listen 127.0.0.1:0 --plaintext");
        let server = Server::start(disk.inside(&command), world.path("server.log"));
        let trial = Trial::on(&disk, &world, &server, way, SIZE);
        test(&disk, &world, &trial);
    }
}

/// Leaves no more than half a block on a disk.
fn fill(trial: &Trial<'_>) -> PathBuf {
    let ballast = trial.dir().join("ballast");
    let mut bytes = vec![1; 16 << 20];
    while fs::write(&ballast, &bytes).is_err() {
        bytes.truncate(bytes.len() - (512 << 10));
    }
    ballast
}

#[test]
fn a_disk_that_is_full_is_10_and_makes_no_difference_once_there_is_room() {
    on_a_disk(|_, _, trial| {
        let ballast = fill(trial);
        let relay = Relay::harmless(&trial.address);
        trial.run(&relay, "--retries 0").exits(10);
        assert!(!trial.is_done());
        fs::remove_file(ballast).unwrap();
        trial.completes(trial.missing());
    });
}

/// Of many files, in every way of moving them: that there is no room is said once, and ends the run.
#[test]
fn a_disk_that_becomes_full_under_many_files_is_told_once_and_ends_the_run() {
    for way in Way::BOTH {
        for (line, jobs) in [
            ("get -q -r tree to/", "-j 1"),
            ("get -q -r tree to/", "-j 3"),
            ("sync -q :tree to/tree", "-j 1"),
            ("get -q FILES to/", "-j 1"),
        ] {
            let world = World::plaintext();
            let (from, to) = match way {
                Way::Get => (world.root("tree"), world.here("to")),
                Way::Put => (world.here("tree"), world.root("to")),
            };
            fs::create_dir(&to).unwrap();
            let Some(disk) = Disk::on(&to) else { return };
            let mut files = Vec::new();
            for n in 0..120 {
                let dir = from.join(format!("d{}", n % 12));
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join(n.to_string()), vec![7; 200_000]).unwrap();
                files.push(format!("tree/d{}/{n}", n % 12));
            }
            let command = world.serve_command("--listen 127.0.0.1:0 --plaintext");
            let server = Server::start(disk.inside(&command), world.path("server.log"));
            let client = world.client_of(&server.address);
            let line = match way {
                Way::Get => line.to_owned(),
                Way::Put => {
                    line.replace("get", "put").replace("sync -q :tree to/tree", "sync -q tree :to/tree")
                }
            };
            let line = format!("{} {jobs}", line.replace("FILES", &files.join(" ")));
            for _ in 0..2 {
                let told = client.run_in(&disk, &line).exits(10).stderr;
                assert_eq!(told.matches("no space left").count(), 1, "{told}");
                assert!(told.lines().count() <= 3, "{told}");
            }
            // What has come is whole.
            for entry in walkdir::WalkDir::new(disk.path(&to)).into_iter().flatten() {
                let found = entry.metadata().unwrap();
                let partial = ftpish_storage::is_partial(entry.file_name().as_encoded_bytes());
                assert!(!found.is_file() || partial || found.len() == 200_000, "{}", entry.path().display());
            }
        }
    }
}

#[test]
fn a_disk_that_becomes_full_is_10_and_what_came_before_is_kept() {
    on_a_disk(|_, _, trial| {
        let cut = Relay::to(&trial.address, trial.way.onward(), 3_500_000, Harm::Cut);
        trial.run(&cut, "--retries 0").exits(13);
        trial.settle();
        let before = trial.missing();
        assert!(before <= trial.missing_after(3_500_000));
        let ballast = fill(trial);
        trial.run(&Relay::harmless(&trial.address), "--retries 0").exits(10);
        assert!(!trial.is_done());
        assert!(trial.missing() <= before, "what had come is still there");
        fs::remove_file(ballast).unwrap();
        trial.completes(trial.missing());
    });
}

#[test]
fn a_disk_that_becomes_full_in_the_middle_is_10_and_what_came_is_kept() {
    on_a_disk(|_, world, trial| {
        let mut relay = Relay::to(&trial.address, trial.way.onward(), 3_500_000, Harm::Stall);
        let client = trial.spawn(&relay, "--retries 0");
        relay.wait();
        eventually(|| trial.missing() <= trial.missing_after(3_500_000));
        let ballast = fill(trial);
        relay.go_on();
        world.wait(client).exits(10);
        assert!(!trial.is_done());
        fs::remove_file(ballast).unwrap();
        trial.completes(trial.missing_after(3_500_000));
    });
}

#[test]
fn a_directory_that_can_only_be_read_is_7_and_what_had_come_stays() {
    on_a_disk(|disk, world, trial| {
        let relay = Relay::to(&trial.address, trial.way.onward(), 3_500_000, Harm::Cut);
        trial.run(&relay, "--retries 0").exits(13);
        trial.settle();
        let missing = trial.missing();
        disk.remount(&world.path(trial.way.to()), "ro");
        trial.run(&Relay::harmless(&trial.address), "--retries 0").exits(7);
        assert!(!trial.is_done());
        disk.remount(&world.path(trial.way.to()), "rw");
        assert_eq!(trial.missing(), missing);
        trial.completes(missing);
    });
}

/// What the source does not have takes the room that something else needs.
#[test]
fn delete_before_makes_the_room_that_delete_does_not() {
    for way in Way::BOTH {
        for backup in [false, true] {
            let world = World::plaintext();
            let (from, to) = match way {
                Way::Get => (world.root("tree"), world.here("to")),
                Way::Put => (world.here("tree"), world.root("to")),
            };
            for dir in [from.join("dir"), from.join("new"), to.clone()] {
                fs::create_dir_all(dir).unwrap();
            }
            fs::write(from.join("new/large"), vec![7; 10 << 20]).unwrap();
            fs::write(from.join("was-dir"), "file").unwrap();
            let Some(disk) = Disk::on(&to) else { return };
            let target = disk.path(&to).join("tree");
            for dir in ["dir/locked", "was-dir"] {
                fs::create_dir_all(target.join(dir)).unwrap();
            }
            fs::write(target.join("dir/locked/old"), vec![7; 9 << 20]).unwrap();
            fs::write(target.join("was-dir/old"), "old").unwrap();
            fs::set_permissions(target.join("dir/locked"), fs::Permissions::from_mode(0o555)).unwrap();
            let command = world.serve_command("--listen 127.0.0.1:0 --plaintext");
            let server = Server::start(disk.inside(&command), world.path("server.log"));
            let client = world.client_of(&server.address);
            let sides = if way == Way::Get { ":tree to/tree" } else { "tree :to/tree" };
            client.run_in(&disk, &format!("sync --delete {sides}")).exits(10);
            if backup {
                // Nothing is lost, so there is no more room than before.
                client.run_in(&disk, &format!("sync --delete-before --backup-dir bak {sides}")).exits(10);
                assert_eq!(fs::read(target.join("bak/dir/locked/old")).unwrap().len(), 9 << 20);
                continue;
            }
            let would = client.run_in(&disk, &format!("sync -v -n --delete-before {sides}")).ok().text;
            client.run_in(&disk, &format!("sync --delete-before --max-delete 3 {sides}")).exits(10);
            let done = client.run_in(&disk, &format!("sync -v --delete-before {sides}")).ok().text;
            let lines = |text: &str| {
                let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert!(done.starts_with("remove "), "{done}");
            let copied = |text: &str| {
                lines(text).into_iter().filter(|line| !line.starts_with("set")).collect::<Vec<_>>()
            };
            assert_eq!(copied(&done), copied(&would));
            assert_eq!(fs::read(target.join("new/large")).unwrap().len(), 10 << 20);
            assert_eq!(fs::read(target.join("was-dir")).unwrap(), b"file");
            assert_eq!(names(&target.join("dir")), [""; 0]);
            assert_eq!(client.run_in(&disk, &format!("sync -n --delete-before {sides}")).ok().text, "");
        }
    }
}
