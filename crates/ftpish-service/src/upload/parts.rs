//! The parts of one file, which arrive at the same time over several connections. Each writer claims a range of the partial
//! file, writes it, and hands in the digests of its blocks.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};

use argon2::password_hash::rand_core::{OsRng, RngCore as _};
use ftpish_protocol::blocks::{Assembly, Blocks, Part, WriteAt, is_subtree};
use ftpish_protocol::{Code, Refusal, RemotePath, Secret};
use ftpish_storage::StageWriter;

/// The uploads of a server that arrive in parts, by name.
#[derive(Default)]
pub struct Uploads(Mutex<HashMap<String, Weak<Parts>>>);

/// What the connections of one upload share.
pub struct Parts {
    name: Secret,
    path: RemotePath,
    blocks: Blocks,
    /// `None` once the parts are closed: the partial file and its lock may be another session's by then. Apart from the
    /// state, so that parts are written at the same time.
    writer: RwLock<Option<StageWriter>>,
    state: Mutex<State>,
}

enum State {
    /// Parts can arrive.
    Open {
        /// The blocks that are here.
        found: Assembly,
        /// The parts that are being written.
        claims: Vec<Arc<Claim>>,
    },
    /// The upload was completed or abandoned.
    Closed,
}

/// A range that one connection writes. If its client believes that connection lost, another one claims the range with a
/// higher attempt.
struct Claim {
    range: Range<u64>,
    attempt: u64,
    /// Whether another connection has claimed the range.
    lost: Mutex<bool>,
}

/// The right to write one part. It ends with [`finish`](Self::finish) or [`abandon`](Self::abandon), or when another
/// connection claims the range.
#[must_use = "a claim that is neither finished nor abandoned blocks its range"]
pub struct PartWriter<'a> {
    parts: &'a Parts,
    claim: Arc<Claim>,
}

impl Uploads {
    /// Opens an upload for parts. Its partial file has the blocks in `found`.
    pub fn open(&self, path: &RemotePath, found: Assembly, writer: StageWriter) -> Arc<Parts> {
        let mut name = [0; 16];
        OsRng.fill_bytes(&mut name);
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = Arc::new(Parts {
            name: Secret::new(name.clone()),
            path: path.clone(),
            blocks: found.blocks(),
            writer: RwLock::new(Some(writer)),
            state: Mutex::new(State::Open { found, claims: Vec::new() }),
        });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, parts| parts.strong_count() > 0);
        all.insert(name, Arc::downgrade(&parts));
        parts
    }

    /// The upload of this name, if it still waits for parts.
    pub fn find(&self, name: &Secret) -> Option<Arc<Parts>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name.reveal())?.upgrade()
    }
}

impl Parts {
    /// The name that parts give on other connections.
    pub fn name(&self) -> &Secret {
        &self.name
    }

    /// Whether they are parts of the file at `path`.
    pub fn are_of(&self, path: &RemotePath) -> bool {
        self.path == *path
    }

    /// How the file is cut into blocks.
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// Claims a range. Returns `None` if its blocks are here and verified already.
    pub fn claim(&self, range: Range<u64>, attempt: u64) -> Result<Option<PartWriter<'_>>, Refusal> {
        let mut state = self.state();
        let State::Open { found, claims } = &mut *state else { return Err(ended()) };
        if !self.blocks.is_aligned(&range) || !is_subtree(&range, self.blocks.size()) {
            return Err(bad_part("a part is a subtree of the file, and of whole blocks"));
        }
        // A part that was buffered on a broken connection can be read after the client has sent it over another one.
        if found.has_proven(&range) {
            return Ok(None);
        }
        let overlaps = |other: &Claim| other.range.start < range.end && range.start < other.range.end;
        if claims.iter().any(|other| overlaps(other) && other.attempt >= attempt) {
            return Err(bad_part("that part is on its way already"));
        }
        claims.retain(|other| {
            let is_taken_over = overlaps(other);
            if is_taken_over {
                *other.lost.lock().unwrap_or_else(PoisonError::into_inner) = true;
                self.distrust(&other.range);
            }
            !is_taken_over
        });
        found.forget(&range);
        let claim = Arc::new(Claim { range, attempt, lost: Mutex::new(false) });
        claims.push(Arc::clone(&claim));
        Ok(Some(PartWriter { parts: self, claim }))
    }

    /// Closes the upload to parts. Returns the blocks that are here. Refused while a part is being written.
    pub fn close(&self) -> Result<Assembly, Refusal> {
        let mut state = self.state();
        if matches!(&*state, State::Open { claims, .. } if !claims.is_empty()) {
            return Err(bad_part("parts of the file are still on their way"));
        }
        self.stop_writing();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Open { found, .. } => Ok(found),
            State::Closed => Err(ended()),
        }
    }

    /// Closes the upload to parts, including those that are being written.
    pub fn give_up(&self) {
        *self.state() = State::Closed;
        self.stop_writing();
    }

    /// Waits for writes that have begun. None begins later.
    fn stop_writing(&self) {
        *self.writer.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Bytes of `range` may be wrong, and are to be written again.
    fn distrust(&self, range: &Range<u64>) {
        if let Some(writer) = &*self.writer() {
            writer.distrust(range.end);
        }
    }

    fn writer(&self) -> RwLockReadGuard<'_, Option<StageWriter>> {
        self.writer.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartWriter<'_> {
    /// Hands in a part that arrived and verified. Refused if another connection has claimed its range.
    pub fn finish(self, part: Part) -> Result<(), Refusal> {
        self.end(|found, was_ours| {
            if was_ours {
                found.join(part);
                Ok(())
            } else {
                Err(taken_over())
            }
        })
    }

    /// Gives up a part that did not arrive or did not verify.
    pub fn abandon(self) {
        // An upload that has ended needs nothing more.
        let _ = self.end(|_, _| {
            self.parts.distrust(&self.claim.range);
            Ok(())
        });
    }

    /// Ends the claim, and says whether it was still ours.
    fn end(&self, settle: impl FnOnce(&mut Assembly, bool) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut state = self.parts.state();
        let State::Open { found, claims } = &mut *state else { return Err(ended()) };
        let before = claims.len();
        claims.retain(|other| !Arc::ptr_eq(other, &self.claim));
        settle(found, claims.len() < before)
    }
}

impl WriteAt for PartWriter<'_> {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // Held while the bytes are written: a connection that claims the range waits until they are.
        let lost = self.claim.lost.lock().unwrap_or_else(PoisonError::into_inner);
        match (*lost, &*self.parts.writer()) {
            (false, Some(writer)) => (&mut &*writer).write_at(bytes, offset),
            (true, _) => Err(taken_over().into_io()),
            (false, None) => Err(ended().into_io()),
        }
    }
}

fn taken_over() -> Refusal {
    bad_part("another connection sends this part by now")
}

fn ended() -> Refusal {
    bad_part("the upload has ended")
}

/// A part that cannot be taken.
pub fn bad_part(line: &str) -> Refusal {
    Refusal::new(Code::BadRange, line)
}

#[cfg(test)]
mod tests {
    use ftpish_protocol::blocks::MIN_BLOCK;
    use ftpish_protocol::message::Replace;
    use ftpish_storage::Root;

    use super::*;

    const SIZE: u64 = 4 * MIN_BLOCK;

    /// Runs `test` on an upload of four blocks, of which none is here.
    fn with_parts(test: impl FnOnce(&Uploads, Arc<Parts>)) {
        let scratch = tempfile::tempdir().unwrap();
        let (root, path) = (Root::open(scratch.path(), false).unwrap(), "file".parse().unwrap());
        let stage = root.try_resume(&path, Replace::Always, None).unwrap().unwrap();
        let (uploads, found) = (Uploads::default(), Assembly::new(Blocks::of(SIZE).unwrap()));
        let parts = uploads.open(&path, found, stage.writer(SIZE).unwrap());
        test(&uploads, parts);
        stage.abandon();
    }

    #[track_caller]
    fn check<T>(outcome: Result<T, Refusal>, refused: &str) {
        assert_eq!(outcome.err().map(|refusal| refusal.message), Some(refused.to_owned()));
    }

    #[test]
    fn a_later_attempt_takes_a_range_over_and_the_earlier_writes_no_more() {
        with_parts(|_, parts| {
            let mut earlier = parts.claim(0..SIZE / 2, 0).unwrap().unwrap();
            earlier.write_at(b"x", 0).unwrap();
            check(parts.claim(0..SIZE / 2, 0), "that part is on its way already");
            let mut other = parts.claim(SIZE / 2..SIZE, 0).unwrap().unwrap();
            let mut later = parts.claim(0..SIZE / 2, 1).unwrap().unwrap();
            assert!(earlier.write_at(b"x", 0).is_err());
            later.write_at(b"x", 0).unwrap();
            other.write_at(b"x", SIZE / 2).unwrap();
            check(parts.close(), "parts of the file are still on their way");
            [earlier, later, other].into_iter().for_each(PartWriter::abandon);
            assert!(parts.close().is_ok());
        });
    }

    #[test]
    fn nothing_is_written_to_an_upload_that_was_closed_or_given_up() {
        with_parts(|_, parts| {
            assert!(parts.close().is_ok());
            check(parts.claim(0..SIZE / 2, 0), "the upload has ended");
            check(parts.close(), "the upload has ended");
        });
        with_parts(|_, parts| {
            let mut writer = parts.claim(0..SIZE / 2, 0).unwrap().unwrap();
            parts.give_up();
            assert!(writer.write_at(b"x", 0).is_err());
            writer.abandon();
            check(parts.claim(0..SIZE / 2, 1), "the upload has ended");
        });
    }

    #[test]
    fn an_upload_is_found_by_its_name_as_long_as_it_waits() {
        with_parts(|uploads, parts| {
            let name = parts.name().clone();
            assert!(uploads.find(&name).is_some_and(|found| Arc::ptr_eq(&found, &parts)));
            drop(parts);
            assert!(uploads.find(&name).is_none());
        });
    }
}
