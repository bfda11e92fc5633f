//! What became of files that moved together, until each of them is reported in its turn.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use ftpish_client::{Error, Progress, Transferred};

use crate::progress;
use crate::ui::Ui;

/// The files of a crowd, by where they went.
pub struct Crowd<K> {
    moved: HashMap<K, Cell<Option<Result<Transferred, Error>>>>,
    /// Those that the connection broke under: they may be where they were to go.
    lost: HashSet<K>,
    /// How many arrived, and the bytes of all of them.
    arrived: (u64, u64),
    took: Duration,
}

impl<K: Eq + Hash> Crowd<K> {
    /// One of which nothing has moved.
    pub fn none() -> Self {
        Self { moved: HashMap::new(), lost: HashSet::new(), arrived: (0, 0), took: Duration::ZERO }
    }

    /// Moves `files` of them while a bar shows how far that is; `work` notes in the crowd what became of each.
    pub fn moved(ui: &Ui, files: usize, work: impl FnOnce(&mut Self, &Progress)) -> Self {
        let (began, mut crowd) = (Instant::now(), Self::none());
        progress::watch(ui, &format!("{files} files"), |progress| work(&mut crowd, progress));
        crowd.took = began.elapsed();
        crowd
    }

    /// Keeps in mind what became of a file. One that the connection broke under has a try of its own before it.
    pub fn note(&mut self, to: K, done: Result<Transferred, Error>) {
        if let Ok(done) = &done {
            self.arrived = (self.arrived.0 + 1, self.arrived.1 + done.size);
        }
        if done.as_ref().is_err_and(Error::may_pass) {
            self.lost.insert(to);
        } else {
            self.moved.insert(to, Cell::new(Some(done)));
        }
    }

    /// What became of a file, told once.
    pub fn take(&self, to: &K) -> Option<Result<Transferred, Error>> {
        self.moved.get(to)?.take()
    }

    /// Whether the connection broke before anybody was told what became of a file.
    pub fn has_lost(&self, to: &K) -> bool {
        self.lost.contains(to)
    }

    /// Says how fast they were, if there are any.
    pub fn sum_up(&self, ui: &Ui) {
        let (files, size) = self.arrived;
        if files > 0 {
            ui.arrived(files, size, self.took);
        }
    }
}

/// Those of several files that alone go where they go: who shares a name with another comes in turn.
pub fn alone<T, K: Eq + Hash>(files: Vec<T>, to: impl Fn(&T) -> &K) -> Vec<T> {
    let mut times: HashMap<&K, u32> = HashMap::new();
    files.iter().for_each(|file| *times.entry(to(file)).or_default() += 1);
    let single: Vec<bool> = files.iter().map(|file| times[to(file)] == 1).collect();
    files.into_iter().zip(single).filter_map(|(file, single)| single.then_some(file)).collect()
}
