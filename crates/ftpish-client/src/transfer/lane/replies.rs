//! What comes back on a lane: one reply after the other, in the order of the requests.

use std::sync::Arc;

use ftpish_protocol::message::{Done, File, Node, Stored, WasSet};
use ftpish_protocol::{Code, Error as ProtocolError, Refusal, RemotePath, receive_listing};
use ftpish_storage::{Ready, Root, Stage, descriptors};
use serde::de::DeserializeOwned;

use super::commits::{Arrived, SMALL};
use super::{Asked, Getting, Lane, Leading, Left};
use crate::client::{LISTING_DIGEST, of_listing};
use crate::transfer::download::{Download, local};
use crate::transfer::fetch::{Fetch, transferred};
use crate::transfer::parts::Watcher as _;
use crate::transfer::piece::{Answer, Incoming, Tag};
use crate::transfer::store::{confirm, mismatch};
use crate::{Error, Progress, RESUME_FROM, Transferred};

/// How many characters are held of what a server writes of a node that it could not tell of: no more would be shown.
const MOST_OF_A_MESSAGE: usize = 1024;

impl Lane<'_> {
    /// Receives the reply that is due next.
    pub(crate) fn receive(&mut self) {
        let Some((id, tag, asked)) = self.asked.pop_front() else { return };
        match &asked {
            Asked::Put(sent, _) => self.window.end_put(sent.as_ref().map_or(0, |(sent, _)| sent.length)),
            asked => self.window.end_request(asked.awaited()),
        }
        let answer = match asked {
            Asked::Get(get) => {
                self.cost -= get.cost;
                match self.receive_file(id, tag, &get) {
                    Ok(None) => return,
                    Ok(Some((ready, done))) => {
                        if self.commits.add(Arrived { tag, file: get.file, ready, done }) {
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
            Asked::Hash => self.receive_plain(id).map(Answer::Hashed),
            Asked::Plain => self.receive_plain::<WasSet>(id).map(|WasSet { unset }| Answer::Done(unset)),
            Asked::Tree(limit) => self.receive_nodes(id, limit).map(Answer::Nodes),
        };
        self.answers.push_back((tag, answer));
    }

    /// Fetches the parts of a large file, and gives it its name.
    pub(super) fn lead(&mut self, Leading { tag, file, progress, started }: Leading) {
        let done = self.client.finish_parts(&Fetch::of(&file, &progress, &self.board), started);
        progress.end_part();
        if done.is_err() {
            progress.fall_back(0);
        }
        self.answers.push_back((tag, done.map(Answer::Moved)));
    }

    fn check(&self) -> Result<(), Error> {
        if self.client.broken { Err(Error::Connection(ProtocolError::Closed)) } else { Ok(()) }
    }

    fn receive_plain<R: DeserializeOwned>(&mut self, id: u64) -> Result<R, Error> {
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
        if get.in_parts {
            self.client.require_all(file)?;
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
}
