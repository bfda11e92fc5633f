//! `get`: a remote file, verified, into a writer or under a local name.

mod missing;
mod parts;

use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ftpish_protocol::blocks::MIN_BLOCK;
use ftpish_protocol::message::{Command, File, Get, Kind, Mode, Replace, Time, Unset};
use ftpish_protocol::{Algorithm, Code, Name, Refusal, RemotePath, Verified, receive_body};
use ftpish_storage::{Backup, Permissions, Root, Stage};

use super::lanes::Lanes;
use crate::Way;
use crate::{Client, Error, Progress, RESUME_FROM, Transferred};

/// How long a partial file is waited for that another process is at: one that is about to end, perhaps. The server waits
/// for us meanwhile.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// A remote file to be stored under a local name.
#[derive(Clone, Debug)]
pub struct Download {
    /// What to fetch.
    pub from: RemotePath,
    /// The file to make or replace.
    pub to: PathBuf,
    /// What proves it.
    pub digest: Algorithm,
    /// What may be replaced.
    pub replace: Replace,
    /// Whether the file is on the disk before this is done.
    pub sync: bool,
    /// Compare what is there with what is to come, block by block, and move only what differs.
    pub repair: bool,
    /// Whether the file gets the very permission bits of its source, whatever the umask is, and whatever it replaces.
    pub perms: bool,
    /// Where what is replaced is kept, if it is to be kept.
    pub backup: Option<Backup>,
}

impl Download {
    /// Fetches the file `from` as `to`, proven by BLAKE3 and on the disk when it is done, whatever is there. What is to be
    /// otherwise is said in the fields.
    pub fn new(from: RemotePath, to: impl Into<PathBuf>) -> Self {
        Self {
            from,
            to: to.into(),
            digest: Algorithm::Blake3,
            replace: Replace::Always,
            sync: true,
            repair: false,
            perms: false,
            backup: None,
        }
    }

    /// Whether there is something on this side that may be worth keeping, so that the file is better fetched by
    /// [`Client::download`].
    pub fn has_base(&self) -> bool {
        local_target(&self.to, self.sync).is_ok_and(|(root, name)| self.has_base_in(&root, &name))
    }

    /// The same, where it is known where the file goes.
    pub(crate) fn has_base_in(&self, root: &Root, name: &RemotePath) -> bool {
        let target = root.stat(name).is_ok_and(|found| self.repair || found.size >= RESUME_FROM);
        target || root.partial_length(name).is_some_and(|length| length >= MIN_BLOCK)
    }

    pub(crate) fn permissions(&self, mode: Option<Mode>) -> Permissions {
        Permissions::named(mode, self.perms)
    }

    /// Has a stage keep what it replaces, where that is asked.
    pub(crate) fn backed_up(&self, mut stage: Stage) -> Stage {
        self.backup.iter().for_each(|backup| stage.back_up(backup.clone()));
        stage
    }
}

/// A download on its way.
pub(crate) struct Fetch<'a> {
    pub(crate) download: &'a Download,
    /// The directory that the file goes into.
    pub(crate) root: &'a Root,
    /// Its name there.
    pub(crate) name: &'a RemotePath,
    pub(crate) progress: &'a Progress,
    pub(crate) lanes: &'a Arc<Lanes>,
}

impl Fetch<'_> {
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

    /// Fetches a file, and stores it with its time and permission bits: whole, or not at all. What an earlier try
    /// left is proven, and kept where it is right; a file that is here already does not move.
    pub fn download(&mut self, download: &Download, progress: &Progress) -> Result<Transferred, Error> {
        let (root, name) = local_target(&download.to, download.sync)?;
        let lanes = Lanes::new(self, Way::Get, progress);
        let fetched = self.fetch(&Fetch { download, root: &root, name: &name, progress, lanes: &lanes });
        lanes.end(self);
        fetched
    }

    /// The same, as one of the files of a transfer.
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
            Base::Nothing if !fetch.lanes.is_alone() && *digest == Algorithm::Blake3 => self.fetch_parts(fetch),
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

pub(crate) fn local(path: &Path, refusal: Refusal) -> Error {
    Error::Local { path: path.to_owned(), refusal }
}

fn changed() -> Error {
    Error::Refused(Refusal::new(Code::Changed, "the file on the server changed while it was fetched"))
}

/// The directory that a local name is in, and the name there.
pub(crate) fn local_target(path: &Path, sync: bool) -> Result<(Root, RemotePath), Error> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    let refused = |refusal| Error::Local { path: path.to_owned(), refusal };
    let name = path.file_name().unwrap_or_default();
    let name = Name::parse(name.as_bytes())
        .and_then(|name| RemotePath::root().join(&name))
        .map_err(|error| refused(Refusal::new(Code::BadPath, error.to_string())))?;
    // Only the link would be replaced; but one like /dev/stdout is the whole system's.
    if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let line = "it is a fifo, a socket or a device, or leads to one";
        return Err(refused(Refusal::new(Code::NotRegular, line)));
    }
    let root = Root::open(parent, sync).map_err(|error| Error::local(parent, error))?;
    Ok((root, name))
}
