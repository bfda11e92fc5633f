//! Whether memory is about to run out: of the address space that the process may have (setrlimit(2), `RLIMIT_AS`), or of the
//! control group that it is in (cgroups(7)). A failed allocation would end the process, and everybody's transfers with it,
//! so new work is refused before that.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

/// How much is kept for work that has begun: all threads with a block in each of their buffers.
const HEADROOM: u64 = 24 * 1024 * 1024;

/// How often it is looked: at most a few connections come meanwhile.
const EVERY: Duration = Duration::from_millis(2);

/// The limits that there are, and how much of them is used.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    limits: Vec<Limit>,
    looked: Mutex<Option<Instant>>,
    is_short: AtomicBool,
}

/// A limit, and the file that tells what is used of it. That stays open, since a server may confine itself later.
#[derive(Debug)]
struct Limit {
    most: u64,
    used: File,
    read: fn(&str) -> Option<u64>,
}

impl Memory {
    /// The limits of this process.
    pub(crate) fn of_this_process() -> Self {
        let limits = address_space().into_iter().chain(control_groups()).collect();
        Self { limits, ..Self::default() }
    }

    /// The lowest of the limits, in bytes.
    pub(crate) fn most(&self) -> Option<u64> {
        self.limits.iter().map(|limit| limit.most).min()
    }

    /// Whether nothing new is to be begun.
    pub(crate) fn is_short(&self) -> bool {
        if self.limits.is_empty() {
            return false;
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_none_or(|looked| looked.elapsed() >= EVERY) {
            *looked = Some(Instant::now());
            let is_short = self.limits.iter().any(Limit::is_near);
            if is_short && !self.is_short.load(Ordering::Relaxed) {
                tracing::warn!("short of memory: new work is refused");
            }
            self.is_short.store(is_short, Ordering::Relaxed);
        }
        self.is_short.load(Ordering::Relaxed)
    }
}

impl Limit {
    fn new(most: u64, used: PathBuf, read: fn(&str) -> Option<u64>) -> io::Result<Self> {
        Ok(Self { most, used: File::open(used)?, read })
    }

    /// Whether less is left than work that has begun may need. What cannot be read is no reason to refuse anything.
    fn is_near(&self) -> bool {
        let mut text = [0; 4096];
        let read = self.used.read_at(&mut text, 0).unwrap_or(0);
        let used = std::str::from_utf8(&text[..read]).ok().and_then(self.read);
        used.is_some_and(|used| used.saturating_add(HEADROOM.min(self.most / 3)) > self.most)
    }
}

/// The limit of the address space.
fn address_space() -> Option<Limit> {
    address_space_of(getrlimit(Resource::As).current?).ok()
}

/// /proc/self/statm tells in pages what is used of it (proc_pid_statm(5)).
fn address_space_of(most: u64) -> io::Result<Limit> {
    Limit::new(most, "/proc/self/statm".into(), |text| {
        let pages = text.split(' ').next()?.parse::<u64>().ok()?;
        pages.checked_mul(rustix::param::page_size() as u64)
    })
}

/// The limits of the control groups that the process is in: its own, and those above. Of what they use, files in the page
/// cache do not count: they make room.
fn control_groups() -> Vec<Limit> {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.lines().flat_map(|line| limits_of(line, Path::new("/sys/fs/cgroup"))).collect()
}

/// The limits that a line of /proc/self/cgroup leads to: `0::/path` of the unified hierarchy, or `4:memory:/path` of the older.
fn limits_of(line: &str, mount: &Path) -> Vec<Limit> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (top, limit, read): (_, _, fn(&str) -> Option<u64>) = match controllers {
        "" => (mount.to_owned(), "memory.max", |text| field(text, "anon ")),
        "memory" => (mount.join("memory"), "memory.limit_in_bytes", |text| field(text, "total_rss ")),
        _ => return Vec::new(),
    };
    let own = top.join(path.trim_start_matches('/'));
    let groups = own.ancestors().take_while(|group| group.starts_with(&top));
    let limits = groups.filter_map(|group| {
        // One without a limit says `max`, or a number beyond all memory.
        let most = std::fs::read_to_string(group.join(limit)).ok()?.trim().parse().ok()?;
        (most < 1 << 60).then(|| Limit::new(most, group.join("memory.stat"), read).ok())?
    });
    limits.collect()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_control_group_and_of_those_above_are_found() {
        let mount = tempfile::tempdir().unwrap();
        let own = mount.path().join("outer/inner");
        std::fs::create_dir_all(&own).unwrap();
        let write = |group: &Path, limit: &str, anon: u64| {
            std::fs::write(group.join("memory.max"), limit).unwrap();
            std::fs::write(group.join("memory.stat"), format!("anon {anon}\nfile 99999999999\n")).unwrap();
        };
        write(&own, "max\n", 50 << 20);
        write(own.parent().unwrap(), "104857600\n", 50 << 20);
        let limits = limits_of("0::/outer/inner", mount.path());
        assert_eq!(limits.iter().map(|limit| limit.most).collect::<Vec<_>>(), [100 << 20]);
        let memory = Memory { limits, ..Memory::default() };
        assert!(!memory.is_short());
        write(own.parent().unwrap(), "104857600\n", 90 << 20);
        *memory.looked.lock().unwrap() = None;
        assert!(memory.is_short());
        assert!(limits_of("1:cpu:/outer/inner", mount.path()).is_empty());
        assert!(limits_of("0::/elsewhere", mount.path()).is_empty());
    }

    #[test]
    fn a_process_without_limits_is_never_short_and_one_that_uses_its_address_space_up_is() {
        assert!(!Memory::default().is_short());
        assert!(!address_space_of(u64::MAX).unwrap().is_near());
        assert!(address_space_of(1 << 20).unwrap().is_near());
    }
}
