//! Several files in one call, each on its way without waiting for the one before it.

use std::path::{Path, PathBuf};

use ftpish_storage::Root;

use crate::crew::Crew;
use crate::download::local_target;
use crate::pipeline::{Answer, Moving, Pipeline};
use crate::{Client, Download, Error, Progress, Transferred, Upload};

impl Client {
    /// Stores files without a round trip for each, and tells the `outcome` of every one: of those that were sent in
    /// their order. Where the connection breaks, that is the outcome of all that were not acknowledged by then; each of
    /// them is on the server as a whole, or not at all.
    pub fn upload_many(
        &mut self,
        uploads: impl IntoIterator<Item = Upload>,
        progress: &Progress,
        outcome: &mut dyn FnMut(Upload, Result<Transferred, Error>),
    ) {
        let mut all = Many::new(self, progress);
        for upload in uploads {
            all.add(upload.clone(), Moving::Put { upload, size: 0 }, outcome);
        }
        all.end(outcome);
    }

    /// Fetches files as [`download`](Self::download) does, but without a round trip for each, and with nothing that is
    /// here already taken into account. Tells the `outcome` of every one. Where the connection breaks, that is the
    /// outcome of all that had not come by then.
    pub fn download_many(
        &mut self,
        downloads: impl IntoIterator<Item = Download>,
        progress: &Progress,
        outcome: &mut dyn FnMut(Download, Result<Transferred, Error>),
    ) {
        let mut all = Many::new(self, progress);
        // Files of one directory come behind one another, and one must not take the place of another whose name differs by
        // case alone.
        let mut last: Option<((PathBuf, bool), Root)> = None;
        for download in downloads {
            let place = (download.to.parent().unwrap_or(Path::new("")).to_owned(), download.sync);
            let target = local_target(&download.to, download.sync).map(|(root, name)| {
                let known = last.take().filter(|(known, _)| *known == place);
                let (_, root) = last.insert(known.unwrap_or_else(|| (place, root.minding_spellings())));
                (root.clone(), name)
            });
            match target {
                Ok((root, name)) => {
                    all.add(download.clone(), Moving::Get { download, root, name, size: 0 }, outcome);
                }
                Err(error) => outcome(download, Err(error)),
            }
        }
        all.end(outcome);
    }
}

/// Files on their way, over this connection and others.
struct Many<'a, T> {
    pipe: Pipeline<'a, T>,
    crew: Crew<T>,
}

impl<'a, T: Send + 'static> Many<'a, T> {
    fn new(client: &'a mut Client, progress: &'a Progress) -> Self {
        Self { crew: Crew::new(client, progress), pipe: Pipeline::new(client, progress, 0) }
    }

    /// Waits until there is room for another file, and begins to move it.
    fn add(&mut self, tag: T, file: Moving, outcome: &mut dyn FnMut(T, Result<Transferred, Error>)) {
        self.crew.deal(tag, file, &mut self.pipe);
        while self.pipe.is_full() || self.crew.is_full(&self.pipe) {
            self.pipe.receive();
            self.tell(outcome);
        }
        self.tell(outcome);
    }

    /// Waits until nothing is on its way.
    fn end(mut self, outcome: &mut dyn FnMut(T, Result<Transferred, Error>)) {
        self.pipe.drain();
        self.tell(outcome);
        while !self.crew.is_idle() {
            self.crew.wait();
            self.tell(outcome);
        }
        self.crew.end(self.pipe.client);
    }

    /// Passes on what became of the files.
    fn tell(&mut self, outcome: &mut dyn FnMut(T, Result<Transferred, Error>)) {
        while let Some((tag, answer)) = self.pipe.answer().or_else(|| self.crew.answer()) {
            let moved = answer.map(|answer| match answer {
                Answer::Moved(done) => done,
                answer => unreachable!("a file came to {answer:?}"),
            });
            outcome(tag, moved);
        }
    }
}
