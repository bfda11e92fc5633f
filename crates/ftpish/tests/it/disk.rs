//! A disk of a test's own: one that is full soon, or one that takes upper case for lower.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{is_installed, skip};

/// A file system, mounted on a directory where only its own processes see it, and gone with them: no mount outlives a
/// test.
pub struct Disk {
    holder: Child,
    namespaces: Namespaces,
}

/// What its processes have of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespaces {
    /// With users of their own, so that nobody need be root.
    UsersAndMounts,
    Mounts,
}

impl Disk {
    /// What [`any`](Self::any) mounts: what the kernel has, and what comes by way of FUSE.
    pub const KINDS: [&str; 9] = ["ext4", "xfs", "btrfs", "f2fs", "vfat", "tmpfs", "ntfs", "exfat", "bindfs"];

    /// Mounts one of a kind on `dir`, with room for some ten files of 5 MiB; `None`, said aloud, where this system does not
    /// allow it.
    pub fn any(kind: &str, dir: &Path) -> Option<Self> {
        match kind {
            "tmpfs" => {
                Self::mount("mount -t tmpfs -o size=64m tmpfs \"$1\"", dir, Namespaces::UsersAndMounts)
            }
            "ntfs" => Self::that_maps_owners(dir),
            "exfat" => Self::exfat(dir),
            "bindfs" => Self::bindfs(dir),
            "xfs" => Self::of(kind, 320, dir),
            kind => Self::of(kind, 128, dir),
        }
    }

    fn exfat(dir: &Path) -> Option<Self> {
        if !is_installed("mkfs.exfat") || !is_installed("mount.exfat-fuse") {
            return None;
        }
        let image = dir.with_extension("image");
        File::create(&image).unwrap().set_len(128 << 20).unwrap();
        let made = Command::new("mkfs.exfat").arg(&image).stdout(Stdio::null()).status();
        assert!(made.unwrap().success());
        // The device is given back when nothing is mounted from it.
        let mount = "loop=$(losetup -f --show \"${1}.image\") && \
            { mount.exfat-fuse \"$loop\" \"$1\" >&2; mounted=$?; losetup -d \"$loop\"; [ $mounted = 0 ]; }";
        Self::mount(mount, dir, Namespaces::Mounts)
    }

    /// A directory through which all files belong to somebody else.
    fn bindfs(dir: &Path) -> Option<Self> {
        if !is_installed("bindfs") {
            return None;
        }
        let mount = "mkdir \"${1}.under\" && bindfs -u 1234 -g 1234 \"${1}.under\" \"$1\"";
        Self::mount(mount, dir, Namespaces::Mounts)
    }

    /// Mounts one of 16 MiB on `dir`; `None`, said aloud, where this system does not allow it.
    pub fn on(dir: &Path) -> Option<Self> {
        Self::mount("mount -t tmpfs -o size=16m tmpfs \"$1\"", dir, Namespaces::UsersAndMounts)
    }

    /// Mounts an NTFS on `dir`, in which `README` and `readme` are one name, and which has no files without a name;
    /// `None`, said aloud, where this system does not allow it.
    pub fn that_folds_case(dir: &Path) -> Option<Self> {
        Self::ntfs(dir, "ignore_case")
    }

    /// Mounts a file system on `dir` in which all files belong to somebody else, whoever makes them.
    pub fn that_maps_owners(dir: &Path) -> Option<Self> {
        Self::ntfs(dir, "uid=1234,gid=1234")
    }

    fn ntfs(dir: &Path, options: &str) -> Option<Self> {
        if !is_installed("mkntfs") {
            return None;
        }
        let image = dir.with_extension("ntfs");
        File::create(&image).unwrap().set_len(100 << 20).unwrap();
        let made = Command::new("mkntfs").args(["-F", "-Q", "-q"]).arg(&image).stderr(Stdio::null()).status();
        assert!(made.unwrap().success());
        // It drops privileges that root of a namespace does not have.
        Self::mount(&format!("lowntfs-3g -o {options} \"${{1}}.ntfs\" \"$1\""), dir, Namespaces::Mounts)
    }

    /// Mounts a file system of so many MiB on `dir`, made by `mkfs`, as ext4, xfs, btrfs, with its options behind that; `None`,
    /// said aloud, where this system does not allow it.
    pub fn of(kind: &str, mebibytes: u64, dir: &Path) -> Option<Self> {
        let mut words = kind.split(' ');
        let file_system = words.next().unwrap();
        let mkfs = format!("mkfs.{file_system}");
        if !is_installed(&mkfs) {
            return None;
        }
        let image = dir.with_extension("image");
        File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        let made =
            Command::new(&mkfs).args(words).arg(&image).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(made.unwrap().success(), "{mkfs}");
        let mount =
            format!("mount -t {file_system} -o loop \"${{1}}.image\" \"$1\" && rm -rf \"$1/lost+found\"");
        Self::mount(&mount, dir, Namespaces::Mounts)
    }

    /// Has a shell mount what it says below `dir`, which is `$1`; `None`, said aloud, where this system does not allow it.
    pub fn mounted(mounts: &str, dir: &Path) -> Option<Self> {
        Self::mount(mounts, dir, Namespaces::UsersAndMounts)
    }

    fn mount(mount: &str, dir: &Path, namespaces: Namespaces) -> Option<Self> {
        let hold = format!("{mount} && echo mounted && cat; umount \"$1\"");
        let mut unshare = Command::new("unshare");
        unshare.arg(if namespaces == Namespaces::UsersAndMounts { "-rm" } else { "-m" });
        unshare.args(["sh", "-c", &hold, "sh"]).arg(dir);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut holder) = unshare.spawn() else {
            skip("unshare is not installed");
            return None;
        };
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let disk = Self { holder, namespaces };
        if said != "mounted\n" {
            skip(format_args!("this system does not do `{mount}`"));
            return None;
        }
        Some(disk)
    }

    /// The same command, where the disk is seen.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        let pid = self.holder.id().to_string();
        inside.args(["-t", &pid, "-m"]);
        if self.namespaces == Namespaces::UsersAndMounts {
            inside.args(["-U", "--preserve-credentials"]);
        }
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
        // It reads to the end, and unmounts.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
