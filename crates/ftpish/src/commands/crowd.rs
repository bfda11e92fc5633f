//! What became of files that moved many at once, until each of them is reported in its turn.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use ftpish_client::{Error, Transferred};

/// What became of a file, and how long that took.
pub type Moved = (Result<Transferred, Error>, Duration);

/// The files of a crowd, by where they went.
pub struct Crowd<K> {
    moved: HashMap<K, Cell<Option<Moved>>>,
    /// Since when the next file is on its way.
    since: Instant,
}

impl<K: Eq + Hash> Crowd<K> {
    /// One of which nothing has moved.
    pub fn new() -> Self {
        Self { moved: HashMap::new(), since: Instant::now() }
    }

    /// Keeps in mind what became of a file. One that the connection broke under has a try of its own before it.
    pub fn note(&mut self, to: K, done: Result<Transferred, Error>) {
        let took = std::mem::replace(&mut self.since, Instant::now()).elapsed();
        if !done.as_ref().is_err_and(Error::may_pass) {
            self.moved.insert(to, Cell::new(Some((done, took))));
        }
    }

    /// What became of a file, told once.
    pub fn take(&self, to: &K) -> Option<Moved> {
        self.moved.get(to)?.take()
    }
}
