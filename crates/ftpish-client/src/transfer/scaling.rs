//! How many lanes a transfer has: as many as were asked for; or one to begin with, and another as long as the last one made
//! it faster.

use std::time::{Duration, Instant};

/// How many connections a transfer may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jobs {
    most: usize,
    grows: bool,
}

impl Jobs {
    /// One, whatever there is to do.
    pub const ONE: Self = Self { most: 1, grows: false };

    /// Up to so many, as soon as there is something to do for them; at least one.
    pub fn up_to(most: usize) -> Self {
        Self { most: most.max(1), grows: false }
    }

    /// One, or two where the server answers at once, and another as long as that makes it faster, up to so many.
    pub fn growing_to(most: usize) -> Self {
        Self { most: most.max(1), grows: most > 1 }
    }

    /// How many there are at the most.
    pub fn most(self) -> usize {
        self.most
    }
}

/// How many there are to begin with where another one costs little. Client and server are then busy at the same time, each
/// with what it hashes and encrypts: on two cores 1 GiB takes three quarters of the time that one connection takes.
const NEAR: usize = 2;

/// How long throughput is sampled before deciding whether to add a connection. Shorter transfers use one.
const SAMPLE: Duration = Duration::from_millis(500);

/// How long another connection may take to be at its speed.
const SETTLE: Duration = Duration::from_millis(500);

/// How much faster it must be with another connection, in percent of what it was.
const WORTH: u64 = 115;

/// How long what is left must take for another connection to be opened: as long as it takes to know whether that helps,
/// and to be at its speed before. What would end sooner ends later, in fact, by the round trip in which the first hears
/// that the other one has all of its part.
const WORTH_OPENING: Duration = Duration::from_millis(1500);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// Another connection may help.
    Another,
    /// The last one did not help.
    Back,
}

/// A transfer's number of connections, and what came of the last one.
#[derive(Debug)]
pub(crate) struct Scaling {
    jobs: Jobs,
    /// How many there are to be now.
    wanted: usize,
    /// Bytes in [`SAMPLE`], with one connection less.
    before: u64,
    /// From when on it is looked, and how many bytes had moved then; none while nothing has moved yet.
    since: Option<(Instant, u64)>,
    settling: bool,
}

impl Scaling {
    pub(crate) fn new(jobs: Jobs) -> Self {
        let wanted = if jobs.grows { 1 } else { jobs.most };
        Self { jobs, wanted, before: 0, since: None, settling: false }
    }

    /// The server answers at once, so that another connection costs little: there are [`NEAR`] to begin with.
    pub(crate) fn begin_near(&mut self) {
        if self.is_open() && self.wanted == 1 {
            self.wanted = NEAR.min(self.jobs.most);
        }
    }

    /// How many connections there are to be, the one that leads among them.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether their number may change.
    pub(crate) fn is_open(&self) -> bool {
        self.jobs.grows && self.jobs.most > 1
    }

    /// Takes into account that so many bytes have moved by now, and so many are left, where that is known.
    pub(crate) fn sample(&mut self, now: Instant, moved: u64, left: Option<u64>) -> Change {
        if !self.is_open() {
            return Change::Nothing;
        }
        let Some((since, had)) = self.since else {
            self.since = (moved > 0).then_some((now, moved));
            return Change::Nothing;
        };
        let took = now.saturating_duration_since(since);
        if took < if self.settling { SETTLE } else { SAMPLE } {
            return Change::Nothing;
        }
        self.since = Some((now, moved));
        if std::mem::take(&mut self.settling) || moved <= had {
            return Change::Nothing;
        }
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let speed = (moved - had).saturating_mul(SAMPLE.as_millis() as u64) / took;
        if speed.saturating_mul(100) < self.before.saturating_mul(WORTH) {
            self.jobs.grows = false;
            self.wanted -= 1;
            return Change::Back;
        }
        if self.wanted == self.jobs.most {
            self.jobs.grows = false;
            return Change::Nothing;
        }
        let soon = speed.saturating_mul(WORTH_OPENING.as_millis() as u64) / SAMPLE.as_millis() as u64;
        if left.is_some_and(|left| left < soon) {
            return Change::Nothing;
        }
        (self.before, self.wanted, self.settling) = (speed, self.wanted + 1, true);
        Change::Another
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done each time when it is looked twice a second, at these speeds.
    #[track_caller]
    fn check(jobs: Jobs, speeds: &[u64], wanted: &[usize]) {
        let (mut scaling, mut now, mut moved) = (Scaling::new(jobs), Instant::now(), 1);
        assert_eq!(scaling.sample(now, moved, None), Change::Nothing);
        let mut told = Vec::new();
        for speed in speeds {
            (now, moved) = (now + SAMPLE, moved + speed);
            let before = scaling.wanted();
            let expected = match scaling.sample(now, moved, None) {
                Change::Nothing => before,
                Change::Another => before + 1,
                Change::Back => before - 1,
            };
            assert_eq!(scaling.wanted(), expected);
            told.push(expected);
        }
        assert_eq!(told, wanted);
    }

    #[test]
    fn it_grows_while_that_helps_and_no_further_than_it_may() {
        check(
            Jobs::growing_to(4),
            &[100, 150, 200, 250, 300, 350, 400, 900, 900],
            &[2, 2, 3, 3, 4, 4, 4, 4, 4],
        );
    }

    #[test]
    fn near_by_it_begins_with_two_and_goes_on_from_there() {
        let near = |jobs| {
            let mut scaling = Scaling::new(jobs);
            scaling.begin_near();
            scaling.wanted()
        };
        assert_eq!(
            [Jobs::growing_to(8), Jobs::growing_to(2), Jobs::ONE, Jobs::up_to(3)].map(near),
            [2, 2, 1, 3]
        );
        let (mut scaling, now) = (Scaling::new(Jobs::growing_to(8)), Instant::now());
        scaling.begin_near();
        assert_eq!(scaling.sample(now, 1, None), Change::Nothing);
        assert_eq!((scaling.sample(now + SAMPLE, 100, None), scaling.wanted()), (Change::Another, 3));
        scaling.begin_near();
        assert_eq!(scaling.wanted(), 3);
    }

    #[test]
    fn what_is_about_to_end_has_no_other_connection() {
        for (left, told) in [(299, Change::Nothing), (300, Change::Another)] {
            let (mut scaling, now) = (Scaling::new(Jobs::growing_to(8)), Instant::now());
            assert_eq!(scaling.sample(now, 1, Some(400)), Change::Nothing);
            assert_eq!(scaling.sample(now + SAMPLE, 101, Some(left)), told);
        }
    }

    #[test]
    fn what_did_not_help_is_taken_back_and_not_tried_again() {
        check(Jobs::growing_to(8), &[100, 110, 110, 300, 300], &[2, 2, 1, 1, 1]);
        check(Jobs::growing_to(8), &[100, 150, 200, 210, 220, 300], &[2, 2, 3, 3, 2, 2]);
    }

    #[test]
    fn nothing_is_concluded_from_a_time_in_which_nothing_moves() {
        check(Jobs::growing_to(4), &[0, 0, 100, 0, 0, 200], &[1, 1, 2, 2, 2, 3]);
    }

    #[test]
    fn a_number_that_was_asked_for_stays() {
        check(Jobs::up_to(3), &[100, 0, 50], &[3, 3, 3]);
        check(Jobs::ONE, &[100, 200], &[1, 1]);
        assert_eq!([Jobs::up_to(0), Jobs::growing_to(0), Jobs::growing_to(1)], [Jobs::ONE; 3]);
    }
}
