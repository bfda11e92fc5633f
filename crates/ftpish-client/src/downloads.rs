//! Many files from the server, one behind the other: the requests for the next ones leave before the first has come, so
//! that a small file costs no round trip, and many of them become durable at once.

use std::collections::VecDeque;

use ftpish_protocol::message::File;
use ftpish_protocol::{Error as ProtocolError, RemotePath};
use ftpish_storage::{Ready, Root, commit_together};

use crate::download::{PATHS_IN_FLIGHT, REQUESTS_IN_FLIGHT, local, local_target, transferred};
use crate::{Client, Download, Error, Progress, SMALL_FILE, Transferred};

/// How many small files are made durable at once.
const TOGETHER: usize = 64;

/// A file that was asked for.
struct Asked {
    id: u64,
    download: Download,
    root: Root,
    name: RemotePath,
}

/// The files that were asked for, in that order, and those that are here and not yet committed.
struct Downloads<'a> {
    client: &'a mut Client,
    asked: VecDeque<Asked>,
    ready: Vec<(Download, Ready, Transferred)>,
    /// How many bytes have arrived.
    done: u64,
    progress: &'a Progress,
    outcome: &'a mut dyn FnMut(Download, Result<Transferred, Error>),
}

impl Client {
    /// Fetches files as [`download`](Self::download) does, but without a round trip for each, and with nothing that is
    /// here already taken into account. Tells the `outcome` of every one. Where the connection breaks, that is the
    /// outcome of all that had not come by then.
    pub fn download_many(
        &mut self,
        downloads: impl IntoIterator<Item = Download>,
        progress: &Progress,
        outcome: &mut dyn FnMut(Download, Result<Transferred, Error>),
    ) {
        let (asked, ready) = Default::default();
        let mut all = Downloads { client: self, asked, ready, done: 0, progress, outcome };
        for download in downloads {
            all.ask(download);
            while all.is_full() {
                all.receive();
            }
        }
        while !all.asked.is_empty() {
            all.receive();
        }
        all.commit();
    }
}

impl Downloads<'_> {
    /// Whether more requests might not fit the sockets.
    fn is_full(&self) -> bool {
        let paths = || self.asked.iter().map(|asked| asked.download.from.as_bytes().len());
        self.asked.len() >= REQUESTS_IN_FLIGHT || paths().sum::<usize>() >= PATHS_IN_FLIGHT
    }

    fn ask(&mut self, download: Download) {
        match self.try_ask(&download) {
            Ok((id, root, name)) => self.asked.push_back(Asked { id, download, root, name }),
            Err(error) => (self.outcome)(download, Err(error)),
        }
    }

    fn try_ask(&mut self, download: &Download) -> Result<(u64, Root, RemotePath), Error> {
        if self.client.interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        let (root, name) = local_target(&download.to, download.sync)?;
        root.check(&name, download.replace, None).map_err(|refusal| local(&download.to, refusal))?;
        let id = self.client.request_file(&download.from, download.digest, 0, None)?;
        Ok((id, root, name))
    }

    /// Receives the file that was asked for first.
    fn receive(&mut self) {
        let Some(asked) = self.asked.pop_front() else { return };
        match self.try_receive(&asked) {
            Ok((ready, done)) => {
                let is_small = done.size <= SMALL_FILE;
                self.ready.push((asked.download, ready, done));
                if !is_small || self.ready.len() >= TOGETHER {
                    self.commit();
                }
            }
            Err(error) => {
                // What is left of a body is in the way of those that come behind it.
                self.client.broken |= self.client.connection.in_body();
                (self.outcome)(asked.download, Err(error));
            }
        }
    }

    fn try_receive(&mut self, asked: &Asked) -> Result<(Ready, Transferred), Error> {
        let Asked { id, download, root, name } = asked;
        if self.client.broken {
            return Err(Error::Connection(ProtocolError::Closed));
        }
        let file: File = self.client.receive_with_body(*id)?;
        let staged = self.client.stage(download, root, name, &file);
        let mut stage = staged.map_err(|refusal| self.client.note(local(&download.to, refusal)))?;
        let (progress, base) = (self.progress, self.done);
        let moved = |moved| progress.set_done(base + moved);
        match self.client.receive_stage(&mut stage, &file, download, &moved) {
            Ok(verified) => {
                self.done += verified.length();
                let done = transferred(&verified, verified.length(), file.mtime);
                Ok((Ready { stage, verified, mode: Some(file.mode) }, done))
            }
            Err(error) => {
                stage.abandon();
                Err(error)
            }
        }
    }

    /// Gives all that is here its names.
    fn commit(&mut self) {
        let ready = self.ready.drain(..).map(|(download, ready, done)| (ready, (download, done)));
        let (files, rest): (Vec<_>, Vec<_>) = ready.unzip();
        for (outcome, (download, done)) in commit_together(files).into_iter().zip(rest) {
            let outcome = outcome.map(|()| done).map_err(|refusal| local(&download.to, refusal));
            (self.outcome)(download, outcome);
        }
    }
}
