//! One file, or several in one call, each on its way without waiting for the one before it.

use std::path::{Path, PathBuf};

use ftpish_storage::Root;

use super::download::Download;
use super::download::local_target;
use super::fetch::Fetch;
use super::piece::{Answer, Moving};
use super::scheduler::{Transfer, board};
use super::upload::Upload;
use crate::{Client, Error, Progress, Transferred, Way};

impl Client {
    /// Fetches a file, and stores it with its time and permission bits: whole, or not at all. What an earlier try
    /// left is proven, and kept where it is right; a file that is here already does not move.
    pub fn download(&mut self, download: &Download, progress: &Progress) -> Result<Transferred, Error> {
        let (root, name) = local_target(&download.to, download.sync)?;
        let board = board(self, Way::Get, progress);
        let fetched = self.fetch(&Fetch { download, root: &root, name: &name, progress, board: &board });
        board.end(self);
        fetched
    }

    /// Stores a file with its time and permission bits. What an earlier try left is proven, and kept where it is
    /// right; a file that is there already does not move.
    pub fn upload(&mut self, upload: &Upload, progress: &Progress) -> Result<Transferred, Error> {
        let board = board(self, Way::Put, progress);
        let stored = self.store(upload, progress, &board);
        board.end(self);
        stored
    }

    /// Stores files without a round trip for each, and tells the `outcome` of every one: of those that were sent in
    /// their order. Where the connection breaks, that is the outcome of all that were not acknowledged by then; each of
    /// them is on the server as a whole, or not at all.
    pub fn upload_many(
        &mut self,
        uploads: impl IntoIterator<Item = Upload>,
        progress: &Progress,
        outcome: &mut dyn FnMut(Upload, Result<Transferred, Error>),
    ) {
        let mut all = Many::new(self, Way::Put, progress);
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
        let mut all = Many::new(self, Way::Get, progress);
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

/// Files on their way, by their numbers.
struct Many<'a, T> {
    transfer: Transfer<'a>,
    files: Vec<Option<T>>,
}

impl<'a, T> Many<'a, T> {
    fn new(client: &'a mut Client, way: Way, progress: &'a Progress) -> Self {
        Self { transfer: Transfer::new(client, way, progress, 0), files: Vec::new() }
    }

    /// Waits until there is room for another file, and begins to move it.
    fn add(&mut self, what: T, file: Moving, outcome: &mut dyn FnMut(T, Result<Transferred, Error>)) {
        self.transfer.move_file(self.files.len() as u64, file);
        self.files.push(Some(what));
        while self.transfer.is_full() {
            self.transfer.advance();
            self.tell(outcome);
        }
        self.tell(outcome);
    }

    /// Waits until nothing is on its way.
    fn end(mut self, outcome: &mut dyn FnMut(T, Result<Transferred, Error>)) {
        while self.transfer.has_files() {
            self.transfer.finish_files();
            self.tell(outcome);
        }
        self.transfer.end();
        self.tell(outcome);
    }

    /// Passes on what became of the files.
    fn tell(&mut self, outcome: &mut dyn FnMut(T, Result<Transferred, Error>)) {
        while let Some(((number, answer), _)) = self.transfer.answer() {
            let what = self.files.get_mut(number as usize).and_then(Option::take);
            let moved = answer.map(|answer| match answer {
                Answer::Moved(done) => done,
                answer => unreachable!("a file came to {answer:?}"),
            });
            if let Some(what) = what {
                outcome(what, moved);
            }
        }
    }
}
