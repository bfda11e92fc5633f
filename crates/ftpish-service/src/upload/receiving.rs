//! An upload whose body arrives, and one that is complete: verified, and to be committed.

use std::ops::Range;

use ftpish_protocol::blocks::Assembly;
use ftpish_protocol::message::{Put, Stored, Unset};
use ftpish_protocol::{Code, Digest, Refusal, Verified};
use ftpish_storage::{Permissions, Ready, Root, Stage};

use super::replacing::{back_up, require_expected};
use crate::front::{BodySource, Front};

/// Size from which space is reserved before the body arrives, and from which the final sync takes so long that the client
/// has to be sent `working`.
const LARGE: u64 = 16 * 1024 * 1024;

/// An upload whose `put` was accepted.
#[must_use = "a partial file stays behind if its body is not received"]
pub struct Receiving {
    stage: Stage,
    body: Body,
}

/// What the body of the `put` brings.
enum Body {
    /// The whole file.
    Whole,
    /// The missing blocks of a file of which `found` are here.
    Missing { found: Assembly, ranges: Vec<Range<u64>> },
    /// Nothing: `found` is all of the file that has the name already.
    Nothing { found: Assembly },
}

impl Receiving {
    /// Prepares `stage` for a whole file.
    pub fn whole(mut stage: Stage, put: &Put, root: &Root) -> Result<Self, Refusal> {
        match reserve(&mut stage, put).and_then(|()| back_up(put, root, &mut stage)) {
            Ok(()) => Ok(Self { stage, body: Body::Whole }),
            Err(refusal) => {
                stage.abandon();
                Err(refusal)
            }
        }
    }

    /// `stage` has the blocks in `found`, but for `ranges`.
    pub(super) fn missing(stage: Stage, mut found: Assembly, ranges: Vec<Range<u64>>) -> Self {
        ranges.iter().for_each(|range| found.forget(range));
        Self { stage, body: Body::Missing { found, ranges } }
    }

    /// The existing file is `found`. `stage` is not needed.
    pub(super) fn nothing(stage: Stage, found: Assembly) -> Self {
        Self { stage, body: Body::Nothing { found } }
    }

    /// Receives the body and verifies the file.
    pub async fn receive<F: BodySource>(
        mut self,
        put: &Put,
        root: &Root,
        front: &mut F,
    ) -> Result<Complete, F::Failure> {
        let verified = match self.verify(put, root, front).await {
            Ok(verified) => verified,
            Err(failure) => {
                self.stage.abandon();
                return Err(failure);
            }
        };
        let commit = match self.body {
            Body::Whole if verified.length() < LARGE => Commit::AtOnce,
            Body::Whole | Body::Missing { .. } => Commit::HandedOver,
            Body::Nothing { .. } => Commit::Nothing,
        };
        let stored = Stored { size: verified.length(), digest: verified.digest(), unset: Unset::default() };
        let permissions = Permissions::named(put.mode, put.exact);
        Ok(Complete { ready: Ready { stage: self.stage, verified, permissions }, stored, commit })
    }

    async fn verify<F: BodySource>(
        &mut self,
        put: &Put,
        root: &Root,
        front: &mut F,
    ) -> Result<Verified, F::Failure> {
        let Self { stage, body } = self;
        let (found, ranges) = match body {
            Body::Whole => (None, Vec::new()),
            Body::Missing { found, ranges } => (Some(found), std::mem::take(ranges)),
            Body::Nothing { found } => (Some(found), Vec::new()),
        };
        let verified = match found {
            None => front.receive(put, stage).await?,
            Some(found) => {
                let sent = front.receive_ranges(put, stage, found, ranges).await?;
                let verified = sent.and_then(|sent| found.verified_as(sent));
                verified.ok_or_else(|| mismatch(sent, found))?
            }
        };
        require_expected(put, root, stage, front).await?;
        Ok(verified)
    }
}

/// A verified upload, still without its name.
#[must_use = "a complete upload that is not committed has no name"]
pub struct Complete {
    ready: Ready,
    stored: Stored,
    commit: Commit,
}

/// What is left to do for the name.
enum Commit {
    /// Nothing: the existing file has these bytes.
    Nothing,
    /// A commit that takes no time.
    AtOnce,
    /// A commit that takes long enough to need a thread of its own.
    HandedOver,
}

impl Complete {
    /// The file, for a commit together with others, and the reply to send after that.
    pub fn into_ready(self) -> (Ready, Stored) {
        (self.ready, self.stored)
    }

    /// Gives the file its name. Returns the reply.
    pub async fn commit<F: Front>(self, front: &mut F) -> Result<Stored, F::Failure> {
        let Self { ready: Ready { stage, verified, permissions }, stored, commit } = self;
        let unset = match commit {
            Commit::Nothing => {
                stage.remove();
                return Ok(stored);
            }
            Commit::AtOnce => stage.commit(verified, permissions)?,
            Commit::HandedOver => front.while_working(move |_| stage.commit(verified, permissions)).await?,
        };
        Ok(Stored { unset, ..stored })
    }
}

/// Claims quota for a file of known size, and space on the disk for a large one.
fn reserve(stage: &mut Stage, put: &Put) -> Result<(), Refusal> {
    let Some(size) = put.size else { return Ok(()) };
    stage.claim(size)?;
    if size >= LARGE && !put.sparse {
        stage.reserve(size)?;
    }
    Ok(())
}

fn mismatch(sent: Option<Digest>, found: &Assembly) -> Refusal {
    let shown = |digest: Option<Digest>| digest.map_or("nothing".to_owned(), |d| d.to_string());
    let (sent, received) = (shown(sent), shown(found.digest()));
    Refusal::new(Code::Mismatch, format!("the sender's {sent} is not the {received} of what is here"))
}
