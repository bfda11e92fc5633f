//! What the lanes of a transfer share: the files that wait, the large files whose parts any lane may take, and how many lanes
//! there are. Each lane takes what it has room for. The first lane is the caller's own connection; the others are opened
//! when there is enough to do.

mod state;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ftpish_protocol::Error as ProtocolError;

pub(crate) use self::state::{FIRST, Next, Work};
use self::state::{MOST_WAITING, OPEN_FROM, Place, State};
use super::parts::{Home, InParts, Share, Watcher};
use super::piece::{Moving, Outcome};
use super::scaling::Change;
use crate::client::Options;
use crate::{Client, Error, Progress, Way};

/// How to reach the server on another lane.
pub(crate) struct Opening {
    pub(crate) number: usize,
    pub(crate) options: Options,
    /// A connection that is there.
    pub(crate) connected: Option<Client>,
    /// The lane's own.
    pub(crate) progress: Progress,
}

/// Runs a lane until nothing more is to be done; its connection is there for a next time.
pub(crate) type Run = fn(Board, Opening) -> Option<Client>;

/// A lane's handle of what all lanes share.
#[derive(Clone)]
pub(crate) struct Board(Arc<Shared>);

struct Shared {
    progress: Progress,
    way: Way,
    run: Run,
    /// How many bytes the server has acknowledged.
    stored: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

impl Board {
    /// One for what moves over `first`: that alone, as long as there is not more to do.
    pub(crate) fn new(first: &mut Client, way: Way, progress: &Progress, run: Run) -> Self {
        let jobs = first.jobs();
        Self(Arc::new(Shared {
            progress: progress.beside(),
            way,
            run,
            stored: AtomicU64::new(0),
            state: Mutex::new(State::new(jobs, std::iter::from_fn(|| first.idle()).collect())),
            changed: Condvar::new(),
        }))
    }

    /// Which way the files move.
    pub(crate) fn way(&self) -> Way {
        self.0.way
    }

    /// Whether the first lane is the only one, and stays so.
    pub(crate) fn is_alone(&self) -> bool {
        self.state().most == 0
    }

    /// Looks whether another lane is of use, or the last one was of none.
    fn sample(&self, state: &mut State) {
        if !state.scaling.is_open() {
            return;
        }
        // Of what is sent, that alone has arrived which was answered; the rest may be anywhere on its way.
        let done = self.0.progress.done();
        let moved = match self.0.way {
            Way::Get => done,
            Way::Put => self.0.stored.load(Ordering::Relaxed),
        };
        let left = self.0.progress.total().map(|total| total.saturating_sub(done));
        if state.scaling.sample(Instant::now(), moved, left) == Change::Back {
            self.wake(state);
        }
    }

    /// Opens as many lanes as are wanted.
    fn open(&self, state: &mut State) {
        while state.may_open() && state.wants_another() {
            let Some(options) = state.options.clone() else { return };
            let (number, connected) = (state.lanes.len(), state.idle.pop());
            let opening = Opening { number, options, connected, progress: self.0.progress.beside() };
            let (board, is_connected) = (self.clone(), opening.connected.is_some());
            let thread = std::thread::spawn(move || (board.0.run)(board.clone(), opening));
            state.lanes.push(Place { is_open: true, is_connected, load: 0, thread: Some(thread) });
        }
    }

    /// Lets other lanes be opened like that of `client`, which may have to hear from the server before.
    pub(crate) fn offer(&self, client: &mut Client) -> Result<(), Error> {
        let options = client.another();
        let mut state = self.state();
        match options {
            Ok(options) => state.options = Some(options),
            Err(error) => {
                state.most = state.lanes.len() - 1;
                return Err(error);
            }
        }
        self.open(&mut state);
        Ok(())
    }

    /// Queues a file, for a first lane that `is_near` the server or not. Whether another lane is to be opened for it.
    pub(crate) fn push(&self, work: Work, is_near: bool) -> bool {
        let mut state = self.state();
        if state.most == 0 {
            state.waiting.push_back(work);
            return false;
        }
        if work.file.is_large() {
            state.least = 2;
            state.large.push_back(work);
        } else {
            state.waiting.push_back(work);
        }
        self.wake(&state);
        if is_near {
            state.scaling.begin_near();
        }
        self.sample(&mut state);
        state.may_open() && state.wants_another()
    }

    /// Whether as many files wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.state().waiting.len() >= MOST_WAITING
    }

    /// Whether files wait, or are in flight on other lanes than the first.
    pub(crate) fn has_files(&self) -> bool {
        let state = self.state();
        state.out > 0 || !state.waiting.is_empty() || !state.large.is_empty()
    }

    /// Whether other lanes would take a file that could only move in order over the first, which has so much in flight.
    pub(crate) fn is_better_held(&self, file: &Moving, load: u64) -> bool {
        let state = self.state();
        let has_others = state.least_of_others(FIRST).is_some() || state.may_open();
        state.most > 0 && (file.is_large() || load >= OPEN_FROM && has_others)
    }

    /// The next file for a lane that has room, and so much in flight.
    pub(crate) fn take(&self, lane: usize, load: u64) -> Option<Work> {
        let mut state = self.state();
        state.lanes[lane].load = load;
        // A large file takes longest, so it begins first.
        let has_large = lane != FIRST && !state.large.is_empty();
        if state.ended || has_large || state.is_surplus(lane) || !state.may_take(lane) {
            return None;
        }
        let work = state.waiting.pop_front()?;
        state.lanes[lane].load += work.file.cost();
        state.out += usize::from(lane != FIRST);
        Some(work)
    }

    /// What another lane than the first is to do that has nothing in flight; it waits until there is something.
    pub(crate) fn next(&self, lane: usize, refused: &[Arc<dyn InParts>]) -> Next {
        let mut state = self.state();
        state.lanes[lane].load = 0;
        loop {
            if state.ended || state.is_surplus(lane) {
                return Next::End;
            }
            if !state.waiting.is_empty() && state.large.is_empty() {
                return Next::File;
            }
            if let Some(next) = state.take_large(lane, refused) {
                return next;
            }
            state = self.wait(state);
        }
    }

    /// What the first lane is to do that has nothing in flight, where all that is left to do is files; it waits for others
    /// until there is something, or something to tell.
    pub(crate) fn next_of_first(&self) -> Next {
        let mut state = self.state();
        state.lanes[FIRST].load = 0;
        loop {
            assert!(!state.panicked, "another lane has panicked");
            if !state.answers.is_empty() {
                return Next::End;
            }
            if !state.waiting.is_empty() {
                return Next::File;
            }
            if let Some(next) = state.take_large(FIRST, &[]) {
                return next;
            }
            if state.out == 0 {
                return Next::End;
            }
            state = self.wait(state);
        }
    }

    /// Waits until another lane has something to tell, or the first one something to do.
    pub(crate) fn wait_for_others(&self) {
        let mut state = self.state();
        while state.answers.is_empty() && state.out > 0 && state.waiting.is_empty() && !state.panicked {
            state = self.wait(state);
        }
        assert!(!state.panicked, "another lane has panicked");
    }

    /// Waits until there is something to connect for; `false` where nothing more is to be done.
    pub(crate) fn wait_for_work(&self, lane: usize) -> bool {
        let mut state = self.state();
        while !state.ended && !state.is_surplus(lane) {
            if state.has_work() {
                return true;
            }
            state = self.wait(state);
        }
        false
    }

    /// Says whether a lane has a connection.
    pub(crate) fn note_connected(&self, lane: usize, is_connected: bool) {
        self.state().lanes[lane].is_connected = is_connected;
    }

    /// Whether a guest may take another part.
    pub(crate) fn may_stay(&self, lane: usize) -> bool {
        let state = self.state();
        let has_work = !state.waiting.is_empty() || lane == FIRST && !state.answers.is_empty();
        !(has_work || state.ended || state.is_surplus(lane))
    }

    /// Tells what became of a file that another lane than the first has taken.
    pub(crate) fn tell(&self, outcome: Outcome) {
        let mut state = self.state();
        state.out -= 1;
        state.answers.push_back(outcome);
        self.wake(&state);
    }

    /// What another lane has told.
    pub(crate) fn answer(&self) -> Option<Outcome> {
        self.state().answers.pop_front()
    }

    /// Ends a lane.
    pub(crate) fn leave(&self, lane: usize) {
        let mut state = self.state();
        if !state.ended && !state.is_surplus(lane) {
            // What keeps it away would keep others away, too.
            state.most = state.lanes.len() - 1;
        }
        state.lanes[lane].is_open = false;
        state.panicked |= std::thread::panicking();
        self.wake(&state);
    }

    /// Lets other lanes take parts of a file whose home is the lane of `client`.
    pub(crate) fn invite(&self, client: &mut Client, file: &Arc<dyn InParts>) -> Result<(), Error> {
        {
            let mut state = self.state();
            if state.most == 0 || state.begun.iter().any(|begun| Arc::ptr_eq(begun, file)) {
                return Ok(());
            }
            state.begun.push(Arc::clone(file));
            if client.is_near() {
                state.scaling.begin_near();
            }
        }
        self.notify();
        self.offer(client)
    }

    /// Ends a file of which nothing comes.
    pub(crate) fn withdraw(&self, file: &dyn InParts) {
        file.parts().stop();
        self.close(file);
    }

    /// Lets no more lanes come to a file, and waits until they have left it.
    fn close(&self, file: &dyn InParts) {
        self.state().begun.retain(|begun| !std::ptr::addr_eq(Arc::as_ptr(begun), file));
        file.parts().wait_until_left();
    }

    /// Moves a file in parts whose home is the lane of `client`, with as many guests as come. An error of the lane's own, as
    /// far as that may pass, is the lane's; any other ends all.
    pub(crate) fn share(
        &self,
        client: &mut Client,
        file: &Arc<dyn InParts>,
        home: Home,
    ) -> Result<(), Error> {
        let led = self.invite(client, file).and_then(|()| lead(client, &**file, home));
        let parts = file.parts();
        if led.is_err() {
            parts.stop();
        }
        self.close(&**file);
        led.map_err(|error| parts.blame(error))?;
        parts.failure().map_or(Ok(()), Err)
    }

    /// Ends what is in flight, and begins nothing more. What was not begun is told of as not moved, and the connections are
    /// the first lane's.
    pub(crate) fn end(&self, first: &mut Client) {
        let threads: Vec<_> = {
            let mut state = self.state();
            state.ended = true;
            state.begun.iter().for_each(|file| file.parts().stop());
            let unmoved: Vec<Work> = std::mem::take(&mut state.waiting).into();
            let unmoved = unmoved.into_iter().chain(std::mem::take(&mut state.large));
            let why = || Error::Connection(ProtocolError::Closed);
            state.answers.extend(unmoved.map(|work| (work.tag, Err(why()))));
            // One that is about to connect is not waited for: it sees that all has ended.
            let connected = state.lanes.iter_mut().filter(|lane| lane.is_connected);
            connected.filter_map(|lane| lane.thread.take()).collect()
        };
        self.notify();
        for thread in threads {
            match thread.join() {
                Ok(client) => first.others.extend(client),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        first.others.append(&mut self.state().idle);
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.sleepers += 1;
        let mut state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.sleepers -= 1;
        state
    }

    /// Wakes lanes that wait. That takes a system call, and mostly there are none.
    fn wake(&self, state: &State) {
        if state.sleepers > 0 {
            self.0.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Board {
    fn count(&self, more: u64) {
        self.0.stored.fetch_add(more, Ordering::Relaxed);
        let mut state = self.state();
        if state.most > 0 {
            self.sample(&mut state);
            self.open(&mut state);
        }
    }

    fn notify(&self) {
        self.wake(&self.state());
    }
}

fn lead(client: &mut Client, file: &dyn InParts, home: Home) -> Result<(), Error> {
    loop {
        match file.move_parts(client, Share::Home) {
            Ok(()) if file.parts().wait() => {}
            Ok(()) => return Ok(()),
            Err(error) if home == Home::CanGo && error.may_pass() => {
                return if file.parts().wait_for_guests() { Ok(()) } else { Err(error) };
            }
            Err(error) => return Err(error),
        }
    }
}
