//! So many bytes a second, for some connections together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much time may be saved up by silence, and is then spent at once.
const BURST: Duration = Duration::from_millis(250);

/// The fewest and the most bytes that move at a time. The fewest, so that a byte is not a system call; the most, so that
/// a large buffer is no burst of its own.
const STEP: std::ops::RangeInclusive<u64> = 1024..=256 * 1024;

/// How many bytes a second move through the [`Socket`](crate::Socket)s that share it, in both directions together, with all
/// that is around the files. They take turns.
#[derive(Debug)]
pub struct Throttle {
    rate: u64,
    /// Up to when all that moved so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    /// So many bytes a second; at least one.
    pub fn new(bytes_a_second: u64) -> Self {
        Self { rate: bytes_a_second.max(1), paid: Mutex::new(None) }
    }

    /// How many bytes may move at a time: a sixteenth of a second's.
    pub(crate) fn step(&self) -> usize {
        let step = (self.rate / 16).clamp(*STEP.start(), *STEP.end());
        usize::try_from(step).expect("a step is small")
    }

    /// Counts bytes that moved; tells when whoever moved them may go on.
    pub(crate) fn charge(&self, bytes: usize, now: Instant) -> Instant {
        let nanoseconds = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.rate);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        // Nothing can fail while the lock is held.
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let until = paid.map_or(earliest, |paid| paid.max(earliest)) + cost;
        *paid = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_move_so_many_bytes_a_second_and_take_turns() {
        let (throttle, start) = (Throttle::new(1000), Instant::now());
        let mut now = [start; 3];
        let mut moved = 0;
        for turn in 0..300 {
            moved += 100;
            // Whoever is to wait the longest was served last.
            now[turn % 3] = throttle.charge(100, now[turn % 3]).max(now[turn % 3]);
        }
        let took = now.into_iter().max().unwrap() - start;
        assert_eq!(took, Duration::from_millis(moved) - BURST);
    }

    #[test]
    fn silence_saves_up_no_more_than_a_burst() {
        let (throttle, start) = (Throttle::new(1000), Instant::now());
        throttle.charge(1000, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(throttle.charge(1000, later), later + Duration::from_secs(1) - BURST);
    }

    #[test]
    fn steps_are_neither_bytes_nor_bursts() {
        for (rate, step) in [(0, 1024), (64 << 10, 4096), (u64::MAX, 256 * 1024)] {
            assert_eq!(Throttle::new(rate).step(), step);
        }
    }
}
