//! `resume`: what is here already of a file that is about to be put, by the block.

use std::io::Read as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ftpish_protocol::blocks::{Assembler, Assembly, Blocks};
use ftpish_protocol::message::{Cut, Kind, MAX_RANGES, PartArgs, Put, Resume, Stored};
use ftpish_protocol::{Code, Digest, Meter, Refusal, RemotePath, Verified};
use ftpish_storage::{Permissions, Root, SourceFile, Stage};

use super::blocks::DIGEST;
use super::part::{Shared, Uploads};
use super::replace::{back_up, require_expected, stored};
use crate::exchange::{Exchange, Failure};

/// How often it is looked whether another session has let go of a partial file.
const LOCK_CHECK: Duration = Duration::from_millis(100);

/// What a slow disk reads, in bytes a second.
const SLOW_DISK: u64 = 10_000_000;

/// A file on its way in: what a `resume` found, for the `put` that follows on the same connection. Its partial file
/// is locked meanwhile. Dropped, it stays on the disk for a later try.
pub struct Upload {
    path: RemotePath,
    stage: Stage,
    /// What is here, of which the client has confirmed nothing yet.
    assembly: Assembly,
    base: Base,
    /// What parts come into, where the file comes in parts: that knows better what is here.
    shared: Option<Arc<Shared>>,
}

/// What the blocks that are here were read from.
enum Base {
    /// The partial file of an earlier try.
    Partial,
    /// The file that had the name already. Another may have it by now.
    Target(Box<SourceFile>),
}

pub async fn run(
    args: &Resume,
    root: &Root,
    uploads: &Uploads,
    exchange: &mut Exchange<'_>,
) -> Result<Box<Upload>, Failure> {
    let Some(blocks) = Blocks::of(args.size) else {
        return Err(Refusal::new(Code::BadRange, "a file of one block or less is put as a whole").into());
    };
    if is_ahead(args) {
        return run_ahead(args, blocks, root, uploads, exchange).await.map(Box::new);
    }
    let mut stage = take_up(args, root, exchange).await?;
    let base = match root.stat(&args.path) {
        Ok(found) if found.kind == Kind::File => {
            let target = root.open_file(&args.path)?;
            if found.size == args.size && found.mtime.is_near(args.mtime) {
                Base::Target(Box::new(target))
            } else {
                // The rest of an earlier repair is worth more.
                if args.repair && stage.length() < found.size {
                    // Now, while the client waits for the reply, and not in front of its body.
                    seed(&mut stage, &target, exchange).await?;
                }
                Base::Partial
            }
        }
        _ => Base::Partial,
    };
    let mut assembler = Assembler::new(blocks);
    let (size, take) = (stage.length().min(args.size), |bytes: &[u8]| assembler.update(bytes));
    match &base {
        Base::Partial => exchange.digest(&mut stage.reader()?.take(size), size, take).await?,
        Base::Target(file) => {
            let whole = 0..file.size();
            exchange.digest(&mut file.ranges(Vec::from([whole]))?, args.size, take).await?
        }
    };
    let assembly = assembler.finish();
    // What another file has is copied before anything is written: that is left to the `put`.
    let shared = match base {
        Base::Partial if args.parts => Some(share(&mut stage, &assembly, args, uploads)?),
        _ => None,
    };
    let mut upload = Upload { path: args.path.clone(), stage, assembly, base, shared };
    upload.tell(args, exchange).await?;
    Ok(Box::new(upload))
}

/// The partial file of an earlier try, or a new one. While another session is at that it is waited for: one whose client is
/// gone without a word holds it until its own deadline.
async fn take_up(args: &Resume, root: &Root, exchange: &mut Exchange<'_>) -> Result<Stage, Failure> {
    let until = Instant::now() + exchange.limits().pace + Duration::from_secs(2);
    loop {
        let (own, path, replace, mtime) = (root.clone(), args.path.clone(), args.replace, args.mtime);
        let resume = move |_: &Meter| own.try_resume(&path, replace, Some(mtime));
        match exchange.while_working(resume).await? {
            Some(stage) => return Ok(stage),
            None if Instant::now() < until => exchange.sleep(LOCK_CHECK).await?,
            None => return Ok(root.stage(&args.path, args.replace, Some(args.mtime))?),
        }
    }
}

/// Makes the partial file a copy of the very file whose blocks are told.
async fn seed(stage: &mut Stage, source: &SourceFile, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let seeding = stage.seeding(source)?;
    let copied = exchange.while_working(move |_| seeding.run()).await?;
    Ok(stage.take_up(Some(copied))?)
}

/// Whether parts follow without waiting for the reply.
pub fn is_ahead(args: &Resume) -> bool {
    args.ahead && args.parts
}

/// What a client is refused with that did not wait, but has to.
pub fn ask_first() -> Refusal {
    Refusal::new(Code::AskFirst, "something of it may be here already: ask, and wait for the reply")
}

/// Tells a client that does not wait that nothing is here, or else that it has to. Neither takes long, but for the first look
/// at a directory of very many names: it may be unable to hear that work goes on. And parts that are on their way by then must find nothing that they could overwrite.
async fn run_ahead(
    args: &Resume,
    blocks: Blocks,
    root: &Root,
    uploads: &Uploads,
    exchange: &mut Exchange<'_>,
) -> Result<Upload, Failure> {
    let has_name = root.stat(&args.path).is_ok_and(|found| {
        found.kind == Kind::File && found.size == args.size && found.mtime.is_near(args.mtime)
    });
    if args.repair || has_name || root.partial_length(&args.path).is_some() {
        return Err(ask_first().into());
    }
    let Some(mut stage) = root.try_resume(&args.path, args.replace, Some(args.mtime))? else {
        return Err(ask_first().into());
    };
    if stage.length() > 0 {
        // Somebody has left it there this very moment.
        stage.abandon();
        return Err(ask_first().into());
    }
    let assembly = Assembly::new(blocks);
    let shared = Some(share(&mut stage, &assembly, args, uploads)?);
    let mut upload = Upload { path: args.path.clone(), stage, assembly, base: Base::Partial, shared };
    upload.tell(args, exchange).await?;
    Ok(upload)
}

/// Prepares the partial file for parts.
fn share(
    stage: &mut Stage,
    assembly: &Assembly,
    args: &Resume,
    uploads: &Uploads,
) -> Result<Arc<Shared>, Refusal> {
    let prepared = stage
        .claim(args.size)
        .and_then(|()| stage.cut(args.size))
        .and_then(|()| stage.reserve(args.size))
        .and_then(|()| stage.writer(args.size));
    match prepared {
        Ok(writer) => Ok(uploads.open(&args.path, assembly.clone(), writer)),
        Err(refusal) => {
            stage.abandon();
            Err(refusal)
        }
    }
}

impl Upload {
    /// Answers the `resume`.
    async fn tell(&mut self, args: &Resume, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
        let digests = self.assembly.to_bytes();
        let cut = Cut {
            size: args.size,
            mtime: args.mtime,
            block: self.assembly.blocks().block(),
            length: digests.len() as u64,
            tag: None,
            upload: self.shared.as_ref().map(|shared| shared.name().clone()),
            ahead: is_ahead(args),
        };
        exchange.grant_with_body(&cut, &digests, DIGEST).await
    }

    /// What its parts come into, if it comes in parts.
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// How long a client may take to read as much of its file as is here, from a slow disk.
    pub fn time_to_read(&self) -> Duration {
        Duration::from_secs(self.assembly.present() / SLOW_DISK)
    }

    /// Gives it up: what is here stays for a later try, if it is worth one.
    pub fn abandon(mut self) {
        if let Some(shared) = &self.shared {
            shared.give_up();
            // Whatever it is worth, the next try reads.
            let _ = self.stage.take_up(None);
        }
        self.stage.abandon();
    }

    /// Whether a part is one of it.
    pub fn is_of(&self, part: &PartArgs) -> bool {
        let is_named = |shared: &Arc<Shared>| {
            part.upload.as_ref().is_none_or(|name| shared.name().reveal() == name.reveal())
        };
        self.shared.as_ref().is_some_and(is_named)
    }

    /// Whether `put` is what the `resume` announced.
    pub fn is_for(&self, put: &Put) -> bool {
        self.path == put.path && Some(self.assembly.blocks().size()) == put.size
    }

    /// Receives what the client says is missing, and commits the whole. Where that fails, what is here stays.
    pub async fn finish(
        mut self,
        put: &Put,
        ranges: &[(u64, u64)],
        root: &Root,
        exchange: &mut Exchange<'_>,
    ) -> Result<Stored, Failure> {
        // The name may have these very bytes already.
        let untouched = ranges.is_empty()
            && matches!(&self.base, Base::Target(file) if file.size() == self.assembly.blocks().size());
        let verified = match self.receive(put, ranges, untouched, root, exchange).await {
            Ok(verified) => verified,
            Err(failure) => {
                self.abandon();
                return Err(failure);
            }
        };
        let stored = stored(&verified);
        let Self { stage, .. } = self;
        if untouched {
            stage.remove();
            return Ok(stored);
        }
        let permissions = Permissions::named(put.mode, put.exact);
        let unset = exchange.while_working(move |_| stage.commit(verified, permissions)).await?;
        Ok(Stored { unset, ..stored })
    }

    async fn receive(
        &mut self,
        put: &Put,
        ranges: &[(u64, u64)],
        untouched: bool,
        root: &Root,
        exchange: &mut Exchange<'_>,
    ) -> Result<Verified, Failure> {
        let Self { stage, assembly, base, shared, .. } = self;
        if let Some(shared) = shared {
            *assembly = shared.close()?;
            stage.take_up(Some(assembly.blocks().size()))?;
        }
        back_up(put, root, stage)?;
        let ranges = aligned(ranges, assembly.blocks())?;
        if !untouched {
            let size = assembly.blocks().size();
            stage.claim(size)?;
            if let Base::Target(file) = base {
                seed(stage, file, exchange).await?;
            }
            stage.cut(size)?;
            if !put.sparse {
                stage.reserve(size)?;
            }
        }
        ranges.iter().for_each(|range| assembly.forget(range));
        let file = exchange.receive_ranges(put, stage, assembly, ranges).await?;
        let verified = file.and_then(|file| assembly.verified_as(file));
        let verified = verified.ok_or_else(|| mismatch(file, assembly))?;
        require_expected(put, root, stage, exchange).await?;
        Ok(verified)
    }
}

/// The ranges as a client sent them, if they are in order and of whole blocks.
fn aligned(ranges: &[(u64, u64)], blocks: Blocks) -> Result<Vec<Range<u64>>, Refusal> {
    let ranges: Vec<_> = ranges.iter().map(|(start, end)| *start..*end).collect();
    let in_order = ranges.is_sorted_by(|a, b| a.end <= b.start);
    if ranges.len() > MAX_RANGES || !in_order || !ranges.iter().all(|range| blocks.is_aligned(range)) {
        return Err(Refusal::new(Code::BadRange, "ranges are of whole blocks, in order, and at most 1000"));
    }
    Ok(ranges)
}

fn mismatch(sent: Option<Digest>, assembly: &Assembly) -> Refusal {
    let shown = |digest: Option<Digest>| digest.map_or("nothing".to_owned(), |d| d.to_string());
    let (sent, received) = (shown(sent), shown(assembly.digest()));
    Refusal::new(Code::Mismatch, format!("the sender's {sent} is not the {received} of what is here"))
}
