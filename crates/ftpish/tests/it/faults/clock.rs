//! Clocks that jump by decades, at both ends, between two tries and in the middle of one: no wait depends on them, and
//! nothing that was moved is taken for right or wrong because of them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Server, World, is_installed};
use crate::relay::{Harm, Relay};
use crate::trial::{Trial, Way};

/// A clock that the processes under it have in place of the system's.
struct Clock(PathBuf);

impl Clock {
    /// Moves it, seen from the right time: `-30y`.
    fn set(&self, offset: &str) {
        let next = self.0.with_extension("next");
        fs::write(&next, offset).unwrap();
        fs::rename(next, &self.0).unwrap();
    }

    fn put_over(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1");
        command.env("FAKETIME_TIMESTAMP_FILE", &self.0).env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }

    /// What `date` says under it.
    fn year(&self) -> i32 {
        let mut date = Command::new("date");
        date.arg("+%Y");
        String::from_utf8(self.put_over(date).output().unwrap().stdout).unwrap().trim().parse().unwrap()
    }
}

#[test]
fn a_clock_that_jumps_by_decades_harms_nothing() {
    if !is_installed("faketime") {
        return;
    }
    for way in Way::BOTH {
        let world = World::new();
        let clock = Clock(world.path("clock"));
        clock.set("+0");
        let today = clock.year();
        let serve = clock.put_over(world.serve_command("--listen 127.0.0.1:0"));
        let server = Server::start(serve, world.path("server.log"));
        let mut trial = Trial::new(&world, way, 6 << 20);
        trial.address = server.address.clone();
        let run = |relay: &Relay, flags: &str| {
            let output = clock.put_over(trial.command(relay, flags)).output().unwrap();
            world.outcome(flags, output)
        };
        for offset in ["-30y", "+30y", "+0"] {
            trial.reset();
            let relay = Relay::to(&trial.address, way.onward(), 4_500_000, Harm::Cut);
            run(&relay, "--retries 0").exits(13);
            trial.settle();
            clock.set(offset);
            assert_eq!(clock.year() == today, offset == "+0", "the clock has moved");
            // A week may have passed, and what was left been taken away: then it moves once more.
            run(&Relay::harmless(&trial.address), "--retries 0").ok();
            assert!(trial.is_done(), "after {offset}");
            clock.set("+0");
        }
        trial.reset();
        let relay = Relay::to(&trial.address, way.onward(), 2_500_000, Harm::Cut);
        let mut command = clock.put_over(trial.command(&relay, "--retries 5 --retry-wait 0.05"));
        let mut child = command.spawn().unwrap();
        for offset in ["-30y", "+30y", "-30y"].iter().cycle() {
            clock.set(offset);
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                break;
            }
        }
        assert!(trial.is_done());
    }
}
