//! One connection of a transfer. Requests leave before the replies to those in front of them have come, so that none costs
//! a round trip. Replies come in order, so a queue tells which is whose.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ftpish_protocol::message::{Command, Done, File, Hash, Node, Replace, Stored, Time, Tree, Unset, WasSet};
use ftpish_protocol::{
    Algorithm, Code, Error as ProtocolError, MAX_IN_FLIGHT, Refusal, RemotePath, SendError, Sent,
    receive_listing, send_digested,
};
use ftpish_storage::{Background, Nearby, Ready, Root, SourceFile, Stage, commit_together, descriptors};

use super::board::Board;
use super::download::{Download, local};
use super::fetch::{Fetch, Started, Unstarted, transferred};
use super::parts::Watcher as _;
use super::piece::{Answer, Incoming, Moving, Tag};
use super::store::{confirm, mismatch};
use super::upload::Upload;
use crate::client::{LISTING_DIGEST, of_listing};
use crate::{Client, Error, Progress, RESUME_FROM, Transferred, Way};

/// How many files that are sent may be on their way. The replies, of about 130 bytes, fit the smallest of sockets: a
/// server that could not send them would read no more, and we would both wait.
const PUTS_IN_FLIGHT: usize = 500;

/// The same over a Unix socket, which counts about 770 bytes for a message that is written alone, and has room for 277
/// of them.
const LOCAL_PUTS_IN_FLIGHT: usize = 200;

/// How many requests may be on their way at all.
const MOST_IN_FLIGHT: usize = MAX_IN_FLIGHT - 24;

/// How many bytes requests without a body may have together, by [`REQUEST`] and their paths. They lie in the sockets
/// while a body comes, so they must fit there: Linux has at least 64 KiB for a peer that does not read, and 16 KiB on
/// this side (tcp(7), `tcp_rmem` and `tcp_wmem`).
const REQUESTS_IN_FLIGHT: usize = 60 * 1024;

/// About how many bytes a request has besides its path.
const REQUEST: usize = 64;

/// The same as [`REQUESTS_IN_FLIGHT`] over a Unix socket, by what it counts for a message that is written alone, of the 208 KiB
/// that it has (unix(7), `wmem_default`).
const LOCAL_REQUESTS_IN_FLIGHT: usize = 180 * 1024;

/// What a Unix socket counts for a message that is written alone, besides at most twice its bytes: the kernel's own
/// structures, and room up to the next power of two.
const LOCAL_REQUEST: usize = 896;

/// How many bytes of bodies may be on their way, or on the server, without a reply: what is lost at the most when a
/// connection breaks.
const BODIES_IN_FLIGHT: u64 = 32 * 1024 * 1024;

/// How many small files are made durable at once.
const TOGETHER: usize = 64;

/// After how many small files it is looked whether replies have come.
const LOOK_EVERY: u32 = 16;

/// How often the server hears that this end is alive while it waits for its disk.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Up to how many bytes a file is small: it shares its flush of the disk with others.
const SMALL: u64 = 1024 * 1024;

/// How many nodes and digests may be awaited when a body leaves.
const MOST_BESIDE_BODIES: u64 = 256;

/// How many characters are held of what a server writes of a node that it could not tell of: no more would be shown.
const MOST_OF_A_MESSAGE: usize = 1024;

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

/// A file that is here, and has yet to be committed.
struct Arrived {
    tag: Tag,
    to: PathBuf,
    ready: Ready,
    done: Transferred,
}

/// Files that are being committed.
struct Committing {
    files: Vec<(Tag, PathBuf, Transferred)>,
    work: Background<Vec<Result<Unset, Refusal>>>,
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
    /// The size of the requests that are on their way and have no body.
    requests: VecDeque<usize>,
    request_bytes: usize,
    body_bytes: u64,
    /// How many nodes and digests were asked for and have yet to be told.
    awaited: u64,
    was_full: bool,
    ready: Vec<Arrived>,
    /// The ones before, while they are committed.
    committing: Option<Committing>,
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
        Self {
            client,
            progress,
            board: board.clone(),
            asked: VecDeque::new(),
            cost: 0,
            requests: VecDeque::new(),
            request_bytes: 0,
            body_bytes: 0,
            awaited: 0,
            was_full: false,
            ready: Vec::new(),
            committing: None,
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

    /// Whether replies are better awaited before the next request: when there is no room for it, and then until there is
    /// room for many, so that they leave together.
    pub(crate) fn is_full(&mut self) -> bool {
        let share = if self.was_full { 2 } else { 1 };
        let puts = self.asked.len() - self.requests.len();
        let most_puts = if self.client.is_unix { LOCAL_PUTS_IN_FLIGHT } else { PUTS_IN_FLIGHT };
        let most_requests = if self.client.is_unix { LOCAL_REQUESTS_IN_FLIGHT } else { REQUESTS_IN_FLIGHT };
        self.was_full = puts >= most_puts / share
            || self.asked.len() >= MOST_IN_FLIGHT / share
            || self.request_bytes >= most_requests / share
            || self.body_bytes > BODIES_IN_FLIGHT;
        self.was_full
    }

    /// Whether a body may leave: a server that is busy telling what was asked for, and cannot, reads no more, and we would both
    /// wait.
    pub(crate) fn may_send(&self, way: Way) -> bool {
        way == Way::Get || self.awaited <= MOST_BESIDE_BODIES
    }

    /// Whether nothing is on its way, and nothing has yet to be committed.
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.ready.is_empty() && self.committing.is_none() && self.leading.is_empty()
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
                match &asked {
                    Asked::Get(get) => self.cost += get.cost,
                    Asked::Hash => self.awaited += 1,
                    Asked::Tree(limit) => self.awaited += limit,
                    Asked::Put(..) | Asked::Plain => {}
                }
                let bytes = REQUEST + length;
                let cost = if self.client.is_unix { LOCAL_REQUEST + 2 * bytes } else { bytes };
                self.requests.push_back(cost);
                self.request_bytes += cost;
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
                self.asked.push_back((id, tag, Asked::Put(sent, cost)));
            }
            Err(error) => self.answers.push_back((tag, Err(error))),
        }
        self.unlooked += 1;
        if self.unlooked >= LOOK_EVERY || self.body_bytes > SMALL {
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
                self.body_bytes += sent.length;
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

    /// Receives the reply that is due next.
    pub(crate) fn receive(&mut self) {
        let Some((id, tag, asked)) = self.asked.pop_front() else { return };
        if !matches!(asked, Asked::Put(..)) {
            self.request_bytes -= self.requests.pop_front().unwrap_or(0);
        }
        let answer = match asked {
            Asked::Get(get) => {
                self.cost -= get.cost;
                let to = get.file.download.to.clone();
                match self.receive_file(id, tag, &get) {
                    Ok(None) => return,
                    Ok(Some((ready, done))) => {
                        let is_small = done.size <= SMALL;
                        self.ready.push(Arrived { tag, to, ready, done });
                        if !is_small || self.ready.len() >= TOGETHER || descriptors::are_scarce() {
                            self.commit();
                        }
                        return;
                    }
                    Err(error) => {
                        // What is left of a body is in the way of those that come behind it.
                        self.client.broken |= self.client.connection.in_body();
                        Err(error)
                    }
                }
            }
            Asked::Put(sent, cost) => {
                self.cost -= cost;
                self.receive_stored(id, sent).map(|done| {
                    self.kept += done.moved;
                    self.board.count(done.moved);
                    Answer::Moved(done)
                })
            }
            Asked::Hash => {
                self.awaited -= 1;
                self.receive_plain(id).map(Answer::Hashed)
            }
            Asked::Plain => self.receive_plain::<WasSet>(id).map(|WasSet { unset }| Answer::Done(unset)),
            Asked::Tree(limit) => {
                self.awaited -= limit;
                self.receive_nodes(id, limit).map(Answer::Nodes)
            }
        };
        self.answers.push_back((tag, answer));
    }

    /// Does what there is to do for what is on its way: receives a reply, or gives files their names.
    pub(crate) fn advance(&mut self) {
        if self.asked.is_empty() { self.drain() } else { self.receive() }
    }

    /// Whether the parts of a large file are next, and nothing is to be asked for in front of them.
    pub(crate) fn is_leading(&self) -> bool {
        !self.leading.is_empty()
    }

    /// Fetches the parts of a large file, and gives it its name.
    fn lead(&mut self, Leading { tag, file, progress, started }: Leading) {
        let done = self.client.finish_parts(&Fetch::of(&file, &progress, &self.board), started);
        progress.end_part();
        if done.is_err() {
            progress.fall_back(0);
        }
        self.answers.push_back((tag, done.map(Answer::Moved)));
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

    fn check(&self) -> Result<(), Error> {
        if self.client.broken { Err(Error::Connection(ProtocolError::Closed)) } else { Ok(()) }
    }

    fn receive_plain<R: serde::de::DeserializeOwned>(&mut self, id: u64) -> Result<R, Error> {
        self.check()?;
        self.client.receive(id, &Progress::default())
    }

    fn receive_nodes(&mut self, id: u64, limit: u64) -> Result<Vec<Node>, Error> {
        self.check()?;
        self.client.receive_with_body::<Done>(id)?;
        let mut nodes = Vec::new();
        let received = receive_listing(&mut self.client.connection, LISTING_DIGEST, &mut |mut node: Node| {
            // They are held, so neither their number nor what is in them is for the server to choose.
            if nodes.len() as u64 >= limit {
                let line = "a listing of a tree is longer than was asked for";
                return Err(Refusal::new(Code::Malformed, line).into_io());
            }
            if let Some(Refusal { message, .. }) = &mut node.error {
                let end = message.char_indices().nth(MOST_OF_A_MESSAGE).map_or(message.len(), |(at, _)| at);
                message.truncate(end);
                message.shrink_to_fit();
            }
            nodes.push(node);
            Ok(())
        });
        received.map_err(|error| self.client.note(of_listing(error)))?;
        Ok(nodes)
    }

    fn receive_stored(&mut self, id: u64, sent: Left) -> Result<Transferred, Error> {
        let stored = self.receive_plain::<Stored>(id).map_err(mismatch);
        let (sent, mtime) = sent?;
        self.body_bytes -= sent.length;
        let stored = stored?;
        confirm(sent.digest, sent.length, &stored)?;
        let Stored { size, digest, unset } = stored;
        Ok(Transferred { size, moved: sent.length, digest, mtime: Some(mtime), unset })
    }

    fn stage(
        &mut self,
        download: &Download,
        root: &Root,
        name: &RemotePath,
        file: &File,
    ) -> Result<Stage, Refusal> {
        if file.length > SMALL {
            return self.client.stage(download, root, name, file);
        }
        let staged = root.stage_near(&mut self.nearby, name, download.replace, Some(file.mtime));
        staged.map(|stage| download.backed_up(stage))
    }

    /// Receives a file. Nothing, yet, if it is large, and its first part is here.
    fn receive_file(
        &mut self,
        id: u64,
        tag: Tag,
        get: &Getting,
    ) -> Result<Option<(Ready, Transferred)>, Error> {
        self.check()?;
        let file: File = self.client.receive_with_body(id)?;
        if get.in_parts && file.subtree {
            self.start_parts(tag, &get.file, &file);
            return Ok(None);
        }
        self.receive_whole(&file, get).map(Some)
    }

    fn start_parts(&mut self, tag: Tag, file: &Arc<Incoming>, reply: &File) {
        let progress = self.progress.beside();
        progress.begin_part(file.download.from.to_string(), reply.size, 0);
        let started = self.client.start_parts(&Fetch::of(file, &progress, &self.board), reply);
        self.leading.push_back(Leading { tag, file: Arc::clone(file), progress, started });
    }

    fn receive_whole(&mut self, file: &File, get: &Getting) -> Result<(Ready, Transferred), Error> {
        let Incoming { download, root, name, .. } = &*get.file;
        if get.in_parts && file.length < file.size {
            return Err(self.client.note(Error::Protocol("bytes in place of a part".to_owned())));
        }
        let staged = match self.stage(download, root, name, file) {
            Err(refusal) if refusal.is_out_of_descriptors() => {
                self.commit();
                self.finish_commit();
                descriptors::patiently(|| self.stage(download, root, name, file))
            }
            staged => staged,
        };
        let mut stage = match staged {
            Ok(stage) => stage,
            Err(refusal) => {
                // A little is read past, for the sake of those behind it.
                if file.length <= SMALL {
                    self.client.connection.drain_body().map_err(|error| self.client.note(error.into()))?;
                }
                return Err(self.client.note(local(&download.to, refusal)));
            }
        };
        let (progress, base) = (self.progress, self.moved);
        progress.set_size(file.length);
        let moved = |moved| progress.reach(base + moved);
        if file.length >= RESUME_FROM {
            progress.begin_part(download.from.to_string(), file.length, base);
        }
        let received = self.client.receive_stage(&mut stage, file, download, &moved);
        progress.end_part();
        match received {
            Ok(verified) => {
                self.moved += verified.length();
                let done = transferred(&verified, verified.length(), file.mtime);
                let permissions = download.permissions(Some(file.mode));
                Ok((Ready { stage, verified, permissions }, done))
            }
            Err(error) => {
                stage.abandon();
                Err(error)
            }
        }
    }

    /// Begins to give all files that are here their names.
    fn commit(&mut self) {
        self.finish_commit();
        self.nearby = Nearby::default();
        if self.ready.is_empty() {
            return;
        }
        let arrived = self.ready.drain(..).map(|Arrived { tag, to, ready, done }| (ready, (tag, to, done)));
        let (ready, files): (Vec<_>, Vec<_>) = arrived.unzip();
        self.committing = Some(Committing { files, work: Background::begin(move || commit_together(ready)) });
    }

    /// Waits until the files that are being committed have their names.
    fn finish_commit(&mut self) {
        let Some(Committing { files, work }) = self.committing.take() else { return };
        let outcomes = loop {
            if let Some(outcomes) = work.wait(ALIVE_EVERY) {
                break outcomes;
            }
            // Replies may be waiting to be taken. That the connection broke is noticed by whatever reads them.
            let _ = self.client.connection.send_alive();
        };
        let outcomes: Vec<Result<Unset, Refusal>> = match outcomes {
            Ok(outcomes) => outcomes,
            Err(refusal) => files.iter().map(|_| Err(refusal.clone())).collect(),
        };
        for ((tag, to, done), committed) in files.into_iter().zip(outcomes) {
            self.kept += committed.as_ref().map_or(0, |_| done.moved);
            let moved = committed.map(|unset| Answer::Moved(Transferred { unset, ..done }));
            let answer = moved.map_err(|refusal| local(&to, refusal));
            self.answers.push_back((tag, answer));
        }
    }
}

#[cfg(test)]
mod tests;
