//! What is known of the lanes and the files, and what follows from it: who may take what, and whether another lane is of use.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::client::Options;
use crate::transfer::parts::{Guest, InParts};
use crate::transfer::piece::{Moving, Outcome, Tag};
use crate::transfer::scaling::Scaling;
use crate::{Client, Jobs};

/// What every open lane must have in flight, by [`Moving::cost`], before another one is opened: less is done by the time
/// that it takes.
pub(super) const OPEN_FROM: u64 = 1024 * 1024;

/// How far a lane may be ahead of the one with the least in flight, by [`Moving::cost`]. Without this slack, lanes wait for each
/// other after every file: 20,000 files of 2 KiB took 12 % longer over loopback.
const AHEAD: u64 = OPEN_FROM;

/// What a lane takes at the most while there are others, or may be.
const MOST_TAKEN: u64 = 64 * 1024 * 1024;

/// The same while the number of lanes may grow: more than is on its way over a long line.
const MOST_WHILE_GROWING: u64 = 16 * 1024 * 1024;

/// How many files wait at the most.
pub(super) const MOST_WAITING: usize = 1024;

/// Which lane is the caller's own connection.
pub(crate) const FIRST: usize = 0;

/// A file to be moved.
pub(crate) struct Work {
    pub(crate) tag: Tag,
    pub(crate) file: Moving,
}

/// What the lanes share.
pub(super) struct State {
    /// How many lanes there may be beside the first.
    pub(super) most: usize,
    pub(super) scaling: Scaling,
    /// How many lanes there are to be whatever comes of them: a large file must not keep the first from all else.
    pub(super) least: usize,
    /// How to open another lane.
    pub(super) options: Option<Options>,
    /// Connections that were there before.
    pub(super) idle: Vec<Client>,
    /// The lanes by their numbers. One that has ended stays.
    pub(super) lanes: Vec<Place>,
    /// Files that any lane may take.
    pub(super) waiting: VecDeque<Work>,
    /// Large files that no lane has begun.
    pub(super) large: VecDeque<Work>,
    /// Large files whose parts any lane may take.
    pub(super) begun: Vec<Arc<dyn InParts>>,
    /// How many files other lanes than the first have taken, and not answered.
    pub(super) out: usize,
    pub(super) answers: VecDeque<Outcome>,
    /// How many lanes wait for a change.
    pub(super) sleepers: usize,
    /// Whether nothing more is begun.
    pub(super) ended: bool,
    pub(super) panicked: bool,
}

/// A lane, as the others see it.
#[derive(Default)]
pub(super) struct Place {
    pub(super) is_open: bool,
    /// Whether it has a connection. One without has nothing in flight.
    pub(super) is_connected: bool,
    /// What it has in flight, by [`Moving::cost`], when it last looked for more.
    pub(super) load: u64,
    /// None for the first lane.
    pub(super) thread: Option<JoinHandle<Option<Client>>>,
}

/// What a lane does that has nothing in flight.
pub(crate) enum Next {
    /// Take a file that waits.
    File,
    /// Begin a large file.
    Large(Box<Work>),
    /// Move parts of one that is begun.
    Parts(Guest),
    /// Nothing: there is something to be told first, or all is done.
    End,
}

impl State {
    /// One lane, and nothing to do; `idle` are connections that are there for others.
    pub(super) fn new(jobs: Jobs, idle: Vec<Client>) -> Self {
        Self {
            most: jobs.most() - 1,
            scaling: Scaling::new(jobs),
            least: 1,
            options: None,
            idle,
            lanes: vec![Place { is_open: true, ..Place::default() }],
            waiting: VecDeque::new(),
            large: VecDeque::new(),
            begun: Vec::new(),
            out: 0,
            answers: VecDeque::new(),
            sleepers: 0,
            ended: false,
            panicked: false,
        }
    }

    /// How many lanes there are to be, the first among them.
    pub(super) fn wanted(&self) -> usize {
        self.scaling.wanted().max(self.least)
    }

    pub(super) fn may_open(&self) -> bool {
        self.lanes.len() <= self.most && self.lanes.len() < self.wanted() && !self.ended
    }

    /// Whether another lane would have something to do.
    pub(super) fn wants_another(&self) -> bool {
        let mut open = self.lanes.iter().filter(|lane| lane.is_open);
        !self.large.is_empty()
            || self.begun.iter().any(|file| file.parts().has_left())
            || !self.waiting.is_empty() && open.all(|lane| lane.load >= OPEN_FROM)
    }

    /// The least that another open lane has in flight; none where there is no other.
    pub(super) fn least_of_others(&self, lane: usize) -> Option<u64> {
        let others = self.lanes.iter().enumerate().filter(|(number, other)| *number != lane && other.is_open);
        others.map(|(_, other)| other.load).min()
    }

    /// Whether a lane may take a file that waits: what it takes, no other lane can.
    pub(super) fn may_take(&self, lane: usize) -> bool {
        let (load, least) = (self.lanes[lane].load, self.least_of_others(lane));
        let may_grow = self.lanes.len() <= self.most && (self.scaling.is_open() || self.may_open());
        if least.is_none() && !may_grow {
            return true;
        }
        let most = if self.scaling.is_open() { MOST_WHILE_GROWING } else { MOST_TAKEN };
        load < OPEN_FROM || load < most && least.is_none_or(|least| load <= least + AHEAD)
    }

    /// Whether a lane is one too many.
    pub(super) fn is_surplus(&self, lane: usize) -> bool {
        lane >= self.wanted() && lane != FIRST
    }

    /// Whether a lane that connects now has something to do.
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
            || !self.large.is_empty()
            || self.begun.iter().any(|file| file.parts().has_left())
    }

    /// The next large file for a lane, or one that is begun.
    pub(super) fn take_large(&mut self, lane: usize, refused: &[Arc<dyn InParts>]) -> Option<Next> {
        if let Some(work) = self.large.pop_front() {
            self.lanes[lane].load += work.file.cost();
            self.out += usize::from(lane != FIRST);
            return Some(Next::Large(Box::new(work)));
        }
        let is_refused = |file: &Arc<dyn InParts>| refused.iter().any(|other| Arc::ptr_eq(file, other));
        let begun = self.begun.iter().find(|file| file.parts().has_left() && !is_refused(file));
        begun.map(|file| Next::Parts(Guest::of(file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::piece::Outgoing;
    use crate::transfer::upload::Upload;

    /// Lanes with so much in flight, where there may be `jobs`; and files of these sizes that wait.
    fn state(jobs: Jobs, loads: &[u64], waiting: &[u64]) -> State {
        let mut state = State::new(jobs, Vec::new());
        state.lanes =
            loads.iter().map(|load| Place { is_open: true, load: *load, ..Place::default() }).collect();
        for (tag, size) in (0..).zip(waiting) {
            let upload = Upload::new("from", "to".parse().unwrap());
            let work = Work { tag, file: Moving::Put(Arc::new(Outgoing { upload, size: *size })) };
            if work.file.is_large() {
                state.large.push_back(work);
            } else {
                state.waiting.push_back(work);
            }
        }
        state
    }

    #[test]
    fn a_lane_far_ahead_leaves_the_next_file_to_another() {
        let check = |jobs, loads: &[u64], expected: &[bool]| {
            let state = state(jobs, loads, &[1]);
            let told: Vec<bool> = (0..loads.len()).map(|lane| state.may_take(lane)).collect();
            assert_eq!(told, expected, "{loads:?}");
        };
        let two = Jobs::up_to(2);
        check(two, &[0, 0], &[true, true]);
        check(two, &[5 * OPEN_FROM, 2 * OPEN_FROM], &[false, true]);
        // Lanes do not wait for each other after every file.
        check(two, &[5 * OPEN_FROM, 5 * OPEN_FROM - AHEAD], &[true, true]);
        check(two, &[5 * OPEN_FROM, 5 * OPEN_FROM - AHEAD - 1], &[false, true]);
        // What is in flight anyway is no reason to wait.
        check(two, &[OPEN_FROM - 1, 0], &[true, true]);
        check(two, &[MOST_TAKEN, MOST_TAKEN], &[false, false]);
        check(Jobs::ONE, &[u64::MAX], &[true]);
        // What one lane takes now, another that is yet to be opened cannot.
        check(Jobs::growing_to(4), &[MOST_WHILE_GROWING], &[false]);
        check(Jobs::growing_to(4), &[MOST_WHILE_GROWING - 1], &[true]);
    }

    #[test]
    fn another_lane_is_of_use_where_all_have_much_or_a_large_file_waits() {
        let jobs = Jobs::up_to(3);
        let wants = |loads: &[u64], waiting: &[u64]| state(jobs, loads, waiting).wants_another();
        assert!(!wants(&[OPEN_FROM], &[]));
        assert!(wants(&[OPEN_FROM], &[1]));
        assert!(!wants(&[OPEN_FROM, OPEN_FROM - 1], &[1]));
        assert!(wants(&[0], &[1 << 30]), "the first lane is not to be kept by it");
    }

    #[test]
    fn there_are_no_more_lanes_than_may_be_and_one_that_has_ended_is_not_replaced() {
        let mut state = state(Jobs::up_to(3), &[0, 0], &[1 << 30]);
        assert!(state.may_open());
        state.lanes.push(Place::default());
        assert!(!state.may_open());
        assert!((0..3).all(|lane| !state.is_surplus(lane)) && state.is_surplus(3));
        state.ended = true;
        assert!(!state.may_open());
    }
}
