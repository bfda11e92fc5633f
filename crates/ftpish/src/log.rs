//! The server's log on standard error. It may be slow, stuck or full: no line is waited for, and none fails a request. What
//! could not be written is counted, and the count is written once that can be done again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How many lines wait to be written at the most, of some 100 bytes each: a second of a very busy server at its most talkative.
const WAITING: usize = 4096;

/// For how long the end of the server waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where lines wait until a thread of its own writes them.
#[derive(Clone, Default)]
pub struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// How many lines there was no room for, or that could not be written.
    lost: u64,
    /// Whether a line is being written.
    is_writing: bool,
    /// Whether there is a thread that writes.
    is_started: bool,
}

impl Log {
    /// Starts the thread that writes to `out`. Lines that came before have waited for it.
    pub fn start(&self, out: impl Write + Send + 'static) -> io::Result<()> {
        let log = self.clone();
        self.lock().is_started = true;
        std::thread::Builder::new().name("log".to_owned()).spawn(move || log.write_to(out)).map(drop)
    }

    /// Waits a little until all lines are written, or lost. If it was not started, lines are written to `out` now.
    pub fn finish(&self, out: impl Write + Send + 'static) {
        if !self.lock().is_started && self.start(out).is_err() {
            return;
        }
        let is_busy = |queue: &mut Queue| !queue.lines.is_empty() || queue.is_writing;
        drop(self.0.changed.wait_timeout_while(self.lock(), LAST_LINES, is_busy));
    }

    /// Has a panic told of in the log, and not by the standard library, which would wait for standard error.
    pub fn take_panics() {
        std::panic::set_hook(Box::new(|panic| tracing::error!("a bug, please report it: {panic}")));
    }

    fn write_to(&self, mut out: impl Write) {
        loop {
            let line = {
                let idle = |queue: &mut Queue| queue.lines.is_empty();
                let waited = self.0.changed.wait_while(self.lock(), idle);
                let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
                queue.is_writing = true;
                queue.lines.pop_front().unwrap_or_default()
            };
            let is_written = out.write_all(&line).is_ok();
            let lost = {
                let mut queue = self.lock();
                queue.lost += u64::from(!is_written);
                if is_written { std::mem::take(&mut queue.lost) } else { 0 }
            };
            if lost > 0 && writeln!(out, "{lost} lines of the log could not be written").is_err() {
                self.lock().lost += lost;
            }
            self.lock().is_writing = false;
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No call that is made while it is held panics.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line on its way to the log.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.lock();
        if queue.lines.len() < WAITING {
            queue.lines.push_back(line.to_vec());
        } else {
            queue.lost += 1;
        }
        drop(queue);
        self.0.changed.notify_all();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Log;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Takes a line when it is told to, and fails when it is told to.
    struct Gate {
        orders: Receiver<bool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.orders.recv().unwrap_or(true) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Log, SyncSender<bool>, Arc<Mutex<Vec<u8>>>) {
        let (log, written) = (Log::default(), Arc::default());
        let (order, orders) = sync_channel(0);
        log.start(Gate { orders, written: Arc::clone(&written) }).unwrap();
        (log, order, written)
    }

    fn text(written: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_count_is_written_once() {
        let (log, order, written) = gated();
        for (line, is_written) in [("a\n", true), ("b\n", false), ("c\n", false), ("d\n", true)] {
            (&log).write_all(line.as_bytes()).unwrap();
            order.send(is_written).unwrap();
        }
        drop(order);
        (&log).write_all(b"e\n").unwrap();
        log.finish(io::sink());
        assert_eq!(text(&written), "a\nd\n2 lines of the log could not be written\ne\n");
    }

    #[test]
    fn a_log_that_is_stuck_holds_nobody_up() {
        let (log, order, written) = gated();
        // One may be on its way already.
        for _ in 0..WAITING + 11 {
            (&log).write_all(b"line\n").unwrap();
        }
        drop(order);
        log.finish(io::sink());
        let written = text(&written);
        assert!(matches!(written.matches("line\n").count(), WAITING | WAITING_AND_ONE), "{}", written.len());
        assert_eq!(written.matches("could not be written").count(), 1);
    }

    const WAITING_AND_ONE: usize = WAITING + 1;

    #[test]
    fn lines_of_a_server_that_never_started_are_written_at_its_end() {
        let (log, written) = (Log::default(), Arc::default());
        (&log).write_all(b"why\n").unwrap();
        let (order, orders) = sync_channel(0);
        drop(order);
        log.finish(Gate { orders, written: Arc::clone(&written) });
        assert_eq!(text(&written), "why\n");
    }
}
