//! How a file is fetched: verified, into a writer or under a local name.

mod missing;
mod parts;

pub(crate) use parts::{Started, Unstarted};

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use ftpish_protocol::blocks::MIN_BLOCK;
use ftpish_protocol::message::{Command, File, Get, Kind, Replace, Time, Unset};
use ftpish_protocol::{Algorithm, Code, Refusal, RemotePath, Verified, receive_body};
use ftpish_storage::{Root, Stage};

use super::board::Board;
use super::download::{Download, local};
use super::piece::Incoming;
use crate::{Client, Error, Progress, RESUME_FROM, Transferred};

/// How long a partial file is waited for that another process is at: one that is about to end, perhaps. The server waits
/// for us meanwhile.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// A download on its way.
pub(crate) struct Fetch<'a> {
    download: &'a Download,
    root: &'a Root,
    name: &'a RemotePath,
    progress: &'a Progress,
    board: &'a Board,
}

impl<'a> Fetch<'a> {
    pub(crate) fn of(file: &'a Incoming, progress: &'a Progress, board: &'a Board) -> Self {
        let Incoming { download, root, name, .. } = file;
        Self { download, root, name, progress, board }
    }

    fn refused(&self, refusal: Refusal) -> Error {
        local(&self.download.to, refusal)
    }
}

/// What is on this side of a file already.
enum Base {
    /// Nothing of use.
    Nothing,
    /// The partial file of an earlier try.
    Partial,
    /// The file that has the name.
    Target,
}

impl Client {
    /// Fetches a file into `out`. What was written is proven only when this returns.
    pub fn get(
        &mut self,
        path: &RemotePath,
        digest: Algorithm,
        out: &mut impl Write,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let id = self.request_file(path, digest, 0, None)?;
        let file: File = self.receive_with_body(id)?;
        progress.set_size(file.length);
        let moved = |done| progress.set_done(done);
        let verified = self.receive_into(out, digest, &file, Path::new("-"), &moved)?;
        Ok(transferred(&verified, verified.length(), file.mtime))
    }

    /// Fetches a file, and stores it: whole, or not at all. What is here already is proven, and kept where it is right.
    pub(crate) fn fetch(&mut self, fetch: &Fetch<'_>) -> Result<Transferred, Error> {
        let Fetch { download, root, name, .. } = fetch;
        let Download { from, to, digest, replace, .. } = download;
        let mtime = match replace {
            Replace::Older => Some(self.probe(from, *digest)?.mtime),
            Replace::Always | Replace::Never => None,
        };
        // What can be refused here is refused before bytes are on their way.
        root.check(name, *replace, mtime).map_err(|refusal| local(to, refusal))?;
        match self.base(fetch)? {
            Base::Nothing if !fetch.board.is_alone() && *digest == Algorithm::Blake3 => {
                self.fetch_parts(fetch)
            }
            Base::Nothing => self.fetch_whole(fetch),
            base => match self.fetch_missing(fetch, base) {
                Ok(done) => self.in_digest(fetch, done),
                // The file has become too small for blocks.
                Err(Error::Refused(refusal)) if refusal.code == Code::BadRange => self.fetch_whole(fetch),
                downloaded => downloaded,
            },
        }
    }

    /// What a file came to that changed while it was fetched in parts: if it grew, it is fetched as a whole, which may grow.
    fn fetch_grown(&mut self, fetch: &Fetch<'_>, error: Error, size: u64) -> Result<Transferred, Error> {
        let Download { from, digest, .. } = fetch.download;
        let changed = error.code() == Some(Code::Changed);
        match changed && self.probe(from, *digest)?.size > size {
            true => self.fetch_whole(fetch),
            false => Err(error),
        }
    }

    /// What a file is, through links: asked for with an empty range.
    fn probe(&mut self, path: &RemotePath, digest: Algorithm) -> Result<File, Error> {
        let id = self.request_file(path, digest, 0, Some(0))?;
        let file: File = self.receive_with_body(id)?;
        let nothing = &mut std::io::sink();
        let _none = self.receive_into(nothing, digest, &file, Path::new("-"), &|_| {})?;
        Ok(file)
    }

    /// Looks what is here already.
    fn base(&mut self, Fetch { download, root, name, .. }: &Fetch<'_>) -> Result<Base, Error> {
        let target = root.stat(name).ok().filter(|found| found.kind == Kind::File);
        let target = target.filter(|found| download.repair || found.size >= RESUME_FROM);
        if let Some(target) = target {
            if download.repair {
                return Ok(Base::Target);
            }
            let remote = self.probe(&download.from, download.digest)?;
            if remote.size == target.size && remote.mtime.is_near(target.mtime) {
                return Ok(Base::Target);
            }
        }
        let partial = root.partial_length(name).is_some_and(|length| length >= MIN_BLOCK);
        Ok(if partial { Base::Partial } else { Base::Nothing })
    }

    fn fetch_whole(&mut self, fetch: &Fetch<'_>) -> Result<Transferred, Error> {
        let id = self.request_file(&fetch.download.from, fetch.download.digest, 0, None)?;
        let file: File = self.receive_with_body(id)?;
        self.receive_whole(fetch, &file)
    }

    /// Receives all of a file, of which the reply says what it is.
    fn receive_whole(&mut self, fetch: &Fetch<'_>, file: &File) -> Result<Transferred, Error> {
        let Fetch { download, root, name, progress, .. } = fetch;
        let staged = self.stage(download, root, name, file);
        let mut stage = staged.map_err(|refusal| self.note(fetch.refused(refusal)))?;
        progress.set_size(file.length);
        match self.receive_stage(&mut stage, file, download, &|done| progress.set_done(done)) {
            Ok(verified) => {
                let done = transferred(&verified, verified.length(), file.mtime);
                let committed = stage.commit(verified, download.permissions(Some(file.mode)));
                Ok(Transferred { unset: committed.map_err(|refusal| fetch.refused(refusal))?, ..done })
            }
            Err(error) => {
                stage.abandon();
                Err(error)
            }
        }
    }

    /// Where `file` goes until it is whole: if that is worth it, where a later try finds it.
    pub(crate) fn stage(
        &self,
        download: &Download,
        root: &Root,
        name: &RemotePath,
        file: &File,
    ) -> Result<Stage, Refusal> {
        let (replace, mtime) = (download.replace, Some(file.mtime));
        let staged = if file.length >= RESUME_FROM {
            root.resume(name, replace, mtime, LOCK_WAIT)
        } else {
            root.stage(name, replace, mtime)
        };
        staged.map(|stage| download.backed_up(stage))
    }

    pub(crate) fn receive_stage(
        &mut self,
        stage: &mut Stage,
        file: &File,
        download: &Download,
        moved: &dyn Fn(u64),
    ) -> Result<Verified, Error> {
        let to = &download.to;
        // Less than that either fits, or does not and is soon told.
        let is_set_aside = file.length >= RESUME_FROM && !file.sparse;
        let room = stage.cut(0).and_then(|()| if is_set_aside { stage.reserve(file.length) } else { Ok(()) });
        room.map_err(|refusal| self.note(local(to, refusal)))?;
        self.receive_into(stage, download.digest, file, to, moved)
    }

    pub(crate) fn request_file(
        &mut self,
        path: &RemotePath,
        digest: Algorithm,
        offset: u64,
        length: Option<u64>,
    ) -> Result<u64, Error> {
        self.send(&Command::Get(Get { path: path.clone(), digest, offset, length, subtree: false }), false)
    }

    fn receive_into(
        &mut self,
        out: &mut impl Write,
        digest: Algorithm,
        file: &File,
        to: &Path,
        moved: &dyn Fn(u64),
    ) -> Result<Verified, Error> {
        let interrupt = self.interrupt.clone();
        let verified = receive_body(&mut self.connection, out, digest, Some(file.length), &mut |_, done| {
            moved(done);
            !interrupt.is_set()
        });
        let verified = verified.map_err(|error| self.note(Error::of_body(error, to)))?;
        moved(verified.length());
        Ok(verified)
    }
}

pub(crate) fn transferred(verified: &Verified, moved: u64, mtime: Time) -> Transferred {
    let (size, digest) = (verified.length(), verified.digest());
    Transferred { size, moved, digest, mtime: Some(mtime), unset: Unset::default() }
}

fn changed() -> Error {
    Error::Refused(Refusal::new(Code::Changed, "the file on the server changed while it was fetched"))
}
