//! Slow work beside a connection, whose peer is told meanwhile that somebody is there.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use ftpish_protocol::Meter;

/// Does `work` on a second thread, and calls `tell` each time that so much of it has passed; where that fails, the work
/// is told to stop, and the error is the outcome.
pub fn attend<T: Send, E>(
    meter: &Meter,
    each: Duration,
    work: impl FnOnce(&Meter) -> T + Send,
    mut tell: impl FnMut(&Meter) -> Result<(), E>,
) -> Result<T, E> {
    let (finished, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // Dropped when the work ends, be it in a panic: that is what the wait ends at.
            let _finished = finished;
            work(meter)
        });
        let mut told = Ok(());
        while told.is_ok() && wait.recv_timeout(each) == Err(RecvTimeoutError::Timeout) {
            told = tell(meter);
        }
        if told.is_err() {
            meter.stop();
        }
        let done = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        told.map(|()| done)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    /// Works until it is told to stop.
    fn endless(meter: &Meter) {
        while meter.add(1).is_ok() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_peer_is_told_while_the_work_goes_on_and_a_peer_that_is_gone_ends_it() {
        let mut told = 0;
        let outcome = attend(&Meter::default(), SOON, endless, |_| {
            told += 1;
            if told < 3 { Ok(()) } else { Err("gone") }
        });
        assert_eq!((outcome, told), (Err("gone"), 3));
        let done = attend(&Meter::default(), Duration::from_secs(60), |_| 7, |_| Err("never told"));
        assert_eq!(done, Ok(7));
    }
}
