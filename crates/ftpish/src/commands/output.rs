//! Standard output for the bytes of files. Whoever reads it may pause: a pager, a slow disk. Then the server is told that this
//! end is alive, so that the transfer goes on when the reader does.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::failure::Failure;

/// How many bytes wait to be written at the most.
const WAITING: usize = 1024 * 1024;

/// How long a write waits for the reader, until the server is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Standard output, or what stands for it, behind a thread that writes; and what went wrong with it.
pub struct Output {
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    blocks: VecDeque<Vec<u8>>,
    /// How many bytes are in `blocks`, and in the one that is being written.
    waiting: usize,
    error: Option<io::ErrorKind>,
    /// Nothing more comes.
    ended: bool,
}

impl Output {
    pub fn standard() -> io::Result<Self> {
        Self::new(io::stdout(), PATIENCE)
    }

    fn new(out: impl Write + Send + 'static, patience: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writing = Arc::clone(&shared);
        std::thread::Builder::new().name("output".to_owned()).spawn(move || writing.write_to(out))?;
        Ok(Self { shared, patience })
    }

    /// Whose fault a transfer's error was, once all that came is written.
    pub fn outcome<T>(self, got: Result<T, ftpish_client::Error>, tried: &str) -> Result<T, Failure> {
        let is_busy = |queue: &mut Queue| queue.waiting > 0 && queue.error.is_none();
        let waited = self.shared.changed.wait_while(self.shared.lock(), is_busy);
        match waited.unwrap_or_else(PoisonError::into_inner).error {
            Some(kind) => Err(Failure::output(&kind.into())),
            None => got.map_err(|error| Failure::client(tried, error)),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn write_to(&self, mut out: impl Write) {
        loop {
            let idle = |queue: &mut Queue| queue.blocks.is_empty() && !queue.ended;
            let waited = self.changed.wait_while(self.lock(), idle);
            let block = waited.unwrap_or_else(PoisonError::into_inner).blocks.pop_front();
            let Some(block) = block else { return };
            let written = out.write_all(&block).and_then(|()| out.flush());
            let mut queue = self.lock();
            queue.waiting -= block.len();
            if let Err(error) = written {
                queue.error = Some(error.kind());
            }
            drop(queue);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No call that is made while it is held panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_full = |queue: &mut Queue| queue.waiting >= WAITING && queue.error.is_none();
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), self.patience, is_full);
        let (mut queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) = queue.error {
            return Err(kind.into());
        }
        if timeout.timed_out() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        queue.blocks.push_back(bytes.to_vec());
        queue.waiting += bytes.len();
        drop(queue);
        self.shared.changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// Takes a block when it is told to.
    struct Pager(Receiver<io::Result<()>>, Arc<Mutex<Vec<u8>>>);

    impl Write for Pager {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().unwrap_or(Ok(()))?;
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_pauses_is_told_of_and_loses_nothing() {
        let (go_on, told) = channel();
        let read = Arc::new(Mutex::new(Vec::new()));
        let mut output = Output::new(Pager(told, Arc::clone(&read)), Duration::from_millis(1)).unwrap();
        let mut sent = 0;
        let paused = loop {
            match output.write(&vec![7; WAITING / 2]) {
                Ok(count) => sent += count,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!((paused, sent), (io::ErrorKind::WouldBlock, WAITING));
        assert_eq!(output.write(b"x").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(go_on);
        while output.write(b"the end").is_err() {}
        output.outcome(Ok(()), "").unwrap();
        assert_eq!(read.lock().unwrap().len(), sent + 7);
    }

    #[test]
    fn a_reader_that_has_seen_enough_ends_it() {
        let (go_on, told) = channel();
        let mut output = Output::new(Pager(told, Arc::default()), Duration::from_secs(20)).unwrap();
        go_on.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        let error = loop {
            if let Err(error) = output.write(&[0; 1000]) {
                break error.kind();
            }
        };
        assert_eq!(error, io::ErrorKind::BrokenPipe);
        assert!(output.outcome(Ok(()), "").unwrap_err().is_broken_pipe());
    }
}
