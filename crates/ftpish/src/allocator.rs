//! The C library's allocator, set up for a server of many threads: glibc reads its settings (mallopt(3)) from the environment
//! when a program starts, so the server starts itself anew with them.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Resource, getrlimit};

/// Where glibc looks for its settings ("Tunables" in its manual). Whoever sets it knows better.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// From how many bytes on an allocation is a mapping of its own, which is given back to the system when it is freed: all
/// buffers of files that move. By default this grows to 32 MiB, and 500 clients that moved 4 MiB each left 40 MiB more.
const MMAP_THRESHOLD: u32 = 64 * 1024;

/// How many arenas there are. By default each thread gets one, up to eight for each core, and each keeps what was freed in it.
const ARENAS: u32 = 8;

/// How many where the address space is limited (ulimit -v): each but the first takes 64 MiB of it.
const FEW_ARENAS: u32 = 1;

/// Starts the program anew, as the same process, with these settings, unless it was; where that cannot be, it goes on without.
pub fn set_up() {
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) || std::env::var_os(TUNABLES).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let is_limited = getrlimit(Resource::As).current.is_some();
    let arenas = if is_limited { FEW_ARENAS } else { ARENAS };
    let tunables = format!("glibc.malloc.mmap_threshold={MMAP_THRESHOLD}:glibc.malloc.arena_max={arenas}");
    let error = Command::new(program).arg0(name).args(words).env(TUNABLES, tunables).exec();
    tracing::debug!(%error, "cannot set up the allocator");
}
