//! `part`: a part of a file that is being put, over one connection or several, into the partial file of its upload.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use argon2::password_hash::rand_core::{OsRng, RngCore as _};
use ftpish_protocol::blocks::{Assembly, Blocks, Part, WriteAt, is_subtree};
use ftpish_protocol::message::{Done, PartArgs};
use ftpish_protocol::{Code, Refusal, RemotePath, Secret};
use ftpish_storage::StageWriter;

use crate::exchange::{Exchange, Failure};

/// The uploads that parts may come for, by what they are named.
#[derive(Default)]
pub struct Uploads(Mutex<HashMap<String, Weak<Shared>>>);

/// What the connections have in common that one file comes over.
pub struct Shared {
    name: Secret,
    path: RemotePath,
    blocks: Blocks,
    /// None once nothing more is to be written: the partial file and its lock are somebody else's then.
    writer: RwLock<Option<StageWriter>>,
    state: Mutex<State>,
}

struct State {
    /// What is here; nothing more comes where it is none.
    assembly: Option<Assembly>,
    /// What is being written.
    busy: Vec<Arc<Claim>>,
}

/// The right to write a part: until another connection claims it in a later attempt, because its client believes this
/// one lost.
struct Claim {
    range: Range<u64>,
    attempt: u64,
    lost: Mutex<bool>,
}

/// Writes a part as long as that is its right.
struct Claimed<'a> {
    upload: &'a Shared,
    claim: &'a Claim,
}

impl WriteAt for Claimed<'_> {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let lost = self.claim.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = self.upload.writer.read().unwrap_or_else(PoisonError::into_inner);
        match (*lost, &*writer) {
            (false, Some(writer)) => (&mut &*writer).write_at(bytes, offset),
            (true, _) => Err(bad("another connection sends this part by now").into_io()),
            (false, None) => Err(ended().into_io()),
        }
    }
}

/// `own` is the upload of the connection that the part comes over, if it has one.
pub async fn run(
    args: &PartArgs,
    own: Option<Arc<Shared>>,
    uploads: &Uploads,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    let upload = match &args.upload {
        Some(name) => uploads.find(name),
        None => own,
    };
    let upload = upload.filter(|upload| upload.path == args.path);
    let upload = upload.ok_or_else(|| bad("there is no such upload, or none any more"))?;
    let end = args.offset.checked_add(args.length).ok_or_else(|| bad("it is beyond the end of the file"))?;
    let range = args.offset..end;
    let Some(claim) = upload.begin(range.clone(), args.attempt)? else { return exchange.grant(&Done {}) };
    let sink = &mut Claimed { upload: &upload, claim: &claim };
    match exchange.receive_part(sink, upload.blocks, range).await {
        Ok(part) => {
            upload.end(&claim, Some(part))?;
            exchange.grant(&Done {})
        }
        Err(failure) => {
            let _ = upload.end(&claim, None);
            Err(failure)
        }
    }
}

impl Uploads {
    /// Lets parts come for a file of which `assembly` tells what is here.
    pub fn open(&self, path: &RemotePath, assembly: Assembly, writer: StageWriter) -> Arc<Shared> {
        let mut name = [0; 16];
        OsRng.fill_bytes(&mut name);
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let shared = Arc::new(Shared {
            name: Secret::new(name.clone()),
            path: path.clone(),
            blocks: assembly.blocks(),
            writer: RwLock::new(Some(writer)),
            state: Mutex::new(State { assembly: Some(assembly), busy: Vec::new() }),
        });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, upload| upload.strong_count() > 0);
        all.insert(name, Arc::downgrade(&shared));
        shared
    }

    fn find(&self, name: &Secret) -> Option<Arc<Shared>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name.reveal())?.upgrade()
    }
}

impl Shared {
    /// What parts are to name it.
    pub fn name(&self) -> &Secret {
        &self.name
    }

    /// What is here, if nothing is on its way. Nothing more comes then.
    pub fn close(&self) -> Result<Assembly, Refusal> {
        let mut state = self.state();
        if !state.busy.is_empty() {
            return Err(bad("parts of the file are still on their way"));
        }
        *self.writer.write().unwrap_or_else(PoisonError::into_inner) = None;
        state.assembly.take().ok_or_else(ended)
    }

    /// Lets nothing more come, whatever is on its way.
    pub fn give_up(&self) {
        self.state().assembly = None;
        *self.writer.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Lets a part come; none need come where it has, in another attempt.
    fn begin(&self, range: Range<u64>, attempt: u64) -> Result<Option<Arc<Claim>>, Refusal> {
        let mut state = self.state();
        let State { assembly: Some(assembly), busy } = &mut *state else { return Err(ended()) };
        if !self.blocks.is_aligned(&range) || !is_subtree(&range, self.blocks.size()) {
            return Err(bad("a part is a subtree of the file, and of whole blocks"));
        }
        // What was sent over a connection that broke may be read when it has come another way.
        if assembly.has_proven(&range) {
            return Ok(None);
        }
        let overlaps = |other: &Claim| other.range.start < range.end && range.start < other.range.end;
        if busy.iter().any(|other| overlaps(other) && other.attempt >= attempt) {
            return Err(bad("that part is on its way already"));
        }
        busy.retain(|other| {
            let is_same = overlaps(other);
            if is_same {
                *other.lost.lock().unwrap_or_else(PoisonError::into_inner) = true;
                self.distrust(&other.range);
            }
            !is_same
        });
        assembly.forget(&range);
        let claim = Arc::new(Claim { range, attempt, lost: Mutex::new(false) });
        busy.push(Arc::clone(&claim));
        Ok(Some(claim))
    }

    /// Keeps a part that came, if that was still its right.
    fn end(&self, claim: &Arc<Claim>, part: Option<Part>) -> Result<(), Refusal> {
        let mut state = self.state();
        let State { assembly: Some(assembly), busy } = &mut *state else { return Err(ended()) };
        let before = busy.len();
        busy.retain(|other| !Arc::ptr_eq(other, claim));
        match part {
            Some(part) if busy.len() < before => assembly.join(part),
            Some(_) => return Err(bad("another connection sends this part by now")),
            None => self.distrust(&claim.range),
        }
        Ok(())
    }

    /// What was written of a part may have to be written again.
    fn distrust(&self, range: &Range<u64>) {
        if let Some(writer) = &*self.writer.read().unwrap_or_else(PoisonError::into_inner) {
            writer.distrust(range.end);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended() -> Refusal {
    bad("the upload has ended")
}

fn bad(line: &str) -> Refusal {
    Refusal::new(Code::BadRange, line)
}
