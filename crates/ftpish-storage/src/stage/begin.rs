//! How a stage begins: with an empty partial file, or with that of an earlier try, which a resume locks and keeps.
//!
//! Deliberately elsewhere: names, flags and locks of partial files (`partial.rs`).

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Stage;
use crate::count::FileId;
use crate::descriptors::Stored;
use crate::partial::{
    has_name, is_ours, lock, open_options, open_partial, open_unnamed, partial_name, partial_of,
};
use crate::quota::{Bound, Claim};
use crate::target::Target;
use crate::{Outcome, refuse};

/// How often to try the lock of a partial file that another writer holds. flock(2) waits either not at all or without a
/// time limit.
const LOCK_CHECK: Duration = Duration::from_millis(10);

/// Who holds the partial file of an earlier try.
pub(crate) enum Taken {
    /// This writer.
    Ours(Stage),
    /// Another writer.
    Others(Target),
}

impl Stage {
    /// An empty partial file whose name nobody else knows.
    pub(crate) fn begin(target: Target, sync: bool, bound: Option<&Arc<Bound>>) -> Outcome<Self> {
        let unnamed = open_unnamed(&target.parent);
        // A file without a name is checked when it gets one. One with a name is renamed, and a rename replaces anything.
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
                // A new file cannot be locked by anybody else. The lock tells a sweep that the file is in use.
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
        Ok(Self::of(target, sync, claim, file, partial))
    }

    /// The partial file of an earlier try, with its content. An empty one where there was none, or where another writer
    /// holds it for longer than `patience`. That may be a writer whose client has left, and who has yet to notice.
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
                // Something else has the name, and is not a partial file of ours.
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
                let stage = Self::of(target, sync, claim, file, Some(partial));
                return Ok(Taken::Ours(Self { end, resumable: true, ..stage }));
            }
            // If the lock is ours and the name is not the file's, the file was committed meanwhile: the next round makes
            // a new one.
            if !locked {
                return Ok(Taken::Others(target));
            }
        }
    }

    /// A stage of an empty file.
    fn of(target: Target, sync: bool, claim: Option<Claim>, file: File, partial: Option<String>) -> Self {
        let (_stored, at, end) = (Stored::begin(), 0, 0);
        Self { claim, file, _stored, partial, target, sync, at, end, ends_in_hole: false, resumable: false }
    }
}

fn file_id(file: &File) -> Outcome<FileId> {
    let metadata = file.metadata().map_err(refuse)?;
    Ok((metadata.dev(), metadata.ino()))
}
