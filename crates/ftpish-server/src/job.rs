//! Work that another thread does for a session, which is woken when it has ended.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;

use ftpish_protocol::Meter;

/// Work that was handed over.
pub(crate) struct Job<T> {
    end: Arc<Mutex<End<T>>>,
    /// How far it is, and a way to stop it.
    pub(crate) meter: Arc<Meter>,
}

/// What the work came to, and whom to wake then.
struct End<T> {
    outcome: Option<thread::Result<T>>,
    waker: Option<Waker>,
}

impl<T: Send + 'static> Job<T> {
    /// A job, and what does it. It may tell how many bytes are done, and can be told to stop.
    pub(crate) fn new(
        work: impl FnOnce(&Meter) -> T + Send + 'static,
    ) -> (Self, impl FnOnce() + Send + 'static) {
        let (end, meter) =
            (Arc::new(Mutex::new(End { outcome: None, waker: None })), Arc::new(Meter::default()));
        let job = Self { end: Arc::clone(&end), meter: Arc::clone(&meter) };
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&meter)));
            let waker = {
                let mut end = lock(&end);
                end.outcome = Some(outcome);
                end.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        (job, run)
    }
}

impl<T> Job<T> {
    /// Whether it has ended. Where it has not, whoever asked last is woken then.
    pub(crate) fn is_done_or_wakes(&self, waker: &Waker) -> bool {
        let mut end = lock(&self.end);
        if end.outcome.is_none() {
            end.waker = Some(waker.clone());
        }
        end.outcome.is_some()
    }

    /// What it came to, once it has ended. A panic goes on here.
    pub(crate) fn outcome(self) -> T {
        match lock(&self.end).outcome.take().expect("the job has ended") {
            Ok(outcome) => outcome,
            Err(panic) => resume_unwind(panic),
        }
    }
}

fn lock<T>(end: &Mutex<End<T>>) -> MutexGuard<'_, End<T>> {
    // No call that is made while it is held panics.
    end.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn whoever_waits_is_woken_once_when_the_work_has_ended() {
        let woken = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&woken));
        let (job, run) = Job::new(|meter| meter.add(7).map(|()| "done").unwrap());
        assert!(!job.is_done_or_wakes(&waker) && !job.is_done_or_wakes(&waker));
        run();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(job.is_done_or_wakes(&waker));
        assert_eq!((job.meter.done(), job.outcome()), (7, "done"));
    }

    #[test]
    fn a_panic_goes_on_where_the_outcome_is_taken_and_a_job_can_be_stopped() {
        let (job, run) = Job::<()>::new(|_| panic!("a defect"));
        run();
        assert!(catch_unwind(AssertUnwindSafe(|| job.outcome())).is_err());
        let (job, run) = Job::new(|meter| meter.add(1).is_err());
        job.meter.stop();
        run();
        assert!(job.outcome());
    }
}
