//! How far slow work is, and a way to stop it: for work on one thread that another looks after.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts bytes that are done, and can tell the work to stop.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    stop: Arc<AtomicBool>,
}

impl Meter {
    /// A meter whose work ends when `stop` is set.
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Self { done: AtomicU64::new(0), stop }
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
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted"));
        }
        Ok(())
    }
}
