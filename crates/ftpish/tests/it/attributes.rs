//! Times and permission bits, on file systems that refuse them, or keep something else: the bytes are stored all the same, and
//! what could not be set is told.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::disk::Disk;
use crate::fuse::{Quirks, mount};
use crate::harness::{Outcome, Server, World, noise, visible};
use crate::trial::Way;

/// From how many bytes on a file moves over several connections.
const LARGE: usize = 33 << 20;

/// A time with all its digits, in an odd second.
const TIME: Duration = Duration::new(1_000_000_001, 123_456_789);

/// A tree on one side, and a directory for it on the other, which is on a file system with quirks.
struct Odd {
    way: Way,
    from: PathBuf,
    to: PathBuf,
    /// It is unmounted before its directory goes.
    _mount: fuser::BackgroundSession,
    world: World,
}

impl Odd {
    /// `None`, said aloud, where there can be none.
    fn new(way: Way, quirks: Quirks) -> Option<Self> {
        let world = World::plaintext();
        let (from, to) = match way {
            Way::Get => (world.root("tree"), world.here("odd")),
            Way::Put => (world.here("tree"), world.root("odd")),
        };
        fs::create_dir_all(from.join("dir")).unwrap();
        for (name, size) in [("empty", 0), ("small", 7), ("dir/large", LARGE)] {
            fs::write(from.join(name), noise(size)).unwrap();
            set_time(&from.join(name), UNIX_EPOCH + TIME);
        }
        fs::create_dir(&to).unwrap();
        let _mount = mount(&to, quirks)?;
        Some(Self { way, from, to, _mount, world })
    }

    /// A command that is written as if everything was put.
    fn run(&self, line: &str) -> Outcome {
        let line = match self.way {
            Way::Get => {
                line.replace("put", "get").replace("sync tree :odd", "sync :tree odd").replace("odd", "./odd")
            }
            Way::Put => line.to_owned(),
        };
        self.world.run(&line)
    }

    #[track_caller]
    fn assert_all_there(&self, to: &str) {
        for name in ["empty", "small", "dir/large"] {
            assert!(
                fs::read(self.to.join(to).join(name)).unwrap() == noise_of(&self.from.join(name)),
                "{name}"
            );
        }
    }
}

fn noise_of(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

fn set_time(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn modified(path: &Path) -> Duration {
    path.metadata().unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap()
}

/// Every way in which files move.
const LINES: [(&str, &str); 6] = [
    ("put tree/small odd/", "small"),
    ("put tree/small tree/empty odd/", "small"),
    ("put -j 2 tree/dir/large odd/", "large"),
    ("put --digest md5 tree/dir/large odd/whole", "whole"),
    ("put -r -j 1 tree odd/", "tree"),
    ("sync tree :odd/synced", "synced"),
];

#[test]
fn where_bits_and_times_are_refused_the_bytes_are_stored_and_it_is_told() {
    for way in Way::BOTH {
        let quirks = Quirks { refuses_modes: true, refuses_times: true, ..Quirks::default() };
        let Some(odd) = Odd::new(way, quirks) else { return };
        for (line, name) in LINES {
            let told = odd.run(line).ok().stderr;
            assert!(told.contains("warning: the file system there has not kept the "), "{line}: {told}");
            assert!(told.contains("time") && told.contains("permission bits"), "{line}: {told}");
            if name == "tree" || name == "synced" {
                odd.assert_all_there(name);
            }
        }
        assert!(noise_of(&odd.to.join("large")) == noise_of(&odd.from.join("dir/large")));
        // The same as an error, and stored all the same.
        for (line, name) in LINES {
            fs::remove_dir_all(odd.to.join(name)).or_else(|_| fs::remove_file(odd.to.join(name))).unwrap();
            odd.run(&format!("{line} --strict")).exits(12);
            assert!(odd.to.join(name).exists(), "{line}");
        }
        odd.assert_all_there("tree");
        odd.assert_all_there("synced");
        assert_eq!(visible(&odd.to), ["empty", "large", "small", "synced", "tree", "whole"]);
    }
}

#[test]
fn one_of_both_that_is_kept_is_not_told() {
    for (quirks, told, kept) in [
        (Quirks { refuses_modes: true, ..Quirks::default() }, "permission bits of", "time"),
        (Quirks { refuses_times: true, ..Quirks::default() }, "the time", "permission bits"),
    ] {
        for way in Way::BOTH {
            let Some(odd) = Odd::new(way, quirks) else { return };
            for (line, _) in LINES {
                let stderr = odd.run(line).ok().stderr;
                let warning = stderr.lines().filter(|line| line.starts_with("warning")).collect::<Vec<_>>();
                assert!(!warning.is_empty() && warning.iter().all(|line| line.contains(told)), "{stderr}");
                assert!(!warning.iter().any(|line| line.contains(kept)), "{stderr}");
            }
        }
    }
}

#[test]
fn a_file_system_that_takes_only_both_times_together_or_forgets_them_at_the_end_gets_them_again() {
    let both = Quirks { wants_both_times: true, ..Quirks::default() };
    let late = Quirks { stamps_at_close: true, ..both };
    for (way, quirks) in Way::BOTH.into_iter().flat_map(|way| [(way, both), (way, late)]) {
        let Some(odd) = Odd::new(way, quirks) else { return };
        for (line, _) in LINES {
            odd.run(&format!("{line} --strict")).ok();
        }
        for name in ["small", "large", "tree/small", "tree/dir/large", "synced/empty"] {
            assert_eq!(modified(&odd.to.join(name)), TIME, "{name}");
        }
    }
}

/// What a second sync would do.
#[track_caller]
fn assert_nothing_to_copy(told: &Outcome) {
    assert!(!told.text.lines().any(|line| line.starts_with("copy")), "{}", told.text);
}

#[test]
fn a_second_sync_to_a_disk_that_keeps_two_seconds_copies_nothing_but_what_changed() {
    for way in Way::BOTH {
        let Some(odd) = Odd::new(way, Quirks { time_step: Some(2), ..Quirks::default() }) else { return };
        odd.run("sync tree :odd/synced --strict").ok();
        assert_eq!(modified(&odd.to.join("synced/small")).as_secs(), TIME.as_secs() - 1);
        let told = odd.run("sync tree :odd/synced -n").ok();
        assert_eq!(told.text, "", "not even a time is to be set");
        // The same size, and a time that the disk cannot tell from the one before.
        let small = odd.from.join("small");
        fs::write(&small, "another").unwrap();
        set_time(&small, UNIX_EPOCH + TIME + Duration::from_millis(1));
        odd.run("sync tree :odd/synced").ok();
        assert_eq!(fs::read(odd.to.join("synced/small")).unwrap(), b"another");
    }
}

#[test]
fn dates_that_a_disk_cannot_keep_are_told_and_copied_once() {
    for way in Way::BOTH {
        let last = i32::MAX as u64;
        let Some(odd) = Odd::new(way, Quirks { last_time: Some(last), ..Quirks::default() }) else { return };
        set_time(&odd.from.join("small"), UNIX_EPOCH + Duration::from_secs(last + 1_000_000));
        for _ in 0..2 {
            let told = odd.run("sync tree :odd/synced").ok().stderr;
            assert!(told.contains("not kept the times of 1 name"), "{told}");
        }
        assert_nothing_to_copy(&odd.run("sync tree :odd/synced -n").ok());
        fs::write(odd.from.join("small"), "another").unwrap();
        set_time(&odd.from.join("small"), UNIX_EPOCH + Duration::from_secs(last + 1_000_000));
        odd.run("sync tree :odd/synced").ok();
        assert_eq!(fs::read(odd.to.join("synced/small")).unwrap(), b"another");
    }
}

/// The same on a real disk: an ext4 with inodes of 128 bytes counts seconds in 32 bits, and nothing below them.
#[test]
fn dates_beyond_a_small_ext4_are_copied_once() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let (from, to) = match way {
            Way::Get => (world.root("tree"), world.here("to")),
            Way::Put => (world.here("tree"), world.root("to")),
        };
        fs::create_dir_all(&to).unwrap();
        let Some(disk) = Disk::of("ext4 -I 128", 64, &to) else { return };
        fs::create_dir_all(&from).unwrap();
        fs::write(from.join("far"), "far").unwrap();
        set_time(&from.join("far"), UNIX_EPOCH + Duration::new(5_000_000_000, 5));
        fs::write(from.join("near"), "near").unwrap();
        set_time(&from.join("near"), UNIX_EPOCH + TIME);
        let server = Server::start(
            disk.inside(&world.serve_command("--listen 127.0.0.1:0 --plaintext")),
            world.path("log"),
        );
        let client = world.client_of(&server.address);
        let line = if way == Way::Get { "sync :tree to" } else { "sync tree :to" };
        let run = |line: &str| client.run_in(&disk, line).ok();
        assert!(run(line).stderr.contains("not kept the times of 1 name"), "{way:?}");
        assert_nothing_to_copy(&run(&format!("{line} -n")));
    }
}

/// Files of which less is told than they have, and more.
#[test]
fn what_is_told_of_sizes_is_not_believed() {
    for told_size in [(|_| 0) as fn(u64) -> u64, |has| has + 1] {
        let quirks = Quirks { told_size: Some(told_size), ..Quirks::default() };
        // The liar is where files come from.
        for way in Way::BOTH {
            let world = World::plaintext();
            let (from, to) = match way {
                Way::Get => (world.root("odd"), world.here("")),
                Way::Put => (world.here("odd"), world.root("")),
            };
            fs::create_dir(&from).unwrap();
            let Some(_mount) = mount(&from, quirks) else { return };
            for (name, size) in [("a", 7), ("b", 5000)] {
                fs::write(from.join(name), noise(size)).unwrap();
            }
            for line in [
                "put odd/a a",
                "put odd/a odd/b .",
                "put --repair odd/b b",
                "put -r odd tree",
                "sync odd :synced",
                "put --digest sha256 odd/b c",
            ] {
                let line = if way == Way::Put {
                    line.to_owned()
                } else {
                    line.replace("put", "get").replace("odd :synced", ":odd synced")
                };
                let outcome = world.run(&line);
                // All that is there, or an error that says what is wrong.
                let is_ok = outcome.code == Some(0);
                assert!(
                    is_ok || outcome.stderr.contains("its file system tells"),
                    "{line}: {}",
                    outcome.stderr
                );
                for (name, size) in [("a", 7), ("b", 5000), ("c", 5000)] {
                    for dir in ["", "tree", "synced"] {
                        let stored = fs::read(to.join(dir).join(name));
                        assert!(stored.is_err() || stored.unwrap() == noise(size), "{line}: {dir}/{name}");
                    }
                }
                // What is no more than a page is read before it is believed.
                let is_small = !line.contains("odd/b") && line.contains("odd/a");
                assert_eq!(is_ok, told_size(9) == 0 || is_small, "{line}: {}", outcome.stderr);
            }
        }
    }
}
