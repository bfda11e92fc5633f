//! Disks that are full, become full, or can only be read, at either end.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::trial::{Trial, Way, eventually};
use crate::harness::{Server, World};
use crate::relay::{Harm, Relay};

/// A file system of 16 MiB, mounted on a directory where only its own processes see it, and gone with them: no
/// mount outlives a test, and nobody need be root.
pub struct Disk {
    holder: Child,
}

/// Six blocks: with what was there before, and room for a copy, no more than the disk has.
const SIZE: u64 = 6 << 20;

impl Disk {
    /// Mounts one on `dir`; `None`, said aloud, where this system does not allow it.
    pub fn on(dir: &Path) -> Option<Self> {
        let mount = "mount -t tmpfs -o size=16m tmpfs \"$1\" && echo mounted && exec cat";
        let mut unshare = Command::new("unshare");
        unshare.args(["-rm", "sh", "-c", mount, "sh"]).arg(dir);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut holder) = unshare.spawn() else {
            eprintln!("SKIPPED: unshare is not installed");
            return None;
        };
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let disk = Self { holder };
        if said != "mounted\n" {
            eprintln!("SKIPPED: no mount namespaces here");
            return None;
        }
        Some(disk)
    }

    /// The same command, where the disk is seen.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        let pid = self.holder.id().to_string();
        inside.args(["-t", &pid, "-U", "-m", "--preserve-credentials"]);
        // Where a process is does not change with what it sees.
        inside.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(command.get_current_dir().unwrap());
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// How a path on the disk is seen from here.
    pub fn path(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    fn remount(&self, world: &World, dir: &str, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(world.path(dir)).current_dir("/");
        assert!(self.inside(&mount).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

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
        disk.remount(world, trial.way.to(), "ro");
        trial.run(&Relay::harmless(&trial.address), "--retries 0").exits(7);
        assert!(!trial.is_done());
        disk.remount(world, trial.way.to(), "rw");
        assert_eq!(trial.missing(), missing);
        trial.completes(missing);
    });
}
