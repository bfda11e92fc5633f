//! How far slow work is, and a way to stop it: for work on one thread that another looks after.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts bytes that are done, and can tell the work to stop.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    stop: AtomicBool,
    /// Set from outside, and never here: it is others' flag, too.
    interrupted: Arc<AtomicBool>,
}

impl Meter {
    /// A meter whose work ends when `interrupted` is set, too.
    pub fn stopped_by(interrupted: Arc<AtomicBool>) -> Self {
        Self { interrupted, ..Self::default() }
    }

    /// How many bytes are done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the work at its next step.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Notes that `bytes` more are done; an error where the work is to end.
    pub fn add(&self, bytes: u64) -> io::Result<()> {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        if self.stop.load(Ordering::Relaxed) || self.interrupted.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_when_it_is_told_to_or_interrupted_and_one_is_not_the_other() {
        let interrupted = Arc::new(AtomicBool::new(false));
        let (first, second) =
            (Meter::stopped_by(Arc::clone(&interrupted)), Meter::stopped_by(Arc::clone(&interrupted)));
        first.stop();
        assert!(first.add(1).is_err() && second.add(1).is_ok());
        interrupted.store(true, Ordering::Relaxed);
        assert!(second.add(1).is_err());
    }
}
