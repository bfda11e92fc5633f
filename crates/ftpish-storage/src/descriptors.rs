//! File descriptors, of which a process has a limited number (getrlimit(2), `RLIMIT_NOFILE`): files that are being stored share
//! a part of them, and what finds none waits for those that are about to be free.

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ftpish_protocol::Refusal;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long to wait for a descriptor, and how often it is tried meanwhile.
const PATIENCE: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_millis(10);

/// How many files are being stored in this process.
static STORED: AtomicUsize = AtomicUsize::new(0);

/// How many of them there may be until each is finished before the next.
static SHARE: LazyLock<usize> = LazyLock::new(|| limit() / 4);

/// How many descriptors this process may have.
pub fn limit() -> usize {
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Lets this process have as many descriptors as the system lets it.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where that is refused, it goes on with less.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Whether files that are being stored are to be finished before more are begun.
pub fn are_scarce() -> bool {
    STORED.load(Ordering::Relaxed) >= *SHARE
}

/// Tries until there is a descriptor for it, for a while.
pub fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(refusal) if refusal.is_out_of_descriptors() && Instant::now() < until => {
                std::thread::sleep(EVERY);
            }
            done => return done,
        }
    }
}

/// [`patiently`], for what has yet to become a refusal.
pub(crate) fn open_patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    patiently(|| attempt().map_err(crate::refuse)).map_err(Refusal::into_io)
}

/// A file that is being stored, as long as it has a descriptor.
#[derive(Debug)]
pub(crate) struct Stored;

impl Stored {
    pub(crate) fn begin() -> Self {
        STORED.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        STORED.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_finds_no_descriptor_tries_again_and_no_other_error_is_waited_for() {
        for (code, tries) in [(24, 3), (23, 3), (2, 1)] {
            let mut left = 3;
            let done = patiently(|| {
                left -= 1;
                if left > 0 { Err(Refusal::from_io(&io::Error::from_raw_os_error(code))) } else { Ok(()) }
            });
            assert_eq!((done.is_ok(), 3 - left), (tries == 3, tries), "{code}");
        }
    }
}
