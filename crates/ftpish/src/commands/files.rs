//! What `get` and `put` of named files have in common: they move together, and each is told of in its turn.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ftpish_client::{Batch, Error, Transferred};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress;
use crate::session::Session;

/// What became of a file, if it was begun.
type Outcome = Option<Result<Transferred, Error>>;

/// What became of files that moved together, in their order.
pub struct Moved {
    outcomes: Vec<Outcome>,
    /// Why no server could be had.
    ended: Option<Failure>,
    took: Duration,
}

impl Moved {
    /// Moves `files`, of which `batch` makes what can be tried again over another connection. Files that go to the same
    /// place, by `to`, move one behind the other. The bar is called `name` if it is for one file.
    pub fn all<T, K: Eq + Hash>(
        files: &[T],
        to: impl Fn(&T) -> K,
        name: &str,
        session: &mut Session,
        batch: impl Fn(Vec<&T>) -> Batch,
    ) -> Self {
        let (ui, began) = (session.ui, Instant::now());
        let name = if files.len() == 1 { name.to_owned() } else { format!("{} files", files.len()) };
        let mut moved =
            Self { outcomes: files.iter().map(|_| None).collect(), ended: None, took: Duration::ZERO };
        progress::watch(&ui, &name, |progress| {
            for round in rounds(files, &to) {
                let mut batch = batch(round.iter().map(|number| &files[*number]).collect());
                let mut is_over = false;
                let ran = session.retrying(progress, |client| {
                    batch.run(client, progress, &mut |at, outcome| {
                        is_over |= outcome.as_ref().is_err_and(Failure::ends_all);
                        moved.outcomes[round[at]] = Some(outcome);
                        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    })
                });
                let unfinished = round.iter().find(|number| moved.outcomes[**number].is_none());
                match (ran, unfinished) {
                    (Ok(Ok(())), _) if !is_over => continue,
                    (Ok(Err(error)), Some(number)) => moved.outcomes[*number] = Some(Err(error)),
                    (Err(failure), _) => moved.ended = Some(failure),
                    (Ok(_), _) => {}
                }
                break;
            }
        });
        moved.took = began.elapsed();
        moved
    }

    /// What became of the only file.
    pub fn into_one(mut self) -> Result<Result<Transferred, Error>, Failure> {
        match (self.outcomes.pop().flatten(), self.ended) {
            (Some(outcome), _) => Ok(outcome),
            (None, Some(ended)) => Err(ended),
            (None, None) => unreachable!("a file that was not begun for no reason"),
        }
    }

    /// Tells of each file in its turn, by its number and, if it had the time for itself, how long it took; `bad` are those
    /// that make no sense. One that failed does not stop the others, unless the server is out of reach.
    pub fn tell(
        self,
        bad: Vec<Failure>,
        session: &mut Session,
        mut tell: impl FnMut(
            usize,
            Result<Transferred, Error>,
            Option<Duration>,
            &mut Session,
        ) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { outcomes, ended, took } = self;
        let count = outcomes.len() + bad.len();
        let alone = (count == 1).then_some(took);
        let (mut arrived, mut failed, mut fatal) = ((0, 0), 0, ended);
        for failure in bad {
            if count == 1 {
                return Err(failure);
            }
            session.ui.failure(&failure);
            failed += 1;
        }
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let Some(outcome) = outcome else { continue };
            if let Ok(done) = &outcome {
                arrived = (arrived.0 + 1, arrived.1 + done.size);
            }
            match tell(number, outcome, alone, session) {
                Ok(()) => {}
                // What ends all is told once, however many files were in flight.
                Err(failure) if count == 1 || !failure.goes_on => drop(fatal.get_or_insert(failure)),
                Err(failure) => {
                    session.ui.failure(&failure);
                    failed += 1;
                }
            }
        }
        if count > 1 && arrived.0 > 0 {
            session.ui.arrived(arrived.0, arrived.1, took);
        }
        match (fatal, failed) {
            (Some(failure), _) => Err(failure),
            (None, 0) => Ok(()),
            (None, failed) => Err(Failure::new(Exit::Partial, format!("{failed} of {count} were not done"))),
        }
    }
}

/// Those of several that make sense, and what is wrong with the others.
pub fn sensible<T>(files: impl Iterator<Item = Result<T, Failure>>) -> (Vec<T>, Vec<Failure>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for file in files {
        match file {
            Ok(file) => good.push(file),
            Err(failure) => bad.push(failure),
        }
    }
    (good, bad)
}

/// The numbers of files that can move together: who shares a place with another comes in a later round.
fn rounds<T, K: Eq + Hash>(files: &[T], to: impl Fn(&T) -> K) -> Vec<Vec<usize>> {
    let (mut rounds, mut times): (Vec<Vec<usize>>, HashMap<K, usize>) = (Vec::new(), HashMap::new());
    for (number, file) in files.iter().enumerate() {
        let time = times.entry(to(file)).or_default();
        if rounds.len() == *time {
            rounds.push(Vec::new());
        }
        rounds[*time].push(number);
        *time += 1;
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::rounds;

    #[test]
    fn files_that_go_to_one_place_move_in_rounds() {
        assert_eq!(
            rounds(&["a", "b", "a", "c", "a", "b"], |name| *name),
            [vec![0, 1, 3], vec![2, 5], vec![4]]
        );
        assert!(rounds(&[""; 0], |name| *name).is_empty());
    }
}
