//! Who does what: the first lane, which the caller drives, and lanes beside it, each on a thread of its own.

use std::collections::HashMap;
use std::sync::Arc;

use ftpish_protocol::{Code, Error as ProtocolError};

use super::board::{Board, FIRST, Next, Opening, Work};
use super::lane::Lane;
use super::piece::{Answer, Moving, Outcome, Tag};
use crate::client::Options;
use crate::{Client, Error, Progress, Way};

/// A transfer as its caller sees it: the first lane, and all others.
pub(crate) struct Transfer<'a> {
    /// The caller's own connection. Requests that are not for a file go over it, in order.
    pub(crate) first: Lane<'a>,
    board: Board,
    /// The files that wait, or are in flight.
    files: HashMap<Tag, File>,
    ended: bool,
}

/// A file that is to be moved.
struct File {
    file: Moving,
    /// Whether a connection broke under it: then it may be where it was to go.
    is_lost: bool,
}

impl<'a> Transfer<'a> {
    /// One with nothing to do, where `moved` bytes have moved before.
    pub(crate) fn new(client: &'a mut Client, way: Way, progress: &'a Progress, moved: u64) -> Self {
        let board = board(client, way, progress);
        Self { first: Lane::new(client, progress, &board, moved), board, files: HashMap::new(), ended: false }
    }

    /// Whether the first lane is still of use: a file that was refused in the middle of its body may have ended it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.first.client.check_interrupt()?;
        if self.first.client.broken { Err(Error::Connection(ProtocolError::Closed)) } else { Ok(()) }
    }

    /// Whether the first lane is the only one, and stays so.
    pub(crate) fn is_alone(&self) -> bool {
        self.board.is_alone()
    }

    /// Moves a file over whichever lane has room. It may be where it is to go, if it `is_lost`.
    pub(crate) fn move_file(&mut self, tag: Tag, file: Moving, is_lost: bool) {
        let file = self.note(tag, file, is_lost);
        if self.board.push(Work { tag, file }, self.first.client.is_near()) {
            // What ails the first lane is told where that is used.
            let _ = self.board.offer(self.first.client);
        }
        while self.take() {}
    }

    fn note(&mut self, tag: Tag, file: Moving, is_lost: bool) -> Moving {
        let file = if is_lost { file.asking_first() } else { file };
        self.files.insert(tag, File { file: file.clone(), is_lost });
        file
    }

    /// Moves a file over the first lane, behind what was asked for there.
    pub(crate) fn move_in_order(&mut self, tag: Tag, file: Moving, is_lost: bool) {
        let file = self.note(tag, file, is_lost);
        while !self.first.may_send(file.way()) {
            self.first.receive();
        }
        self.first.move_file(tag, file);
    }

    /// Whether other lanes would take a file that could only move in order over the first.
    pub(crate) fn is_better_held(&self, file: &Moving) -> bool {
        self.board.is_better_held(file, self.first.cost())
    }

    /// Has the first lane take a file that waits, if it has room.
    fn take(&mut self) -> bool {
        if self.first.is_leading() || self.first.is_full() || !self.first.may_send(self.board.way()) {
            return false;
        }
        let work = self.board.take(FIRST, self.first.cost());
        work.map(|Work { tag, file }| self.first.move_file(tag, file)).is_some()
    }

    /// Whether what is in flight, or waits, is to go on before there is more.
    pub(crate) fn is_full(&mut self) -> bool {
        self.first.is_full() || self.board.is_full()
    }

    /// Whether files wait, or are in flight on other lanes than the first.
    pub(crate) fn has_files(&self) -> bool {
        self.board.has_files()
    }

    /// Does what there is to do on the first lane, but begins nothing there that takes long; where there is nothing, waits for
    /// others.
    pub(crate) fn advance(&mut self) {
        if self.take() {
        } else if self.first.is_empty() {
            self.board.wait_for_others();
        } else {
            self.first.advance();
        }
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
        match self.board.next_of_first() {
            Next::Large(work) => self.first.move_alone(work.tag, &work.file),
            Next::Parts(guest) => {
                guest.move_parts(self.first.client, &|| self.board.may_stay(FIRST));
            }
            Next::File | Next::End => {}
        }
    }

    /// What became of a file, or of what else was asked for. What another lane broke under is left to the others; what the
    /// first lane broke under is [`Lost`](Answer::Lost), as is what was in flight, or waited, when that ended all.
    pub(crate) fn answer(&mut self) -> Option<Outcome> {
        loop {
            let first = self.first.answer().map(|outcome| (outcome, true));
            let ((tag, answer), is_first) = first.or_else(|| Some((self.board.answer()?, false)))?;
            let Some(File { file, is_lost }) = self.files.remove(&tag) else { return Some((tag, answer)) };
            let answer = match answer {
                Err(error) if is_lost => self.find_stored(&file, error),
                answer => answer,
            };
            match answer {
                Err(error @ Error::Interrupted) => return Some((tag, Ok(Answer::Lost(Some(error))))),
                Err(error) if error.may_pass() => match (is_first, self.ended) {
                    (true, _) => return Some((tag, Ok(Answer::Lost(Some(error))))),
                    (false, true) => return Some((tag, Ok(Answer::Lost(None)))),
                    (false, false) => self.move_file(tag, file, true),
                },
                answer => return Some((tag, answer)),
            }
        }
    }

    /// What a file came to that was refused: the try whose reply was lost may have stored it.
    fn find_stored(&mut self, file: &Moving, error: Error) -> Result<Answer, Error> {
        let is_in_the_way = |code| matches!(code, Code::Exists | Code::NotNewer | Code::Changed);
        match (&error, file) {
            (Error::Refused(refusal), Moving::Put(file)) if is_in_the_way(refusal.code) => {
                self.first.drain();
                let found = self.first.client.find_stored(&file.upload)?;
                found.map(Answer::Moved).ok_or(error)
            }
            _ => Err(error),
        }
    }

    /// Ends what is in flight, and begins nothing more. What became of the rest is [told](Self::answer) then.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.first.drain();
        self.board.end(self.first.client);
    }
}

/// What the lanes of a transfer over `first` share.
pub(crate) fn board(first: &mut Client, way: Way, progress: &Progress) -> Board {
    Board::new(first, way, progress, |board, opening| {
        let Opening { number, options, connected, progress } = opening;
        Runner { board, number, progress, options, connected, kept: 0 }.run()
    })
}

/// A lane beside the first, on its own thread.
struct Runner {
    board: Board,
    number: usize,
    progress: Progress,
    options: Options,
    /// A connection that is there.
    connected: Option<Client>,
    /// How many bytes the lane has moved for good.
    kept: u64,
}

/// Says that a lane has ended, be it by a panic.
struct Leaving<'a>(&'a Board, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

impl Runner {
    /// Works until nothing more is to be done, over one connection after the other, as long as each is of some use. The last
    /// of them is there for a next time.
    fn run(mut self) -> Option<Client> {
        let board = self.board.clone();
        let _leaving = Leaving(&board, self.number);
        while board.wait_for_work(self.number) {
            let Ok(mut client) = self.connect() else { return None };
            board.note_connected(self.number, true);
            let is_of_use = self.serve(&mut client);
            self.connected = Some(client).filter(|client| !client.broken);
            board.note_connected(self.number, self.connected.is_some());
            if !is_of_use && self.connected.is_none() {
                break;
            }
        }
        self.connected.take()
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
        let board = self.board.clone();
        let mut lane = Lane::new(client, &self.progress, &board, self.kept);
        let (mut is_of_use, mut refused) = (false, Vec::new());
        loop {
            is_of_use |= self.tell_all(&mut lane);
            if lane.client.broken {
                break;
            }
            if lane.is_full() {
                lane.receive();
            } else if !lane.is_leading()
                && let Some(Work { tag, file }) = board.take(self.number, lane.cost())
            {
                lane.move_file(tag, file);
            } else if !lane.is_empty() {
                lane.advance();
            } else {
                match board.next(self.number, &refused) {
                    Next::File => {}
                    Next::Large(work) => lane.move_alone(work.tag, &work.file),
                    Next::Parts(guest) => {
                        // A server that turns this connection away has to say so before a body leaves.
                        let _ = lane.client.greet();
                        if !guest.move_parts(lane.client, &|| board.may_stay(self.number)) {
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
            self.board.tell(outcome);
        }
        is_of_use
    }
}
