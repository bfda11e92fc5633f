//! An upload that a `resume` has announced. The server has told the client which blocks it has, and waits for the rest.

use std::io::Read as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::blocks::{Assembler, Assembly, Blocks};
use ftpish_protocol::message::{Cut, Kind, MAX_RANGES, PartArgs, Put, Resume};
use ftpish_protocol::{Code, Meter, Refusal, RemotePath};
use ftpish_storage::{Root, SourceFile, Stage};

use super::parts::{Parts, Uploads};
use super::receiving::Receiving;
use super::replacing::back_up;
use crate::front::Front;

/// How often to check whether another session has released a partial file.
const LOCK_CHECK: Duration = Duration::from_millis(100);

/// Time beyond the pace limit after which a session whose client is gone has released its partial file.
const LOCK_MARGIN: Duration = Duration::from_secs(2);

/// Read throughput of a slow disk, in bytes a second.
const SLOW_DISK: u64 = 10_000_000;

/// An upload between its `resume` and its `put`. It holds the lock of the partial file. If it is dropped, the partial file
/// stays on the disk.
pub struct Offered {
    path: RemotePath,
    stage: Stage,
    /// The blocks found by the `resume`. The client has confirmed none of them.
    found: Assembly,
    base: Base,
}

/// Where the found blocks are, and how the missing ones can arrive.
enum Base {
    /// In the partial file. The missing ones arrive with the `put`.
    Partial,
    /// In the partial file. The missing ones arrive in parts, which know better than `found` what is here.
    Parts(Arc<Parts>),
    /// In the file that has the name already, or had it: another one may have it by now. The `put` copies the file before
    /// it adds the missing blocks.
    Target(Box<SourceFile>),
}

/// Whether the client sends parts without waiting for the reply to its `resume`.
pub fn is_optimistic(args: &Resume) -> bool {
    args.ahead && args.parts
}

/// Refuses a `resume` whose client did not wait for the reply, but has to.
pub fn must_ask_first() -> Refusal {
    Refusal::new(Code::AskFirst, "something of it may be here already: ask, and wait for the reply")
}

impl Offered {
    /// Looks for blocks of the file: in the target if it looks unchanged, else in a partial file. Waits until no other
    /// session holds the partial file, and can take long.
    pub async fn find<F: Front>(
        args: &Resume,
        blocks: Blocks,
        root: &Root,
        uploads: &Uploads,
        front: &mut F,
    ) -> Result<Self, F::Failure> {
        let mut stage = lock_partial(args, root, front).await?;
        let target = find_target(args, root, &mut stage, front).await?;
        let mut assembler = Assembler::new(blocks);
        let (size, take) = (stage.length().min(args.size), |bytes: &[u8]| assembler.update(bytes));
        match &target {
            None => front.digest(&mut stage.reader()?.take(size), size, take).await?,
            Some(file) => {
                let whole = 0..file.size();
                front.digest(&mut file.ranges(Vec::from([whole]))?, args.size, take).await?
            }
        };
        let found = assembler.finish();
        let base = match target {
            // The target has to be copied before a part can be written, and only the `put` copies it.
            Some(file) => Base::Target(Box::new(file)),
            None if args.parts => Base::Parts(open_for_parts(&mut stage, &found, args, uploads)?),
            None => Base::Partial,
        };
        Ok(Self { path: args.path.clone(), stage, found, base })
    }

    /// The same for an [optimistic](is_optimistic) client: nothing may be here yet, or its parts, which are on their way,
    /// could overwrite it. This has to be fast, because the client cannot be sent `working`. Only the first look at a very
    /// large directory is slow.
    pub fn fresh(args: &Resume, blocks: Blocks, root: &Root, uploads: &Uploads) -> Result<Self, Refusal> {
        let has_name = root.stat(&args.path).is_ok_and(|found| {
            found.kind == Kind::File && found.size == args.size && found.mtime.is_near(args.mtime)
        });
        if args.repair || has_name || root.partial_length(&args.path).is_some() {
            return Err(must_ask_first());
        }
        let stage = root.try_resume(&args.path, args.replace, Some(args.mtime))?;
        let mut stage = stage.ok_or_else(must_ask_first)?;
        if stage.length() > 0 {
            // Another session has left it since `partial_length` looked.
            stage.abandon();
            return Err(must_ask_first());
        }
        let found = Assembly::new(blocks);
        let base = Base::Parts(open_for_parts(&mut stage, &found, args, uploads)?);
        Ok(Self { path: args.path.clone(), stage, found, base })
    }

    /// The reply to the `resume`, and the digests that are its body.
    pub fn reply(&self, args: &Resume) -> (Cut, Vec<u8>) {
        let digests = self.found.to_bytes();
        let cut = Cut {
            size: args.size,
            mtime: args.mtime,
            block: self.found.blocks().block(),
            length: digests.len() as u64,
            tag: None,
            upload: self.parts().map(|parts| parts.name().clone()),
            ahead: is_optimistic(args),
        };
        (cut, digests)
    }

    /// The parts of the file, if it arrives in parts.
    pub fn parts(&self) -> Option<&Arc<Parts>> {
        match &self.base {
            Base::Parts(parts) => Some(parts),
            Base::Partial | Base::Target(_) => None,
        }
    }

    /// How long a client needs to read as much of its own copy as is here, from a slow disk.
    pub fn time_to_read(&self) -> Duration {
        Duration::from_secs(self.found.present() / SLOW_DISK)
    }

    /// Whether `part` belongs to this upload. A part that names no upload does.
    pub fn has_part(&self, part: &PartArgs) -> bool {
        let is_named = |parts: &Arc<Parts>| {
            part.upload.as_ref().is_none_or(|name| parts.name().reveal() == name.reveal())
        };
        self.parts().is_some_and(is_named)
    }

    /// Whether `put` completes this upload.
    pub fn is_for(&self, put: &Put) -> bool {
        self.path == put.path && Some(self.found.blocks().size()) == put.size
    }

    /// Takes the `put` that completes the upload. Its body is to bring `ranges`, which the client says are missing.
    pub async fn accept<F: Front>(
        mut self,
        put: &Put,
        ranges: &[(u64, u64)],
        root: &Root,
        front: &mut F,
    ) -> Result<Receiving, F::Failure> {
        let is_unchanged = ranges.is_empty()
            && matches!(&self.base, Base::Target(file) if file.size() == self.found.blocks().size());
        match self.prepare(put, ranges, is_unchanged, root, front).await {
            Ok(_) if is_unchanged => Ok(Receiving::nothing(self.stage, self.found)),
            Ok(ranges) => Ok(Receiving::missing(self.stage, self.found, ranges)),
            Err(failure) => {
                self.abandon();
                Err(failure)
            }
        }
    }

    /// Makes the partial file ready for the missing blocks, which are `ranges`.
    async fn prepare<F: Front>(
        &mut self,
        put: &Put,
        ranges: &[(u64, u64)],
        is_unchanged: bool,
        root: &Root,
        front: &mut F,
    ) -> Result<Vec<Range<u64>>, F::Failure> {
        let Self { stage, found, base, .. } = self;
        let size = found.blocks().size();
        if let Base::Parts(parts) = base {
            *found = parts.close()?;
            stage.take_up(Some(size))?;
        }
        back_up(put, root, stage)?;
        let ranges = aligned(ranges, found.blocks())?;
        if !is_unchanged {
            stage.claim(size)?;
            if let Base::Target(file) = base {
                seed(stage, file, front).await?;
            }
            stage.cut(size)?;
            if !put.sparse {
                stage.reserve(size)?;
            }
        }
        Ok(ranges)
    }

    /// Gives up the upload. The partial file stays for a later try, if it is worth one.
    pub fn abandon(mut self) {
        if let Base::Parts(parts) = &self.base {
            parts.give_up();
            // On an error the length is unknown. The next try reads the file anyway.
            let _ = self.stage.take_up(None);
        }
        self.stage.abandon();
    }
}

/// Locks the partial file of an earlier try, or makes a new one. Waits for another session that holds it: if that session's
/// client is gone without a word, it holds the file until its own deadline.
async fn lock_partial<F: Front>(args: &Resume, root: &Root, front: &mut F) -> Result<Stage, F::Failure> {
    let until = Instant::now() + front.pace() + LOCK_MARGIN;
    loop {
        let (own, path, replace, mtime) = (root.clone(), args.path.clone(), args.replace, args.mtime);
        let resume = move |_: &Meter| own.try_resume(&path, replace, Some(mtime));
        match front.while_working(resume).await? {
            Some(stage) => return Ok(stage),
            None if Instant::now() < until => front.sleep(LOCK_CHECK).await?,
            None => return Ok(root.stage(&args.path, args.replace, Some(args.mtime))?),
        }
    }
}

/// The file that has the name, if by size and time it is the one that the client has. If it is not, but the client repairs
/// it, it becomes the content of the partial file.
async fn find_target<F: Front>(
    args: &Resume,
    root: &Root,
    stage: &mut Stage,
    front: &mut F,
) -> Result<Option<SourceFile>, F::Failure> {
    let found = match root.stat(&args.path) {
        Ok(found) if found.kind == Kind::File => found,
        _ => return Ok(None),
    };
    let target = root.open_file(&args.path)?;
    if found.size == args.size && found.mtime.is_near(args.mtime) {
        return Ok(Some(target));
    }
    // A longer partial file is from an earlier repair, and has more of the new content.
    if args.repair && stage.length() < found.size {
        // Copied now, while the client waits for a reply and can be sent `working`.
        seed(stage, &target, front).await?;
    }
    Ok(None)
}

/// Makes the partial file a copy of `source`, the very file whose blocks were digested.
async fn seed<F: Front>(stage: &mut Stage, source: &SourceFile, front: &mut F) -> Result<(), F::Failure> {
    let seeding = stage.seeding(source)?;
    let copied = front.while_working(move |_| seeding.run()).await?;
    Ok(stage.take_up(Some(copied))?)
}

/// Prepares the partial file for writers on several connections.
fn open_for_parts(
    stage: &mut Stage,
    found: &Assembly,
    args: &Resume,
    uploads: &Uploads,
) -> Result<Arc<Parts>, Refusal> {
    let prepared = stage
        .claim(args.size)
        .and_then(|()| stage.cut(args.size))
        .and_then(|()| stage.reserve(args.size))
        .and_then(|()| stage.writer(args.size));
    match prepared {
        Ok(writer) => Ok(uploads.open(&args.path, found.clone(), writer)),
        Err(refusal) => {
            stage.abandon();
            Err(refusal)
        }
    }
}

/// The ranges of a `put`, if they are in order and consist of whole blocks.
fn aligned(ranges: &[(u64, u64)], blocks: Blocks) -> Result<Vec<Range<u64>>, Refusal> {
    let ranges: Vec<_> = ranges.iter().map(|(start, end)| *start..*end).collect();
    let in_order = ranges.is_sorted_by(|a, b| a.end <= b.start);
    if ranges.len() > MAX_RANGES || !in_order || !ranges.iter().all(|range| blocks.is_aligned(range)) {
        return Err(Refusal::new(Code::BadRange, "ranges are of whole blocks, in order, and at most 1000"));
    }
    Ok(ranges)
}
