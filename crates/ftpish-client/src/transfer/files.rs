//! Files that a person names, one or many: each on its way without waiting for the one before it, and over as many lanes as
//! help.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use ftpish_storage::Root;

use super::download::Download;
use super::piece::{Answer, Incoming, Moving, Outgoing};
use super::scheduler::Transfer;
use super::upload::Upload;
use crate::{Client, Error, Progress, Transferred, Way};

/// Files to be moved, and how far that is: what a connection broke under goes on over the next one.
pub struct Batch {
    way: Way,
    /// How many files there are in all.
    count: usize,
    /// How many bytes the first lane has moved.
    moved: u64,
    /// What has yet to be reported, by its place among all.
    files: BTreeMap<u64, File>,
    /// Those that a connection broke under.
    lost: HashSet<u64>,
    last: Option<Last>,
}

/// The directory that the last file went into, and whether what is written there is synced.
struct Last {
    dir: PathBuf,
    sync: bool,
    root: Root,
}

/// The directory that a file goes into: most have that of the one before. Names in it that its file system takes for one are
/// told apart.
fn root_of(download: &Download, last: &mut Option<Last>) -> Result<Root, Error> {
    let (dir, sync) = (download.dir(), download.sync);
    if let Some(last) = last
        && (&*last.dir, last.sync) == (dir, sync)
    {
        return Ok(last.root.clone());
    }
    let root = Root::open(dir, sync).map_err(|error| Error::local(dir, error))?.minding_spellings();
    *last = Some(Last { dir: dir.to_owned(), sync, root: root.clone() });
    Ok(root)
}

enum File {
    Get(Download),
    /// And its size in bytes, as far as that can be told beforehand.
    Put(Upload, u64),
}

/// Whether to go on with the other files.
pub type Report<'a> = dyn FnMut(usize, Result<Transferred, Error>) -> ControlFlow<()> + 'a;

impl Batch {
    /// Files to be fetched. Each is stored as a whole, or not at all; what is here of it already is proven, and kept where it is
    /// right.
    pub fn downloads(downloads: impl IntoIterator<Item = Download>) -> Self {
        Self::new(Way::Get, downloads.into_iter().map(File::Get))
    }

    /// Files to be stored. Each is there as a whole, or not at all; what is there of it already is proven, and kept where it is
    /// right.
    pub fn uploads(uploads: impl IntoIterator<Item = Upload>) -> Self {
        let sized = |upload: Upload| {
            // What is no file is told of when it is opened.
            let size = upload.from.metadata().map_or(0, |found| found.len());
            File::Put(upload, size)
        };
        Self::new(Way::Put, uploads.into_iter().map(sized))
    }

    fn new(way: Way, files: impl Iterator<Item = File>) -> Self {
        let files: BTreeMap<u64, File> = (0..).zip(files).collect();
        Self { way, count: files.len(), moved: 0, files, lost: HashSet::new(), last: None }
    }

    /// How many bytes the files have, where this side has them.
    fn sizes(&self) -> Option<u64> {
        let size = |file: &File| if let File::Put(_, size) = file { Some(*size) } else { None };
        self.files.values().map(size).sum()
    }

    /// Moves the files, and tells of each, by its place among them, what it came to: in any order. Where that says so, no more
    /// of them is begun. An error is the connection's, and then another run goes on over another one.
    pub fn run(
        &mut self,
        client: &mut Client,
        progress: &Progress,
        report: &mut Report<'_>,
    ) -> Result<(), Error> {
        if self.count > 1 {
            progress.begin_many();
            let total = if progress.total().is_none() { self.sizes() } else { None };
            total.into_iter().for_each(|total| progress.set_total(total));
        }
        let mut transfer = Transfer::new(client, self.way, progress, self.moved);
        let ended = self.drive(&mut transfer, progress, report);
        transfer.end();
        let settled = self.settle(&mut transfer, progress, report);
        self.moved = transfer.first.kept();
        match (ended, settled) {
            (Err(error), _) => Err(error),
            (Ok(ControlFlow::Break(())), _) => Ok(()),
            (Ok(ControlFlow::Continue(())), settled) => settled.map(drop),
        }
    }

    fn drive(
        &mut self,
        transfer: &mut Transfer<'_>,
        progress: &Progress,
        report: &mut Report<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        let numbers: Vec<u64> = self.files.keys().copied().collect();
        for number in numbers {
            transfer.check()?;
            let mut goes_on = ControlFlow::Continue(());
            match self.moving(number) {
                // One file alone is the first lane's: no other lane is opened that finds nothing to do.
                Some(Ok(file)) if self.count == 1 => {
                    transfer.move_in_order(number, file, self.lost.contains(&number));
                }
                Some(Ok(file)) => transfer.move_file(number, file, self.lost.contains(&number)),
                Some(Err(error)) => goes_on = self.tell(number, Err(error), report),
                None => {}
            }
            if goes_on.is_break() {
                return Ok(goes_on);
            }
            loop {
                if self.settle(transfer, progress, report)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if !transfer.is_full() {
                    break;
                }
                transfer.advance();
            }
        }
        while transfer.has_files() || !transfer.first.is_empty() {
            transfer.check()?;
            transfer.finish_files();
            if self.settle(transfer, progress, report)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What there is to do for a file.
    fn moving(&mut self, number: u64) -> Option<Result<Moving, Error>> {
        let Self { files, last, .. } = self;
        Some(match files.get(&number)? {
            File::Get(download) => download.name().and_then(|name| {
                let (download, root) = (download.clone(), root_of(download, last)?);
                Ok(Moving::Get(Arc::new(Incoming { download, root, name, size: None })))
            }),
            File::Put(upload, size) => {
                Ok(Moving::Put(Arc::new(Outgoing { upload: upload.clone(), size: *size })))
            }
        })
    }

    /// Takes the answers that have come.
    fn settle(
        &mut self,
        transfer: &mut Transfer<'_>,
        progress: &Progress,
        report: &mut Report<'_>,
    ) -> Result<ControlFlow<()>, Error> {
        let (mut ended, mut goes_on) = (Ok(()), ControlFlow::Continue(()));
        while let Some((number, answer)) = transfer.answer() {
            let outcome = match answer {
                Ok(Answer::Moved(done)) => {
                    progress.add_file();
                    Ok(done)
                }
                Ok(Answer::Lost(why)) => {
                    self.lost.insert(number);
                    ended = ended.and(why.map_or(Ok(()), Err));
                    continue;
                }
                Ok(answer) => unreachable!("a file came to {answer:?}"),
                Err(error) => Err(error),
            };
            if self.tell(number, outcome, report).is_break() {
                goes_on = ControlFlow::Break(());
            }
        }
        ended.map(|()| goes_on)
    }

    fn tell(
        &mut self,
        number: u64,
        outcome: Result<Transferred, Error>,
        report: &mut Report<'_>,
    ) -> ControlFlow<()> {
        self.files.remove(&number);
        report(usize::try_from(number).unwrap_or(usize::MAX), outcome)
    }
}

impl Client {
    /// Fetches a file, and stores it with its time and permission bits: whole, or not at all. What an earlier try
    /// left is proven, and kept where it is right; a file that is here already does not move.
    pub fn download(&mut self, download: &Download, progress: &Progress) -> Result<Transferred, Error> {
        self.run_one(Batch::downloads([download.clone()]), progress)
    }

    /// Stores a file with its time and permission bits. What an earlier try left is proven, and kept where it is
    /// right; a file that is there already does not move.
    pub fn upload(&mut self, upload: &Upload, progress: &Progress) -> Result<Transferred, Error> {
        self.run_one(Batch::uploads([upload.clone()]), progress)
    }

    fn run_one(&mut self, mut batch: Batch, progress: &Progress) -> Result<Transferred, Error> {
        let mut outcome = None;
        batch.run(self, progress, &mut |_, told| {
            outcome = Some(told);
            ControlFlow::Continue(())
        })?;
        outcome.unwrap_or_else(|| unreachable!("a file that ended without an outcome"))
    }
}
