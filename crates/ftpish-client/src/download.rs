//! `get`: a remote file, verified, into a writer or under a local name.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ftpish_protocol::blocks::{Assembly, BLOCK_DIGEST, Blocks, MIN_BLOCK};
use ftpish_protocol::message::{BlocksArgs, Command, Cut, File, Get, Kind, Mode, Replace, Time, Unset};
use ftpish_protocol::{
    Algorithm, Code, Name, Refusal, RemotePath, Verified, receive_body, receive_part, receive_ranges,
};
use ftpish_storage::{Backup, Permissions, Root, Stage, StageWriter};

use crate::part::Part;
use crate::split::{AT_A_TIME, Leader, PART, Parts, SPLIT_FROM, spread};
use crate::{Client, Error, Jobs, Progress, RESUME_FROM, Transferred, digest_of};

/// How many ranges are asked for without waiting. The requests lie in the sockets until the first body has come, so they
/// must fit there.
const REQUESTS_IN_FLIGHT: usize = 64;

/// And how many bytes their paths have, together.
const PATHS_IN_FLIGHT: usize = 32 * 1024;

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

/// What is on this side of a file already.
enum Base {
    /// Nothing of use.
    Nothing,
    /// The partial file of an earlier try.
    Partial,
    /// The file that has the name.
    Target,
}

/// A file that comes in parts, over several connections.
struct Arriving<'a> {
    download: &'a Download,
    cut: &'a Cut,
    blocks: Blocks,
    /// What is about to come over the connection that leads.
    first: Mutex<Option<(Part, File)>>,
    writer: &'a StageWriter,
    /// What has come, and the permission bits that the file has.
    arrived: Mutex<(&'a mut Assembly, Option<Mode>)>,
    progress: &'a Progress,
}

/// How a file became complete.
enum Complete {
    /// It was: the one that has the name.
    Already(Verified),
    /// The partial file is.
    Staged {
        verified: Verified,
        mode: Option<Mode>,
        /// How many bytes moved.
        moved: u64,
    },
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
        self.download_in(&root, &name, download, progress)
    }

    /// The same, where it is known where the file goes.
    pub(crate) fn download_in(
        &mut self,
        root: &Root,
        name: &RemotePath,
        download: &Download,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let Download { from, to, digest, replace, .. } = download;
        let mtime = match replace {
            Replace::Older => Some(self.probe(from, *digest)?.mtime),
            Replace::Always | Replace::Never => None,
        };
        // What can be refused here is refused before bytes are on their way.
        root.check(name, *replace, mtime).map_err(|refusal| local(to, refusal))?;
        match self.base(download, root, name)? {
            Base::Nothing if self.jobs() != Jobs::ONE && *digest == Algorithm::Blake3 => {
                self.download_split(download, root, name, progress)
            }
            Base::Nothing => self.download_whole(download, root, name, progress),
            base => match self.download_missing(download, root, name, base, progress) {
                Ok(done) => self.in_digest(*digest, done, download, root, name),
                // The file has become too small for blocks, or the server knows of none.
                Err(Error::Refused(refusal))
                    if matches!(refusal.code, Code::BadRange | Code::Unsupported) =>
                {
                    self.download_whole(download, root, name, progress)
                }
                downloaded => downloaded,
            },
        }
    }

    /// What a file came to that changed while it was fetched in parts: if it grew, it is fetched as a whole, which may grow.
    fn download_grown(
        &mut self,
        error: Error,
        size: u64,
        download: &Download,
        root: &Root,
        name: &RemotePath,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let changed = error.code() == Some(Code::Changed);
        match changed && self.probe(&download.from, download.digest)?.size > size {
            true => self.download_whole(download, root, name, progress),
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
    fn base(&mut self, download: &Download, root: &Root, name: &RemotePath) -> Result<Base, Error> {
        let target = root.stat(name).ok().filter(|found| found.kind == Kind::File);
        let target = target.filter(|found| download.repair || found.size >= RESUME_FROM);
        if let Some(target) = target {
            if download.repair {
                return Ok(Base::Target);
            }
            let remote = self.probe(&download.from, download.digest)?;
            if remote.size == target.size && remote.mtime.is_same(target.mtime) {
                return Ok(Base::Target);
            }
        }
        let partial = root.partial_length(name).is_some_and(|length| length >= MIN_BLOCK);
        Ok(if partial { Base::Partial } else { Base::Nothing })
    }

    fn download_whole(
        &mut self,
        download: &Download,
        root: &Root,
        name: &RemotePath,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let id = self.request_file(&download.from, download.digest, 0, None)?;
        let file: File = self.receive_with_body(id)?;
        self.receive_whole(&file, download, root, name, progress)
    }

    /// Receives all of a file, of which the reply says what it is.
    fn receive_whole(
        &mut self,
        file: &File,
        download: &Download,
        root: &Root,
        name: &RemotePath,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let to = &download.to;
        let staged = self.stage(download, root, name, file);
        let mut stage = staged.map_err(|refusal| self.note(local(to, refusal)))?;
        progress.set_size(file.length);
        match self.receive_stage(&mut stage, file, download, &|done| progress.set_done(done)) {
            Ok(verified) => {
                let done = transferred(&verified, verified.length(), file.mtime);
                let committed = stage.commit(verified, download.permissions(Some(file.mode)));
                Ok(Transferred { unset: committed.map_err(|refusal| local(to, refusal))?, ..done })
            }
            Err(error) => {
                stage.abandon();
                Err(error)
            }
        }
    }

    /// Fetches a file of which nothing is here: if it is large, over several connections.
    fn download_split(
        &mut self,
        download: &Download,
        root: &Root,
        name: &RemotePath,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        // Of a file that is no longer than its first part, the reply has all.
        let id = self.request_part(&download.from, &(0..PART))?;
        let file: File = match self.receive_with_body(id) {
            // The server is one that tells of no more than was asked for.
            Err(Error::Refused(refusal)) if refusal.code == Code::BadRange => {
                return self.download_whole(download, root, name, progress);
            }
            received => received?,
        };
        let File { size, mtime, tag, .. } = file.clone();
        // There are no blocks of this size in a file that is larger than any.
        let blocks = Blocks::of(size).filter(|blocks| blocks.block() <= PART && file.length == PART);
        let Some(blocks) = blocks.filter(|_| size > PART) else {
            if file.length == size && !file.subtree {
                return self.receive_whole(&file, download, root, name, progress);
            }
            self.connection.drain_body().map_err(|error| self.note(error.into()))?;
            return self.download_whole(download, root, name, progress);
        };
        let cut = Cut { size, mtime, block: blocks.block(), length: 0, tag, upload: None, ahead: false };
        progress.set_size(size);
        let refused = |refusal| local(&download.to, refusal);
        let staged = root.resume(name, download.replace, Some(mtime), LOCK_WAIT);
        let mut stage = staged.map_err(|refusal| self.note(refused(refusal)))?;
        let room = stage.cut(0).and_then(|()| if file.sparse { Ok(()) } else { stage.reserve(size) });
        let mut assembly = Assembly::new(blocks);
        let fetched = match room {
            Ok(()) => self.fetch_split(&mut stage, &mut assembly, &cut, Some(file), download, progress),
            Err(refusal) => Err(self.note(refused(refusal))),
        };
        match fetched {
            Ok((verified, mode)) => {
                let done = transferred(&verified, size, mtime);
                let unset = stage.commit(verified, download.permissions(mode)).map_err(refused)?;
                Ok(Transferred { unset, ..done })
            }
            Err(error) => {
                stage.abandon();
                drop(stage);
                self.download_grown(error, size, download, root, name, progress)
            }
        }
    }

    /// Fetches what is missing of a file over several connections. The reply to the request for its `first` part may
    /// have come, up to its body.
    fn fetch_split(
        &mut self,
        stage: &mut Stage,
        assembly: &mut Assembly,
        cut: &Cut,
        first: Option<File>,
        download: &Download,
        progress: &Progress,
    ) -> Result<(Verified, Option<Mode>), Error> {
        let refused = |refusal| local(&download.to, refusal);
        let writer = stage.writer(cut.size).map_err(refused)?;
        let (blocks, kept) = (assembly.blocks(), assembly.present());
        progress.set_done(kept);
        let parts = Parts::of(blocks, &assembly.missing(), kept);
        let first = first.and_then(|file| Some((parts.take(self)?, file)));
        let arriving = Arriving {
            download,
            cut,
            blocks,
            first: Mutex::new(first),
            writer: &writer,
            arrived: Mutex::new((assembly, None)),
            progress,
        };
        let fetched =
            spread(self, &parts, Leader::CanGo, &|client, parts| client.fetch_parts(&arriving, parts));
        let mode = arriving.arrived.into_inner().unwrap_or_else(PoisonError::into_inner).1;
        let taken_up = stage.take_up(fetched.is_ok().then_some(cut.size)).map_err(refused);
        fetched.and(taken_up)?;
        let unproven = || Error::Protocol("parts of the file never came".to_owned());
        Ok((assembly.verified().ok_or_else(unproven)?, mode))
    }

    /// Fetches parts of a file, as many as are left to take.
    fn fetch_parts(&mut self, arriving: &Arriving<'_>, parts: &Parts) -> Result<(), Error> {
        let mut asked: VecDeque<(u64, Part, Option<File>)> = VecDeque::new();
        if self.connection.in_body() {
            let first = arriving.first.lock().unwrap_or_else(PoisonError::into_inner).take();
            asked.extend(first.map(|(part, file)| (0, part, Some(file))));
        }
        let fetched = 'parts: loop {
            while asked.len() < AT_A_TIME
                && let Some(part) = parts.take(self)
            {
                let id = self.request_part(&arriving.download.from, &part.range);
                asked.push_back((*id.as_ref().unwrap_or(&0), part, None));
                if let Err(error) = id {
                    break 'parts Err(error);
                }
            }
            let Some((id, part, file)) = asked.front_mut() else { break Ok(()) };
            let fetched = match file.take() {
                Some(file) => Ok(file),
                None => self.receive_with_body(*id).map_err(|error| match error {
                    Error::Refused(refusal) if refusal.code == Code::BadRange => changed(),
                    error => error,
                }),
            };
            let fetched = fetched.and_then(|file| self.fetch_part(&file, &part.range, arriving, parts));
            if let Err(error) = fetched {
                break Err(error);
            }
            asked.pop_front();
            parts.done();
        };
        if let Err(error) = &fetched {
            self.pass_replies(error, asked.iter().skip(1).map(|(id, ..)| *id));
            parts.give_back(asked.into_iter().map(|(_, part, _)| part));
        }
        fetched
    }

    /// What becomes of a connection on which a part of a file was not received: the replies to the requests behind it are on
    /// their way. They are read past where the file has changed, because it moves as a whole then; else nobody waits for them.
    fn pass_replies(&mut self, error: &Error, behind: impl Iterator<Item = u64>) {
        let behind: Vec<u64> = behind.collect();
        if error.code() != Some(Code::Changed) || self.broken {
            self.broken |= !behind.is_empty();
            return;
        }
        let passed = self.connection.drain_body().map_err(Error::from).and_then(|()| {
            behind.into_iter().try_for_each(|id| match self.receive_with_body::<File>(id) {
                Ok(_) => Ok(self.connection.drain_body()?),
                Err(Error::Refused(_)) => Ok(()),
                Err(error) => Err(error),
            })
        });
        self.broken |= passed.is_err();
    }

    fn request_part(&mut self, path: &RemotePath, part: &Range<u64>) -> Result<u64, Error> {
        let (offset, length) = (part.start, Some(part.end - part.start));
        let get = Get { path: path.clone(), digest: Algorithm::Blake3, offset, length, subtree: true };
        self.send_ahead(&Command::Get(get))
    }

    fn fetch_part(
        &mut self,
        file: &File,
        part: &Range<u64>,
        arriving: &Arriving<'_>,
        parts: &Parts,
    ) -> Result<(), Error> {
        let Arriving { download, cut, blocks, writer, arrived, progress, .. } = arriving;
        if (file.size, file.mtime, &file.tag) != (cut.size, cut.mtime, &cut.tag) {
            return Err(self.note(changed()));
        }
        // A server that knows of no subtrees has digested the bytes.
        let algorithm = if file.subtree { None } else { Some(Algorithm::Blake3) };
        let (interrupt, mut before) = (self.interrupt.clone(), 0);
        let received = receive_part(
            &mut self.connection,
            &mut &**writer,
            *blocks,
            part.clone(),
            algorithm,
            &mut |_, now| {
                parts.count(before, now, progress);
                before = now;
                !interrupt.is_set() && !parts.are_stopped()
            },
        );
        match received {
            Ok(part) => {
                let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
                arrived.0.join(part);
                arrived.1 = Some(file.mode);
            }
            Err(error) => {
                writer.distrust(part.end);
                parts.count(before, 0, progress);
                return Err(self.note(Error::of_body(error, &download.to)));
            }
        }
        parts.count(before, part.end - part.start, progress);
        Ok(())
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

    /// A transfer by the block was proven by BLAKE3. Where another digest was asked for, both ends read the file once
    /// more.
    fn in_digest(
        &mut self,
        digest: Algorithm,
        done: Transferred,
        download: &Download,
        root: &Root,
        name: &RemotePath,
    ) -> Result<Transferred, Error> {
        if done.digest.algorithm() == digest {
            return Ok(done);
        }
        let there = self.hash(&download.from, digest, &Progress::default())?.digest;
        let file = root.open_file(name).map_err(|refusal| local(&download.to, refusal))?;
        let here = digest_of(&download.to, file, digest, &self.meter())?;
        if here == there { Ok(Transferred { digest: here, ..done }) } else { Err(changed()) }
    }

    /// Fetches the blocks of a file that are not here, or not right.
    fn download_missing(
        &mut self,
        download: &Download,
        root: &Root,
        name: &RemotePath,
        base: Base,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let Download { from, to, replace, .. } = download;
        let refused = |refusal| local(to, refusal);
        let partial = root.partial_length(name).unwrap_or(0);
        let here = match base {
            Base::Target => root.stat(name).map_err(refused)?.size.max(partial),
            Base::Partial | Base::Nothing => partial,
        };
        let id = self.send(&Command::Blocks(BlocksArgs { path: from.clone(), length: Some(here) }), false)?;
        let (cut, blocks, sender) = match self.receive_digests(id) {
            Ok(digests) => digests,
            // It is not known what size it had.
            Err(error) => return self.download_grown(error, 0, download, root, name, progress),
        };
        progress.set_size(cut.size);
        let stage = root.resume(name, *replace, Some(cut.mtime), LOCK_WAIT).map_err(refused)?;
        let mut stage = download.backed_up(stage);
        let completed =
            self.complete(&mut stage, root, name, base, (&cut, blocks, &sender), download, progress);
        match completed {
            Ok(Complete::Already(verified)) => {
                stage.remove();
                Ok(transferred(&verified, 0, cut.mtime))
            }
            Ok(Complete::Staged { verified, mode, moved }) => {
                let done = transferred(&verified, moved, cut.mtime);
                let unset = stage.commit(verified, download.permissions(mode)).map_err(refused)?;
                Ok(Transferred { unset, ..done })
            }
            Err(error) => {
                stage.abandon();
                drop(stage);
                self.download_grown(error, cut.size, download, root, name, progress)
            }
        }
    }

    /// Makes the partial file what the server has, from what is here and what is missing.
    #[expect(clippy::too_many_arguments, reason = "the parts of one transfer, borrowed apart")]
    fn complete(
        &mut self,
        stage: &mut Stage,
        root: &Root,
        name: &RemotePath,
        base: Base,
        (cut, blocks, sender): (&Cut, Blocks, &[u8]),
        download: &Download,
        progress: &Progress,
    ) -> Result<Complete, Error> {
        let refused = |refusal| local(&download.to, refusal);
        let mut target = match base {
            Base::Target => Some(root.open_file(name).map_err(refused)?),
            Base::Partial | Base::Nothing => None,
        };
        let mut assembly = Assembly::new(blocks);
        if let Some(target) = &target {
            let whole = 0..target.size();
            let mut whole = target.ranges(Vec::from([whole])).map_err(refused)?;
            let read = self.in_touch(|meter| Assembly::of(&mut whole, blocks, meter))?;
            assembly = read.map_err(|error| self.note(Error::local(&download.to, error)))?;
            assembly.prove_all(sender);
            if let Some(verified) = assembly.verified().filter(|_| target.size() == cut.size) {
                return Ok(Complete::Already(verified));
            }
        }
        // What an earlier try left may be worth more than what has the name: the rest of a repair, for one.
        let read = self.in_touch(|meter| stage.assemble(blocks, meter))?;
        let mut left = read.map_err(|refusal| self.note(refused(refusal)))?;
        left.prove_all(sender);
        if left.present() > assembly.present() {
            (assembly, target) = (left, None);
        }
        let kept = assembly.present();
        progress.set_done(kept);
        if let Some(target) = target {
            self.in_touch(|_| stage.seed(&target))?.map_err(refused)?;
        }
        stage.cut(cut.size).map_err(refused)?;
        let (verified, mode) = self.fetch_missing(stage, &mut assembly, cut, download, progress)?;
        Ok(Complete::Staged { verified, mode, moved: cut.size - kept })
    }

    fn fetch_missing(
        &mut self,
        stage: &mut Stage,
        assembly: &mut Assembly,
        cut: &Cut,
        download: &Download,
        progress: &Progress,
    ) -> Result<(Verified, Option<Mode>), Error> {
        let Download { from, digest, .. } = download;
        let missing = cut.size - assembly.present();
        if self.jobs() != Jobs::ONE && *digest == Algorithm::Blake3 && missing >= SPLIT_FROM {
            return self.fetch_split(stage, assembly, cut, None, download, progress);
        }
        let mut mode = None;
        let mut done = assembly.present();
        let in_flight = (PATHS_IN_FLIGHT / from.as_bytes().len()).min(REQUESTS_IN_FLIGHT);
        for window in assembly.missing().chunks(in_flight) {
            let ids: Result<Vec<u64>, Error> = window
                .iter()
                .map(|range| self.request_file(from, *digest, range.start, Some(range.end - range.start)))
                .collect();
            let ids = ids?;
            for (at, (id, range)) in ids.iter().copied().zip(window).enumerate() {
                let fetched = self.fetch_range(id, range, stage, assembly, cut, download, |moved| {
                    progress.set_done(done + moved);
                });
                if let Err(error) = &fetched {
                    self.pass_replies(error, ids[at + 1..].iter().copied());
                }
                mode = Some(fetched?);
                done += range.end - range.start;
                progress.set_done(done);
            }
        }
        if mode.is_none() {
            // Nothing moved, so nobody said what the permission bits are.
            let now = self.probe(from, *digest)?;
            if now.tag != cut.tag {
                return Err(changed());
            }
            mode = Some(now.mode);
        }
        let unproven = || Error::Protocol("blocks of the file were never told".to_owned());
        Ok((assembly.verified().ok_or_else(unproven)?, mode))
    }

    /// Receives one range of a file that was cut so, and tells the permission bits of the file.
    #[expect(clippy::too_many_arguments, reason = "the parts of one transfer, borrowed apart")]
    fn fetch_range(
        &mut self,
        id: u64,
        range: &Range<u64>,
        stage: &mut Stage,
        assembly: &mut Assembly,
        cut: &Cut,
        download: &Download,
        moved: impl Fn(u64),
    ) -> Result<Mode, Error> {
        let file: File = self.receive_with_body(id).map_err(|error| match error {
            Error::Refused(refusal) if refusal.code == Code::BadRange => changed(),
            error => error,
        })?;
        if (file.size, file.mtime, &file.tag) != (cut.size, cut.mtime, &cut.tag) {
            return Err(self.note(changed()));
        }
        let interrupt = self.interrupt.clone();
        let received = receive_ranges(
            &mut self.connection,
            stage,
            assembly,
            vec![range.clone()],
            download.digest,
            &mut |_, now| {
                moved(now);
                !interrupt.is_set()
            },
        );
        received.map_err(|error| self.note(Error::of_body(error, &download.to)))?;
        Ok(file.mode)
    }

    /// Receives the digests of a file's blocks, and checks that they are what they are said to be.
    pub(crate) fn receive_digests(&mut self, id: u64) -> Result<(Cut, Blocks, Vec<u8>), Error> {
        let cut: Cut = self.receive_with_body(id)?;
        let Some(blocks) = Blocks::new(cut.size, cut.block) else {
            return Err(self.note(Error::Protocol(format!("blocks of {} bytes", cut.block))));
        };
        if cut.length > (blocks.count() * BLOCK_DIGEST) as u64 {
            return Err(self.note(Error::Protocol("more digests than blocks".to_owned())));
        }
        let mut digests = Vec::new();
        let received = receive_body(
            &mut self.connection,
            &mut digests,
            Algorithm::Blake3,
            Some(cut.length),
            &mut |_, _| true,
        );
        let _digests = received.map_err(|error| self.note(Error::of_body(error, Path::new("-"))))?;
        Ok((cut, blocks, digests))
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
