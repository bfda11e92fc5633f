//! One connection of a transfer. Requests leave before the replies to those in front of them have come, so that none costs
//! a round trip. Replies come in order, so a queue tells which is whose.

mod commits;
mod replies;
mod window;

use std::collections::VecDeque;
use std::sync::Arc;

use ftpish_protocol::message::{Command, Hash, Replace, Time, Tree};
use ftpish_protocol::{Algorithm, RemotePath, SendError, Sent, send_digested};
use ftpish_storage::{Nearby, SourceFile, descriptors};

use self::commits::{Commits, SMALL};
use self::window::Window;
use super::board::Board;
use super::download::local;
use super::fetch::{Fetch, Started, Unstarted};
use super::piece::{Answer, Incoming, Moving, Outcome, Tag};
use super::upload::Upload;
use crate::{Client, Error, Progress, Way};

/// After how many small files it is looked whether replies have come.
const LOOK_EVERY: u32 = 16;

/// What left of a file, and its modification time; or why it did not, which the server was told in its place.
type Left = Result<(Sent, Time), Error>;

/// A file that was asked for.
struct Getting {
    file: Arc<Incoming>,
    cost: u64,
    /// Whether only its first part was asked for, if it has more.
    in_parts: bool,
}

/// A large file whose first part has come, or has not.
struct Leading {
    tag: Tag,
    file: Arc<Incoming>,
    /// Its own: other files go on meanwhile.
    progress: Progress,
    started: Result<Started, Box<Unstarted>>,
}

/// A request that was sent.
enum Asked {
    Get(Getting),
    Put(Left, u64),
    Hash,
    /// Of so many nodes at the most.
    Tree(u64),
    Plain,
}

impl Asked {
    /// How many nodes and digests it asks for.
    fn awaited(&self) -> u64 {
        match self {
            Self::Hash => 1,
            Self::Tree(limit) => *limit,
            Self::Get(_) | Self::Put(..) | Self::Plain => 0,
        }
    }
}

/// The requests that are on their way, and the files that are here and have yet to be committed. Each goes by a tag of
/// the caller's, and comes back with it.
pub(crate) struct Lane<'a> {
    pub(crate) client: &'a mut Client,
    progress: &'a Progress,
    board: Board,
    asked: VecDeque<(u64, Tag, Asked)>,
    /// What the files among them cost, as [`Moving::cost`] says.
    cost: u64,
    window: Window,
    commits: Commits,
    /// Large files whose first parts are here. They go on when all that was asked for before is.
    leading: VecDeque<Leading>,
    /// Where the next file goes, perhaps.
    nearby: Nearby,
    /// How many files were sent since replies were looked for.
    unlooked: u32,
    /// How many bytes of bodies have moved, acknowledged or not.
    moved: u64,
    /// How many of them need not move again.
    kept: u64,
    answers: VecDeque<(Tag, Result<Answer, Error>)>,
}

impl<'a> Lane<'a> {
    /// One with nothing in it, where `moved` bytes have moved before.
    pub(crate) fn new(client: &'a mut Client, progress: &'a Progress, board: &Board, moved: u64) -> Self {
        progress.fall_back(moved);
        let window = Window::new(client.is_unix);
        Self {
            client,
            progress,
            board: board.clone(),
            asked: VecDeque::new(),
            cost: 0,
            window,
            commits: Commits::default(),
            leading: VecDeque::new(),
            nearby: Nearby::default(),
            unlooked: 0,
            moved,
            kept: moved,
            answers: VecDeque::new(),
        }
    }

    /// How many bytes have moved and need not move again.
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// What the files cost that are on their way.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Whether replies are better awaited before the next request.
    pub(crate) fn is_full(&mut self) -> bool {
        self.window.is_full()
    }

    /// Whether a file may leave, be it asked for or sent.
    pub(crate) fn may_send(&self, way: Way) -> bool {
        way == Way::Get || self.window.may_send_body()
    }

    /// Whether nothing is on its way, and nothing has yet to be committed.
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.commits.is_empty() && self.leading.is_empty()
    }

    /// What became of a request, in the order in which that was known.
    pub(crate) fn answer(&mut self) -> Option<(Tag, Result<Answer, Error>)> {
        self.answers.pop_front()
    }

    /// Moves a file: among others, without waiting for it; or where it is large and something of it may be there, by
    /// itself, when those before it are done.
    pub(crate) fn move_file(&mut self, tag: Tag, file: Moving) {
        let cost = file.cost();
        match file {
            file if file.is_alone() => self.move_alone(tag, &file),
            Moving::Get(file) => {
                let in_parts = file.size.is_none()
                    && file.download.digest == Algorithm::Blake3
                    && !self.board.is_alone();
                self.get(tag, Getting { file, cost, in_parts });
            }
            Moving::Put(file) => self.put(tag, &file.upload, cost),
        }
    }

    /// Moves a file by itself, when those before it are done.
    pub(crate) fn move_alone(&mut self, tag: Tag, file: &Moving) {
        self.drain();
        let (size, progress) = (file.size(), self.progress);
        let done = match file {
            Moving::Get(file) => {
                progress.begin_part(file.download.from.to_string(), size, self.moved);
                self.client.fetch(&Fetch::of(file, progress, &self.board))
            }
            Moving::Put(file) => {
                progress.begin_part(file.upload.to.to_string(), size, self.moved);
                self.client.store(&file.upload, progress, &self.board)
            }
        };
        progress.end_part();
        if let Ok(done) = &done {
            self.moved += done.size;
            self.kept += done.size;
        }
        self.answers.push_back((tag, done.map(Answer::Moved)));
    }

    /// Asks for a file.
    fn get(&mut self, tag: Tag, get: Getting) {
        let Incoming { download, root, name, .. } = &*get.file;
        let length = download.from.as_bytes().len();
        let asked = self.client.check_interrupt().and_then(|()| {
            // What can be refused here is refused before bytes are on their way.
            if download.replace != Replace::Always {
                root.check(name, download.replace, None).map_err(|refusal| local(&download.to, refusal))?;
            }
            if get.in_parts {
                self.client.request_first_part(&download.from)
            } else {
                self.client.request_file(&download.from, download.digest, 0, None)
            }
        });
        self.note_asked(tag, length, asked, Asked::Get(get));
    }

    /// Asks for the digest of a file on the server.
    pub(crate) fn hash(&mut self, tag: Tag, path: RemotePath, digest: Algorithm) {
        let length = path.as_bytes().len();
        let asked = self.client.send(&Command::Hash(Hash { path, digest }), false);
        self.note_asked(tag, length, asked, Asked::Hash);
    }

    /// Asks for nodes of a tree.
    pub(crate) fn tree(&mut self, tag: Tag, tree: Tree) {
        let after = tree.after.as_ref().map_or(0, |after| after.as_bytes().len());
        let (length, limit) = (tree.path.as_bytes().len() + after, tree.limit);
        let asked = self.client.send(&Command::Tree(tree), false);
        self.note_asked(tag, length, asked, Asked::Tree(limit));
    }

    /// Asks for something that is granted, or not, and no more; `length` bytes of names are in it.
    pub(crate) fn ask(&mut self, tag: Tag, command: &Command, length: usize) {
        let asked = self.client.send(command, false);
        self.note_asked(tag, length, asked, Asked::Plain);
    }

    /// Sends what was asked for. Where that fails, so does what is awaited next.
    pub(crate) fn flush(&mut self) {
        if let Err(error) = self.client.connection.flush() {
            self.client.note(error.into());
        }
    }

    fn note_asked(&mut self, tag: Tag, length: usize, id: Result<u64, Error>, asked: Asked) {
        match id {
            Ok(id) => {
                if let Asked::Get(get) = &asked {
                    self.cost += get.cost;
                }
                self.window.add_request(length, asked.awaited());
                self.asked.push_back((id, tag, asked));
            }
            Err(error) => self.answers.push_back((tag, Err(error))),
        }
    }

    /// Sends a file. Replies that are there by then are read, so that they cannot fill the way back.
    fn put(&mut self, tag: Tag, upload: &Upload, cost: u64) {
        match self.try_put(upload) {
            Ok((id, sent)) => {
                self.cost += cost;
                self.window.add_put(sent.as_ref().map_or(0, |(sent, _)| sent.length));
                self.asked.push_back((id, tag, Asked::Put(sent, cost)));
            }
            Err(error) => self.answers.push_back((tag, Err(error))),
        }
        self.unlooked += 1;
        if self.unlooked >= LOOK_EVERY || self.window.body_bytes() > SMALL {
            self.unlooked = 0;
            while self.has_reply() {
                self.receive();
            }
        }
    }

    fn try_put(&mut self, upload: &Upload) -> Result<(u64, Left), Error> {
        self.client.check_interrupt()?;
        let file = descriptors::patiently(|| SourceFile::open(&upload.from));
        let file = file.map_err(|refusal| local(&upload.from, refusal))?;
        let (put, mtime) = (upload.put(&file), file.mtime());
        self.progress.set_size(file.size());
        let id = self.client.send(&Command::Put(put), true)?;
        let (progress, base) = (self.progress, self.moved);
        let mut source = file.reader().digesting(upload.digest);
        let sent = send_digested(&mut self.client.connection, &mut source, upload.digest, &mut |_, done| {
            progress.reach(base + done);
            true
        });
        match sent {
            Ok(sent) => {
                self.moved += sent.length;
                progress.reach(self.moved);
                Ok((id, Ok((sent, mtime))))
            }
            Err(SendError::Connection(error)) => Err(self.client.note(error.into())),
            // The body was aborted, and the server refuses it in its turn.
            Err(SendError::Source(error)) => Ok((id, Err(Error::local(&upload.from, error)))),
            Err(SendError::Stopped) => Ok((id, Err(Error::Interrupted))),
        }
    }

    fn has_reply(&mut self) -> bool {
        if self.asked.is_empty() || !self.has_input() {
            return false;
        }
        // Behind the reply to `hello` there may be none yet.
        self.client.greeting.is_done() || self.client.greet().is_err() || self.has_input()
    }

    fn has_input(&mut self) -> bool {
        let connection = &mut self.client.connection;
        connection.has_input() || !matches!(connection.stream().is_readable(), Ok(false))
    }

    /// Does what there is to do for what is on its way: receives a reply, or gives files their names.
    pub(crate) fn advance(&mut self) {
        if self.asked.is_empty() { self.drain() } else { self.receive() }
    }

    /// Whether the parts of a large file are next, and nothing is to be asked for in front of them.
    pub(crate) fn is_leading(&self) -> bool {
        !self.leading.is_empty()
    }

    /// Receives all replies that are due, and gives all files that are here their names.
    pub(crate) fn drain(&mut self) {
        while !self.asked.is_empty() {
            self.receive();
        }
        self.commit();
        self.finish_commit();
        while let Some(leading) = self.leading.pop_front() {
            self.lead(leading);
        }
    }

    /// Begins to give all files that are here their names.
    fn commit(&mut self) {
        self.nearby = Nearby::default();
        let outcomes = self.commits.begin(self.client);
        self.note_committed(outcomes);
    }

    /// Waits until the files that are being committed have their names.
    fn finish_commit(&mut self) {
        let outcomes = self.commits.finish(self.client);
        self.note_committed(outcomes);
    }

    fn note_committed(&mut self, outcomes: Vec<Outcome>) {
        for (_, answer) in &outcomes {
            self.kept += if let Ok(Answer::Moved(done)) = answer { done.moved } else { 0 };
        }
        self.answers.extend(outcomes);
    }
}

#[cfg(test)]
mod tests;
