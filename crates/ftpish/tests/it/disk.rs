//! A small disk of a test's own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A file system of 16 MiB, mounted on a directory where only its own processes see it, and gone with them: no
/// mount outlives a test, and nobody need be root.
pub struct Disk {
    holder: Child,
}

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

    /// Mounts it again on `dir`, `ro` or `rw`.
    pub fn remount(&self, dir: &Path, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(dir).current_dir("/");
        assert!(self.inside(&mount).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
