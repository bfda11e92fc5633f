//! Files on their way in: written beside their target without a name, or under one that no listing shows, verified, made
//! durable, and given the name of the target. Until then the target keeps what it had.

use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ftpish_protocol::blocks::{Assembly, Blocks, MIN_BLOCK, WriteAt};
use ftpish_protocol::message::Time;
use ftpish_protocol::{Meter, Name, Refusal};
use rustix::fs::FallocateFlags;

use crate::backup::Backup;
use crate::count::FileId;
use crate::descriptors::Stored;
use crate::dir::Directory;
use crate::partial::{
    has_name, is_ours, lock, open_options, open_partial, open_unnamed, partial_name, partial_of,
};
use crate::quota::{Bound, Claim};
use crate::target::Target;
use crate::{Identity, Outcome, SourceFile, refuse};

mod publish;
mod space;
pub(crate) use publish::Kept;

/// How often the lock of a partial file is tried that somebody else is at: flock(2) waits either not at all or without
/// an end.
const LOCK_CHECK: Duration = Duration::from_millis(10);

/// From how many zero bytes on a hole is made in place of writing them: less is rarely a hole of the source.
const HOLE: usize = 64 * 1024;

/// A partial file. It ends in [`commit`](Self::commit) or in [`abandon`](Self::abandon); if it is dropped, as by kill -9, and
/// has a name, it stays. Such a one is locked as long as it is open.
#[derive(Debug)]
#[must_use = "a stage that is neither committed nor abandoned leaves its partial file behind"]
pub struct Stage {
    /// Its part of the quota. The first field, so that it ends before somebody else can have the lock.
    claim: Option<Claim>,
    file: File,
    _stored: Stored,
    /// Its name; one that nobody will look for has none, where the file system knows of such files.
    partial: Option<String>,
    target: Target,
    sync: bool,
    /// Where the next bytes of a stream go.
    at: u64,
    /// Up to where the file has bytes or holes.
    end: u64,
    /// Whether the last of that is a hole, so that the file is not yet as long.
    ends_in_hole: bool,
    /// Whether a later try finds it by its name.
    resumable: bool,
}

impl Stage {
    /// An empty partial file, of which nobody else knows the name.
    pub(crate) fn begin(target: Target, sync: bool, bound: Option<&Arc<Bound>>) -> Outcome<Self> {
        let unnamed = open_unnamed(&target.parent);
        // A rename does not ask what it replaces; whoever gives a first name has to.
        if unnamed.is_none() {
            target.check()?;
        }
        let mut claim = bound.map(Bound::claim).transpose()?;
        let (file, partial) = match unnamed {
            Some(file) => (file, None),
            None => {
                let partial = partial_name();
                let mut options = open_options();
                let file =
                    target.parent.open_with(&partial, options.create_new(true)).map_err(refuse)?.into_std();
                // Nobody else can hold the lock of a file that did not exist; it tells a sweep that the file is in use.
                let _ = lock(&file);
                (file, Some(partial))
            }
        };
        if let Some(claim) = &mut claim {
            claim.is_made_for(file_id(&file)?);
            if partial.is_none() {
                claim.leaves_nothing();
            }
        }
        let _stored = Stored::begin();
        Ok(Self {
            claim,
            file,
            _stored,
            partial,
            target,
            sync,
            at: 0,
            end: 0,
            ends_in_hole: false,
            resumable: false,
        })
    }

    /// The partial file of an earlier try, with what that left in it; an empty one where there was none, or where
    /// another writer is at it and stays there for all our `patience`: perhaps one whose client has left, and who has
    /// yet to notice.
    pub(crate) fn resume(
        mut target: Target,
        sync: bool,
        patience: Duration,
        bound: Option<&Arc<Bound>>,
    ) -> Outcome<Self> {
        let until = Instant::now() + patience;
        loop {
            match Self::try_resume(target, sync, bound)? {
                Taken::Ours(stage) => return Ok(stage),
                Taken::Others(again) if Instant::now() < until => target = again,
                Taken::Others(target) => return Self::begin(target, sync, bound),
            }
            std::thread::sleep(LOCK_CHECK);
        }
    }

    /// [`resume`](Self::resume) without waiting.
    pub(crate) fn try_resume(target: Target, sync: bool, bound: Option<&Arc<Bound>>) -> Outcome<Taken> {
        target.check()?;
        let partial = partial_of(&target.name);
        let mut claim = None;
        loop {
            let mut options = open_options();
            options.create(bound.is_none() || claim.is_some());
            let file = match (open_partial(&target.parent, &partial, &options), bound) {
                (Ok(file), _) => file,
                (Err(error), Some(bound)) if error.kind() == io::ErrorKind::NotFound && claim.is_none() => {
                    claim = Some(bound.claim()?);
                    continue;
                }
                // Something that is no file of ours is in the way.
                (Err(_), _) => return Self::begin(target, sync, bound).map(Taken::Ours),
            };
            let locked = lock(&file);
            if locked && has_name(&file, &target.parent, &partial).unwrap_or(true) {
                if !is_ours(&file, &target.parent).unwrap_or(false) {
                    return Self::begin(target, sync, bound).map(Taken::Ours);
                }
                let end = file.metadata().map_err(refuse)?.len();
                match (&mut claim, bound) {
                    (Some(claim), _) => {
                        claim.is_made_for(file_id(&file)?);
                        claim.leaves(end);
                        claim.grow_to(end)?;
                    }
                    (None, Some(bound)) => claim = Some(bound.claim_again(file_id(&file)?, end)?),
                    (None, None) => {}
                }
                return Ok(Taken::Ours(Self {
                    claim,
                    file,
                    _stored: Stored::begin(),
                    partial: Some(partial),
                    target,
                    sync,
                    at: 0,
                    end,
                    ends_in_hole: false,
                    resumable: true,
                }));
            }
            // Where it was committed before the lock was ours, there is a new one to be made at once.
            if !locked {
                return Ok(Taken::Others(target));
            }
        }
    }

    /// How many bytes the partial file has, right or wrong.
    pub fn length(&self) -> u64 {
        self.end
    }

    /// Makes the partial file a copy of `source`, sharing its blocks where the file system can. That is the very file
    /// whose blocks were digested, and not what has its name by now; it must not change either.
    pub fn seed(&mut self, source: &SourceFile) -> Outcome<()> {
        let copied = self.seeding(source)?.run()?;
        self.take_up(Some(copied))
    }

    /// [`seed`](Self::seed) as work that another thread may do; what it copied is then [taken up](Self::take_up).
    pub fn seeding(&mut self, source: &SourceFile) -> Outcome<Seeding> {
        self.claim(source.size())?;
        self.is_to_have(source.size());
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(refuse)?;
        Ok(Seeding { file: self.file.try_clone().map_err(refuse)?, source: source.try_clone()? })
    }

    /// What the partial file has, from its beginning on.
    pub fn reader(&self) -> Outcome<impl io::Read + Send + use<>> {
        let mut file = self.file.try_clone().map_err(refuse)?;
        file.rewind().map_err(refuse)?;
        Ok(file)
    }

    /// Digests the blocks that the partial file has, for a file that is cut so; `meter` counts the bytes, and
    /// may stop it.
    pub fn assemble(&mut self, blocks: Blocks, meter: &Meter) -> Outcome<Assembly> {
        self.file.rewind().map_err(refuse)?;
        Assembly::of(&mut self.file, blocks, meter).map_err(refuse)
    }

    /// Cuts off what the partial file has beyond `size` bytes.
    pub fn cut(&mut self, size: u64) -> Outcome<()> {
        if self.end > size {
            self.file.set_len(size).map_err(refuse)?;
            self.end = size;
            self.is_to_have(size);
        }
        Ok(())
    }

    /// Claims what `size` bytes in all need of the quota, so that one that is used up is known before they move. What
    /// nobody announced is claimed as it comes.
    pub fn claim(&mut self, size: u64) -> Outcome<()> {
        self.claim.as_mut().map_or(Ok(()), |claim| claim.grow_to(size))
    }

    /// However this ends, so much is left unless it is taken away. Without a name it takes itself away.
    fn is_to_have(&self, size: u64) {
        if let Some(claim) = self.claim.as_ref().filter(|_| self.partial.is_some()) {
            claim.leaves(size);
        }
    }

    /// A way for several to write at the same time, each in a place of its own. The stage itself writes nothing meanwhile;
    /// what they have written it [takes up](Self::take_up). That is `size` bytes at the most, which were
    /// [claimed](Self::claim).
    pub fn writer(&self, size: u64) -> Outcome<StageWriter> {
        self.is_to_have(size.max(self.end));
        Ok(StageWriter { file: self.file.try_clone().map_err(refuse)?, stale: AtomicU64::new(self.end) })
    }

    /// Takes up what writers have written: `size` bytes where that is all of a file, whose end may be a hole; and else as
    /// many as there are.
    pub fn take_up(&mut self, size: Option<u64>) -> Outcome<()> {
        let there = self.file.metadata().map_err(refuse)?.len();
        self.end = size.unwrap_or(there.max(self.end));
        self.ends_in_hole = there < self.end;
        self.is_to_have(self.end);
        Ok(())
    }

    /// Replaces only this very file: refused with `changed` where another one has the name at the commit, or with
    /// `not-found` where none has.
    pub fn replace_only(&mut self, expected: Identity) {
        self.target.expected = Some(expected);
    }

    /// Keeps what is replaced.
    pub fn back_up(&mut self, backup: Backup) {
        self.target.backup = Some(backup);
    }

    /// Zeros that need no room on the disk: beyond the end they are not written; before it, what is there is cut
    /// out, where the file system can.
    fn make_hole(&self, zeros: &[u8], offset: u64) -> io::Result<()> {
        if offset >= self.end {
            return Ok(());
        }
        punch(&self.file, zeros, offset)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn parent(&self) -> &Arc<Directory> {
        &self.target.parent
    }

    /// What is to have which time, where it is not known that its file system keeps it.
    pub(crate) fn timed(&self) -> Option<(Arc<Directory>, Name, Time)> {
        let Target { parent, name, mtime, .. } = &self.target;
        let mtime = mtime.filter(|_| parent.file_system().is_none());
        mtime.map(|mtime| (Arc::clone(parent), name.clone(), mtime))
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.sync
    }

    /// Gives up, for now: what a later try can find again, and is a block at least, stays; the rest goes.
    pub fn abandon(&self) {
        // A hole at the end counts, too.
        let kept = self.resumable && self.end >= MIN_BLOCK && self.file.set_len(self.end).is_ok();
        if kept {
            self.is_to_have(self.end);
        } else {
            self.remove();
        }
    }

    /// Takes the partial file away.
    pub fn remove(&self) {
        let is_gone = self.partial.as_ref().is_none_or(|partial| self.unlink(partial));
        if let Some(claim) = self.claim.as_ref().filter(|_| is_gone) {
            claim.leaves_nothing();
        }
    }

    /// That it cannot be is no news to the peer: the name is hidden all the same.
    fn unlink(&self, partial: &str) -> bool {
        let removed = self.target.parent.remove_file(partial);
        removed.inspect_err(|error| tracing::warn!(partial, %error, "cannot remove a partial file")).is_ok()
    }
}

/// Whose the partial file of an earlier try is.
pub(crate) enum Taken {
    Ours(Stage),
    /// Somebody else is at it.
    Others(Target),
}

/// The copying of a file into a [`Stage`].
#[derive(Debug)]
pub struct Seeding {
    file: File,
    source: SourceFile,
}

impl Seeding {
    /// Does it; tells how many bytes were copied.
    pub fn run(mut self) -> Outcome<u64> {
        let copied = self.source.copy_to(&mut self.file).map_err(refuse)?;
        self.source.check_unchanged()?;
        Ok(copied)
    }
}

/// Writes into a [`Stage`], beside others.
#[derive(Debug)]
pub struct StageWriter {
    file: File,
    /// Up to where the file may have bytes that nobody vouches for.
    stale: AtomicU64,
}

impl StageWriter {
    /// Says that what was written before `end` may have to be written again, because it did not verify.
    pub fn distrust(&self, end: u64) {
        self.stale.fetch_max(end, Ordering::Relaxed);
    }
}

impl WriteAt for &StageWriter {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.len() < HOLE || bytes.iter().any(|byte| *byte != 0) {
            return self.file.write_all_at(bytes, offset);
        }
        // Where nothing ever was, a hole is.
        if offset >= self.stale.load(Ordering::Relaxed) { Ok(()) } else { punch(&self.file, bytes, offset) }
    }
}

/// Zeros that need no room on the disk, where the file system can.
fn punch(file: &File, zeros: &[u8], offset: u64) -> io::Result<()> {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, punch, offset, zeros.len() as u64) {
        Ok(()) => Ok(()),
        Err(_) => file.write_all_at(zeros, offset),
    }
}

impl WriteAt for Stage {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if let Some(claim) = &mut self.claim {
            claim.grow_to(end).map_err(Refusal::into_io)?;
        }
        self.is_to_have(end.max(self.end));
        let is_hole = bytes.len() >= HOLE && bytes.iter().all(|byte| *byte == 0);
        if is_hole {
            self.make_hole(bytes, offset)?;
        } else {
            self.file.write_all_at(bytes, offset)?;
        }
        if end > self.end {
            (self.end, self.ends_in_hole) = (end, is_hole);
        }
        Ok(())
    }
}

impl Write for Stage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WriteAt::write_at(self, bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn file_id(file: &File) -> Outcome<FileId> {
    let metadata = file.metadata().map_err(refuse)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests;
