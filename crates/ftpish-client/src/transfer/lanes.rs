//! The lanes of a transfer: its connections. Files wait in one queue, and each lane takes what it has room for. The first lane
//! is the caller's own connection; the others are opened, each on a thread of its own, when there is enough to do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use ftpish_protocol::Error as ProtocolError;

use super::lane::{Answer, Lane, Moving};
use super::parts::{Guest, InParts, SPLIT_FROM};
use super::scaling::{Change, Scaling};
use crate::client::Options;
use crate::Way;
use crate::{Client, Error, Progress};

/// What every open lane must have in flight, by [`Moving::cost`], before another one is opened: less is done by the time
/// that it takes.
const OPEN_FROM: u64 = 1024 * 1024;

/// What a lane takes at the most while there are others, or may be.
const MOST_TAKEN: u64 = 64 * 1024 * 1024;

/// The same while the number of lanes may grow: more than is on its way over a long line.
const MOST_WHILE_GROWING: u64 = 16 * 1024 * 1024;

/// How many files wait at the most.
const MOST_WAITING: usize = 1024;

/// Which lane is the caller's own connection.
const FIRST: usize = 0;

/// What to call a file by: a number of the caller's.
pub(crate) type Tag = u64;

/// What became of a file.
pub(crate) type Outcome = (Tag, Result<Answer, Error>);

/// A file to be moved.
struct Work {
    tag: Tag,
    file: Moving,
}

impl Work {
    fn into_unmoved(self) -> Outcome {
        (self.tag, Err(Error::Connection(ProtocolError::Closed)))
    }
}

/// What the lanes of a transfer share.
pub(crate) struct Lanes {
    progress: Progress,
    way: Way,
    /// How many bytes the server has acknowledged.
    stored: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// How many lanes there may be beside the first.
    most: usize,
    scaling: Scaling,
    /// How many lanes there are to be whatever comes of them: a large file must not keep the first from all else.
    least: usize,
    /// How to open another lane.
    options: Option<Options>,
    /// Connections that were there before.
    idle: Vec<Client>,
    /// The lanes by their numbers. One that has ended stays.
    lanes: Vec<Place>,
    /// Files that any lane may take.
    waiting: VecDeque<Work>,
    /// Large files that no lane has begun.
    large: VecDeque<Work>,
    /// Large files whose parts any lane may take.
    begun: Vec<Arc<dyn InParts>>,
    /// How many files other lanes than the first have taken, and not answered.
    out: usize,
    answers: VecDeque<Outcome>,
    /// Whether nothing more is begun.
    ended: bool,
    panicked: bool,
}

/// A lane, as the others see it.
#[derive(Default)]
struct Place {
    is_open: bool,
    /// What it has in flight, by [`Moving::cost`], when it last looked for more.
    load: u64,
    /// None for the first lane.
    thread: Option<JoinHandle<Option<Client>>>,
}

/// What a lane does that has nothing in flight.
enum Next {
    /// Take a file that waits.
    File,
    /// Begin a large file.
    Large(Box<Work>),
    /// Move parts of one that is begun.
    Parts(Guest),
    End,
}

impl State {
    /// How many lanes there are to be, the first among them.
    fn wanted(&self) -> usize {
        self.scaling.wanted().max(self.least)
    }

    fn may_open(&self) -> bool {
        self.lanes.len() <= self.most && self.lanes.len() < self.wanted() && !self.ended
    }

    /// Whether another lane would have something to do.
    fn wants_another(&self) -> bool {
        let mut open = self.lanes.iter().filter(|lane| lane.is_open);
        !self.large.is_empty()
            || self.begun.iter().any(|file| file.parts().has_left())
            || !self.waiting.is_empty() && open.all(|lane| lane.load >= OPEN_FROM)
    }

    /// The least that another open lane has in flight; none where there is no other.
    fn least_of_others(&self, lane: usize) -> Option<u64> {
        let others = self.lanes.iter().enumerate().filter(|(number, other)| *number != lane && other.is_open);
        others.map(|(_, other)| other.load).min()
    }

    /// Whether a lane may take a file that waits: what it takes, no other lane can.
    fn may_take(&self, lane: usize) -> bool {
        let (load, least) = (self.lanes[lane].load, self.least_of_others(lane));
        let may_grow = self.lanes.len() <= self.most && (self.scaling.is_open() || self.may_open());
        if least.is_none() && !may_grow {
            return true;
        }
        let most = if self.scaling.is_open() { MOST_WHILE_GROWING } else { MOST_TAKEN };
        load < OPEN_FROM || load < most && least.is_none_or(|least| load <= least)
    }

    /// Whether a lane is one too many.
    fn is_surplus(&self, lane: usize) -> bool {
        lane >= self.wanted() && lane != FIRST
    }
}

impl Lanes {
    /// The lanes of what moves over `first`: that one alone, as long as there is not more to do.
    pub(crate) fn new(first: &mut Client, way: Way, progress: &Progress) -> Arc<Self> {
        let jobs = first.jobs();
        Arc::new(Self {
            progress: progress.beside(),
            way,
            stored: AtomicU64::new(0),
            state: Mutex::new(State {
                most: jobs.most() - 1,
                scaling: Scaling::new(jobs),
                least: 1,
                options: None,
                idle: std::iter::from_fn(|| first.idle()).collect(),
                lanes: vec![Place { is_open: true, ..Place::default() }],
                waiting: VecDeque::new(),
                large: VecDeque::new(),
                begun: Vec::new(),
                out: 0,
                answers: VecDeque::new(),
                ended: false,
                panicked: false,
            }),
            changed: Condvar::new(),
        })
    }

    /// Whether the first lane is the only one, and stays so.
    pub(crate) fn is_alone(&self) -> bool {
        self.state().most == 0
    }

    /// Counts bytes that the server has acknowledged, or, modulo 2^64, has not.
    pub(crate) fn count(self: &Arc<Self>, more: u64) {
        self.stored.fetch_add(more, Ordering::Relaxed);
        if more > 0 && !self.is_alone() {
            self.scale();
        }
    }

    /// Looks whether another lane is of use, or the last one was of none.
    fn scale(self: &Arc<Self>) {
        // Of what is sent, that alone has arrived which was answered; the rest may be anywhere on its way.
        let moved = match self.way {
            Way::Get => self.progress.done(),
            Way::Put => self.stored.load(Ordering::Relaxed),
        };
        let left = self.progress.total().map(|total| total.saturating_sub(self.progress.done()));
        let mut state = self.state();
        match state.scaling.sample(Instant::now(), moved, left) {
            Change::Back => self.changed.notify_all(),
            Change::Another | Change::Nothing => {}
        }
        self.open(&mut state);
    }

    /// Opens as many lanes as are wanted.
    fn open(self: &Arc<Self>, state: &mut State) {
        while state.may_open() && state.wants_another() {
            let Some(options) = state.options.clone() else { return };
            let (number, idle) = (state.lanes.len(), state.idle.pop());
            let runner = Runner {
                lanes: Arc::clone(self),
                number,
                progress: self.progress.beside(),
                options,
                connected: idle,
                kept: 0,
            };
            let thread = std::thread::spawn(move || runner.run());
            state.lanes.push(Place { is_open: true, load: 0, thread: Some(thread) });
        }
    }

    /// Lets other lanes be opened like that of `client`, which may have to hear from the server before.
    fn offer(self: &Arc<Self>, client: &mut Client) -> Result<(), Error> {
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

    /// Whether another lane is to be opened now.
    fn is_short(&self, is_near: bool) -> bool {
        let mut state = self.state();
        if is_near {
            state.scaling.begin_near();
        }
        state.may_open() && state.wants_another()
    }

    /// Lets other lanes take parts of a file whose home is the lane of `client`.
    pub(crate) fn invite(
        self: &Arc<Self>,
        client: &mut Client,
        file: &Arc<dyn InParts>,
    ) -> Result<(), Error> {
        if self.is_alone() {
            return Ok(());
        }
        self.state().begun.push(Arc::clone(file));
        self.is_short(client.is_near());
        let offered = self.offer(client);
        self.notify();
        offered.inspect_err(|_| self.close(file))
    }

    /// Lets no more lanes come to a file.
    pub(crate) fn close(&self, file: &Arc<dyn InParts>) {
        self.state().begun.retain(|begun| !Arc::ptr_eq(begun, file));
    }

    /// Ends what is in flight, and begins nothing more. The connections are the first lane's then.
    pub(crate) fn end(&self, first: &mut Client) {
        let threads: Vec<_> = {
            let mut state = self.state();
            state.ended = true;
            state.begun.iter().for_each(|file| file.parts().stop());
            let unmoved: Vec<Work> = std::mem::take(&mut state.waiting).into();
            let unmoved = unmoved.into_iter().chain(std::mem::take(&mut state.large));
            let unmoved: Vec<Outcome> = unmoved.map(Work::into_unmoved).collect();
            state.answers.extend(unmoved);
            state.lanes.iter_mut().filter_map(|lane| lane.thread.take()).collect()
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

    /// Wakes lanes that wait.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Queues a file.
    fn push(&self, work: Work) {
        let mut state = self.state();
        if work.file.is_large() && state.most > 0 {
            state.least = 2;
            state.large.push_back(work);
        } else {
            state.waiting.push_back(work);
        }
        let has_others = state.lanes.len() > 1;
        drop(state);
        if has_others {
            self.notify();
        }
    }

    /// The next file for a lane that has room, and so much in flight.
    fn take(&self, lane: usize, load: u64) -> Option<Work> {
        let mut state = self.state();
        state.lanes[lane].load = load;
        if state.ended || state.is_surplus(lane) || !state.may_take(lane) {
            return None;
        }
        let work = state.waiting.pop_front()?;
        state.lanes[lane].load += work.file.cost();
        state.out += usize::from(lane != FIRST);
        Some(work)
    }

    /// What a lane is to do that has nothing in flight; it waits until there is something.
    fn next(&self, lane: usize, refused: &[Arc<dyn InParts>]) -> Next {
        let mut state = self.state();
        state.lanes[lane].load = 0;
        loop {
            if state.ended || state.is_surplus(lane) {
                return Next::End;
            }
            if !state.waiting.is_empty() {
                return Next::File;
            }
            if let Some(next) = Self::large(&mut state, lane, refused) {
                return next;
            }
            state = self.wait(state);
        }
    }

    /// The next large file, or one that is begun.
    fn large(state: &mut State, lane: usize, refused: &[Arc<dyn InParts>]) -> Option<Next> {
        if let Some(work) = state.large.pop_front() {
            state.lanes[lane].load += work.file.cost();
            state.out += usize::from(lane != FIRST);
            return Some(Next::Large(Box::new(work)));
        }
        let is_refused = |file: &Arc<dyn InParts>| refused.iter().any(|other| Arc::ptr_eq(file, other));
        let begun = state.begun.iter().find(|file| file.parts().has_left() && !is_refused(file));
        begun.map(|file| Next::Parts(Guest::of(file)))
    }

    /// Whether a guest may take another part.
    fn may_stay(&self, lane: usize) -> bool {
        let state = self.state();
        let has_work = !state.waiting.is_empty() || lane == FIRST && !state.answers.is_empty();
        !(has_work || state.ended || state.is_surplus(lane))
    }

    /// Tells what became of a file that another lane than the first has taken.
    fn tell(&self, outcome: Outcome) {
        let mut state = self.state();
        state.out -= 1;
        state.answers.push_back(outcome);
        drop(state);
        self.notify();
    }

    /// Ends a lane.
    fn leave(&self, lane: usize) {
        let mut state = self.state();
        if !state.ended && !state.is_surplus(lane) {
            // What keeps it away would keep others away, too.
            state.most = state.lanes.len() - 1;
        }
        state.lanes[lane].is_open = false;
        state.panicked |= std::thread::panicking();
        drop(state);
        self.notify();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The transfer as its caller sees it: the first lane, and all others.
pub(crate) struct Transfer<'a> {
    /// The caller's own connection. Requests that are not for a file go over it, in order.
    pub(crate) first: Lane<'a>,
    lanes: Arc<Lanes>,
}

impl<'a> Transfer<'a> {
    /// One with nothing to do, where `moved` bytes have moved before.
    pub(crate) fn new(client: &'a mut Client, way: Way, progress: &'a Progress, moved: u64) -> Self {
        let lanes = Lanes::new(client, way, progress);
        Self { first: Lane::new(client, progress, &lanes, moved), lanes }
    }

    /// Moves a file over whichever lane has room.
    pub(crate) fn move_file(&mut self, tag: Tag, file: Moving) {
        self.lanes.push(Work { tag, file });
        if !self.lanes.is_alone() {
            self.lanes.scale();
            if self.lanes.is_short(self.first.client.is_near()) {
                // What ails the first lane is told where that is used.
                let _ = self.lanes.offer(self.first.client);
            }
        }
        while self.take() {}
    }

    /// Moves a file over the first lane, behind what was asked for there.
    pub(crate) fn move_in_order(&mut self, tag: Tag, file: Moving) {
        while !self.first.may_send(file.way()) {
            self.first.receive();
        }
        self.first.move_file(tag, file);
    }

    /// Whether the first lane is the only one, and stays so.
    pub(crate) fn is_alone(&self) -> bool {
        self.lanes.is_alone()
    }

    /// Whether other lanes would take a file that could only move in order over the first.
    pub(crate) fn is_better_held(&self, file: &Moving) -> bool {
        let state = self.lanes.state();
        let others = state.least_of_others(FIRST).is_some() || state.may_open();
        state.most > 0 && (file.is_large() || self.first.cost() >= OPEN_FROM && others)
    }

    /// Has the first lane take a file that waits, if it has room.
    fn take(&mut self) -> bool {
        if self.first.is_full() || !self.first.may_send(self.lanes.way) {
            return false;
        }
        let work = self.lanes.take(FIRST, self.first.cost());
        work.map(|Work { tag, file }| self.first.move_file(tag, file)).is_some()
    }

    /// Whether what is in flight, or waits, is to go on before there is more.
    pub(crate) fn is_full(&mut self) -> bool {
        self.lanes.state().waiting.len() >= MOST_WAITING || self.first.is_full()
    }

    /// Whether files wait, or are in flight on other lanes than the first.
    pub(crate) fn has_files(&self) -> bool {
        let state = self.lanes.state();
        state.out > 0 || !state.waiting.is_empty() || !state.large.is_empty()
    }

    /// Does what there is to do on the first lane, but begins nothing there that takes long; where there is nothing, waits for
    /// others.
    pub(crate) fn advance(&mut self) {
        if self.take() {
            return;
        }
        if !self.first.is_empty() {
            return self.first.advance();
        }
        let mut state = self.lanes.state();
        while state.answers.is_empty() && state.out > 0 && state.waiting.is_empty() && !state.panicked {
            state = self.lanes.wait(state);
        }
        assert!(!state.panicked, "another lane has panicked");
    }

    /// The same where all that is left to do is files: the first lane begins large ones, too, and takes parts of those that
    /// others have begun.
    pub(crate) fn finish_files(&mut self) {
        if self.take() {
            return;
        }
        if !self.first.is_empty() {
            return self.first.advance();
        }
        let mut state = self.lanes.state();
        let next = loop {
            assert!(!state.panicked, "another lane has panicked");
            if !state.answers.is_empty() || !state.waiting.is_empty() || state.ended {
                return;
            }
            if let Some(next) = Lanes::large(&mut state, FIRST, &[]) {
                break next;
            }
            if state.out == 0 {
                return;
            }
            state = self.lanes.wait(state);
        };
        drop(state);
        match next {
            Next::Large(work) => self.first.move_alone(work.tag, &work.file),
            Next::Parts(guest) => {
                guest.move_parts(self.first.client, &|| self.lanes.may_stay(FIRST));
            }
            Next::File | Next::End => {}
        }
    }

    /// What became of a file, and whether that is the first lane's answer.
    pub(crate) fn answer(&mut self) -> Option<(Outcome, bool)> {
        let first = self.first.answer().map(|outcome| (outcome, true));
        first.or_else(|| Some((self.lanes.state().answers.pop_front()?, false)))
    }

    /// Ends what is in flight, and begins nothing more. What became of the rest is [told](Self::answer) then.
    pub(crate) fn end(&mut self) {
        self.first.drain();
        self.lanes.end(self.first.client);
    }
}

/// A lane beside the first, on its own thread.
struct Runner {
    lanes: Arc<Lanes>,
    number: usize,
    progress: Progress,
    options: Options,
    /// A connection that is there.
    connected: Option<Client>,
    /// How many bytes the lane has moved for good.
    kept: u64,
}

/// Says that a lane has ended, be it by a panic.
struct Leaving<'a>(&'a Lanes, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

impl Runner {
    /// Works until nothing more is to be done, over one connection after the other, as long as each is of some use. The last
    /// of them is there for a next time.
    fn run(mut self) -> Option<Client> {
        let lanes = Arc::clone(&self.lanes);
        let _leaving = Leaving(&lanes, self.number);
        while self.waits_for_work() {
            let Ok(mut client) = self.connect() else { return None };
            let is_of_use = self.serve(&mut client);
            self.connected = Some(client).filter(|client| !client.broken);
            if !is_of_use && self.connected.is_none() {
                break;
            }
        }
        self.connected.take()
    }

    /// Waits until there is something to connect for.
    fn waits_for_work(&self) -> bool {
        let mut state = self.lanes.state();
        loop {
            if state.ended || state.is_surplus(self.number) {
                return false;
            }
            if !state.waiting.is_empty()
                || !state.large.is_empty()
                || state.begun.iter().any(|file| file.parts().has_left())
            {
                return true;
            }
            state = self.lanes.wait(state);
        }
    }

    fn connect(&mut self) -> Result<Client, Error> {
        let mut client = match self.connected.take() {
            Some(client) => client,
            None => Client::connect(&self.options)?,
        };
        if self.options.login.is_some() {
            // Whoever is not let in is refused all else, and that would be no answer to the files.
            client.greet()?;
        }
        Ok(client)
    }

    /// Works until the connection breaks or nothing more is to be done; whether it was of any use.
    fn serve(&mut self, client: &mut Client) -> bool {
        let lanes = Arc::clone(&self.lanes);
        let mut lane = Lane::new(client, &self.progress, &lanes, self.kept);
        let (mut is_of_use, mut refused) = (false, Vec::new());
        loop {
            is_of_use |= self.tell_all(&mut lane);
            if lane.client.broken {
                break;
            }
            if lane.is_full() {
                lane.receive();
            } else if let Some(Work { tag, file }) = lanes.take(self.number, lane.cost()) {
                lane.move_file(tag, file);
            } else if !lane.is_empty() {
                lane.advance();
            } else {
                match lanes.next(self.number, &refused) {
                    Next::File => {}
                    Next::Large(work) => lane.move_alone(work.tag, &work.file),
                    Next::Parts(guest) => {
                        // A server that turns this connection away has to say so before a body leaves.
                        let _ = lane.client.greet();
                        if !guest.move_parts(lane.client, &|| lanes.may_stay(self.number)) {
                            refused.push(Arc::clone(guest.file()));
                        }
                        is_of_use |= !lane.client.broken;
                    }
                    Next::End => break,
                }
            }
        }
        lane.drain();
        is_of_use |= self.tell_all(&mut lane);
        self.kept = lane.kept();
        self.progress.fall_back(self.kept);
        is_of_use
    }

    /// Tells what became of files; whether any of them was moved.
    fn tell_all(&self, lane: &mut Lane<'_>) -> bool {
        let mut is_of_use = false;
        while let Some(outcome) = lane.answer() {
            is_of_use |= outcome.1.is_ok();
            self.lanes.tell(outcome);
        }
        is_of_use
    }
}

impl Moving {
    /// Whether it takes a lane for long.
    fn is_large(&self) -> bool {
        self.size() >= SPLIT_FROM
    }
}
