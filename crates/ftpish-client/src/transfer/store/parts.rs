//! A large file, of which something may be on the server: the blocks that are missing there leave, in order or in parts.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ftpish_protocol::blocks::{Assembly, BLOCK_DIGEST, Blocks};
use ftpish_protocol::message::{Command, Done, MAX_RANGES, PartArgs, Put, Resume, Stored};
use ftpish_protocol::{Algorithm, Code, Refusal, Secret, SendError, send_part, send_ranges};
use ftpish_storage::SourceFile;

use super::ahead::Begun;
use super::{Store, confirm, mismatch};
use crate::transfer::parts::{
    ALONE_AT_A_TIME, AT_A_TIME, Digests, Home, InParts, Leaves, PART, Part, Parts, Share,
};
use crate::transfer::piece::LARGE;
use crate::{Client, Error, Progress, Transferred, Upload};

/// A file that leaves in parts.
struct Leaving {
    upload: Upload,
    /// What the server calls it.
    name: Secret,
    file: Arc<SourceFile>,
    blocks: Blocks,
    /// What the server has.
    left: Mutex<Assembly>,
    /// Parts that the home lane has sent before it was known what the server has.
    begun: Mutex<VecDeque<Leaves>>,
    parts: Parts,
    /// Whether the home lane alone sends it.
    is_alone: bool,
}

impl InParts for Leaving {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn move_parts(&self, client: &mut Client, share: Share<'_>) -> Result<(), Error> {
        client.send_parts(self, share)
    }
}

impl Client {
    /// Sends the rest of a file of which nothing was on the server before.
    pub(super) fn store_begun(
        &mut self,
        Begun { name, sent, end }: Begun,
        put: Put,
        store: &Store<'_>,
    ) -> Result<Transferred, Error> {
        let size = store.blocks.size();
        let rest: Vec<Range<u64>> = (end < size).then_some(end..size).into_iter().collect();
        let parts = Parts::of(store.blocks, &rest, end, store.board, store.progress);
        parts.adopt(sent.len());
        let is_alone = store.board.is_alone() || size < LARGE;
        let mut assembly =
            self.store_parts(store, name, Assembly::new(store.blocks), parts, sent, is_alone)?;
        let Stored { digest, unset, .. } = self.take_up(put, &mut assembly, store)?;
        Ok(Transferred { size, moved: size, digest, mtime: Some(store.file.mtime()), unset })
    }

    /// Has the server store what parts have become.
    fn take_up(&mut self, put: Put, assembly: &mut Assembly, store: &Store<'_>) -> Result<Stored, Error> {
        let (size, digest) = (assembly.blocks().size(), put.digest);
        let put = Put { ranges: Some(Vec::new()), ..put };
        let local = &store.upload.from;
        let (_, stored) = self.send_put(put, local, size, store.progress, |connection, watch| {
            send_ranges(connection, &mut std::io::empty(), assembly, Vec::new(), digest, watch)
        })?;
        let whole = assembly.digest().ok_or_else(|| Error::Protocol("blocks were left out".to_owned()))?;
        confirm(whole, size, &stored)?;
        Ok(stored)
    }

    /// Sends the blocks of a file that are not on the server, or not right.
    pub(super) fn store_missing(&mut self, put: Put, store: &Store<'_>) -> Result<Transferred, Error> {
        let Store { upload, file, blocks, progress, board } = *store;
        let Upload { from, to, digest, replace, repair, .. } = upload;
        let (size, mtime) = (blocks.size(), file.mtime());
        // What is to leave holes is better written in order.
        let parts = !board.is_alone() && *digest == Algorithm::Blake3 && size >= LARGE && !put.sparse;
        let (path, repair, replace) = (to.clone(), *repair, *replace);
        let resume = Resume { path, size, mtime, repair, replace, parts, ahead: false };
        let id = self.send(&Command::Resume(resume), false)?;
        let (cut, theirs, kept) = self.receive_digests(id)?;
        if theirs != blocks || cut.size != size {
            return Err(self.note(Error::Protocol("blocks of another file".to_owned())));
        }
        let local = |refusal| Error::Local { path: from.clone(), refusal };
        let mut assembly = Assembly::new(blocks);
        if let Some(last) = (kept.len() / BLOCK_DIGEST).checked_sub(1) {
            let whole = 0..blocks.range(last).end;
            let mut here = file.ranges(vec![whole]).map_err(local)?;
            let read = Assembly::of(&mut here, blocks, &self.meter());
            assembly = read.map_err(|error| self.note(Error::local(from, error)))?;
            assembly.prove_all(&kept);
        }
        let mut ranges = assembly.missing();
        if ranges.len() > MAX_RANGES {
            // What lies between them goes along, rather than more ranges than a message has room for.
            let (start, end) = (ranges[0].start, ranges[ranges.len() - 1].end);
            assembly.forget(&(start..end));
            ranges = assembly.missing();
        }
        let base = assembly.present();
        progress.set_done(base);
        let moved = size - base;
        if let Some(name) = cut.upload.as_ref().filter(|_| moved >= LARGE) {
            let parts = Parts::of(blocks, &ranges, base, board, progress);
            assembly = self.store_parts(store, name.clone(), assembly, parts, VecDeque::new(), false)?;
            ranges.clear();
        }
        let mut source = file.ranges(ranges.clone()).map_err(local)?;
        let pairs = ranges.iter().map(|range| (range.start, range.end)).collect();
        let put = Put { ranges: Some(pairs), ..put };
        let all_moves = base == 0;
        let before = if ranges.is_empty() { size } else { base };
        let (sent, stored) = self.send_put(put, from, before, progress, |connection, watch| {
            send_ranges(connection, &mut source, &mut assembly, ranges, *digest, watch)
        })?;
        let whole = assembly.digest().ok_or_else(|| Error::Protocol("blocks were left out".to_owned()))?;
        confirm(whole, size, &stored)?;
        let done = Transferred { size, moved, digest: whole, mtime: Some(mtime), unset: stored.unset };
        if *digest == whole.algorithm() {
            Ok(done)
        } else if all_moves {
            // The digest of the body is that of the whole file.
            Ok(Transferred { digest: sent.digest, ..done })
        } else {
            let changed =
                || Refusal::new(Code::Changed, "it is another file by now than the one that was stored");
            let found = self.find_stored(upload)?;
            found.map(|found| Transferred { digest: found.digest, ..done }).ok_or(Error::Refused(changed()))
        }
    }

    /// Sends all parts of a file, and tells what the server has then.
    fn store_parts(
        &mut self,
        Store { upload, file, blocks, board, .. }: &Store<'_>,
        name: Secret,
        assembly: Assembly,
        parts: Parts,
        begun: VecDeque<Leaves>,
        is_alone: bool,
    ) -> Result<Assembly, Error> {
        let leaving = Arc::new(Leaving {
            upload: (*upload).clone(),
            name,
            file: Arc::clone(file),
            blocks: *blocks,
            left: Mutex::new(assembly),
            begun: Mutex::new(begun),
            parts,
            is_alone,
        });
        let moved = if is_alone {
            self.send_parts(&leaving, Share::Home)
        } else {
            let file: Arc<dyn InParts> = Arc::<Leaving>::clone(&leaving);
            board.share(self, &file, Home::IsNeeded)
        };
        // Where they came to nothing no `put` follows, and nobody reads the replies to those on their way.
        self.broken |= moved.is_err() && !self.unanswered.is_empty();
        moved?;
        Ok(leaving.left.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Sends parts of a file, as many as are left to take.
    fn send_parts(&mut self, leaving: &Leaving, share: Share<'_>) -> Result<(), Error> {
        let parts = &leaving.parts;
        let mut sent = match share {
            Share::Home => std::mem::take(&mut *leaving.begun.lock().unwrap_or_else(PoisonError::into_inner)),
            Share::Guest(_) => VecDeque::new(),
        };
        let at_a_time = if leaving.is_alone { ALONE_AT_A_TIME } else { AT_A_TIME as u64 };
        let most = (at_a_time - 1) * PART.max(leaving.blocks.block());
        let mut ended = Ok(());
        while ended.is_ok() {
            if sent.iter().map(Leaves::length).sum::<u64>() > most {
                ended = self.confirm_part(&mut sent, leaving);
            } else if let Some(part) = parts.take(share) {
                match self.send_one(&part, leaving) {
                    Ok((id, digests)) => sent.push_back(Leaves { id, part, digests }),
                    Err(error) => {
                        parts.give_back([part]);
                        ended = Err(error);
                    }
                }
            } else if sent.is_empty() {
                return Ok(());
            } else if share.is_home()
                && parts.are_but(sent.len())
                && sent.iter().all(|part| part.digests.is_ok())
            {
                // The `put` that comes next need not wait for them: on this connection they are in front of it.
                sent.iter_mut().for_each(|part| Self::note_part(part, leaving));
                self.unanswered = sent.into_iter().map(|part| part.id).collect();
                return Ok(());
            } else {
                ended = self.confirm_part(&mut sent, leaving);
            }
        }
        // Those that were sent before may have arrived, and then nobody need send them again.
        while !sent.is_empty() && !self.broken {
            let confirmed = self.confirm_part(&mut sent, leaving);
            ended = ended.and(confirmed);
        }
        parts.give_back(sent.into_iter().map(|leaves| leaves.part));
        ended
    }

    /// Takes a part for one that has arrived.
    fn note_part(part: &mut Leaves, leaving: &Leaving) {
        let mut left = leaving.left.lock().unwrap_or_else(PoisonError::into_inner);
        let digests = part.digests.as_mut().map(std::mem::take).unwrap_or_default();
        digests.into_iter().for_each(|(index, digest)| left.note(index, digest));
        leaving.parts.done();
    }

    /// Sends one part.
    fn send_one(
        &mut self,
        Part { range, attempt }: &Part,
        leaving: &Leaving,
    ) -> Result<(u64, Result<Digests, Error>), Error> {
        let Leaving { upload, name, file, blocks, parts, .. } = leaving;
        let mut source = file.ranges(vec![range.clone()]).map_err(|refusal| upload.local(refusal))?;
        let (path, name) = (upload.to.clone(), Secret::clone(name));
        let (offset, length, attempt) = (range.start, range.end - range.start, *attempt);
        let args = PartArgs { path, upload: Some(name), offset, length, attempt };
        let id = self.send(&Command::Part(args), true)?;
        let (interrupt, mut before) = (self.interrupt.clone(), 0);
        let sent = send_part(&mut self.connection, &mut source, *blocks, range.clone(), &mut |_, now| {
            parts.count(before, now);
            before = now;
            !interrupt.is_set() && !parts.are_stopped()
        });
        let sent = match sent {
            Ok((_, digests)) => Ok(digests),
            // The server was told, and refuses it in its turn.
            Err(SendError::Source(error)) => Err(Error::local(&upload.from, error)),
            Err(SendError::Stopped) => Err(Error::Interrupted),
            Err(SendError::Connection(error)) => {
                parts.count(before, 0);
                return Err(self.note(error.into()));
            }
        };
        parts.count(before, length);
        Ok((id, sent))
    }

    /// Receives the reply to the part that was sent first.
    fn confirm_part(&mut self, sent: &mut VecDeque<Leaves>, leaving: &Leaving) -> Result<(), Error> {
        let parts = &leaving.parts;
        let Some(Leaves { id, part, digests }) = sent.pop_front() else { return Ok(()) };
        let received = self.receive::<Done>(id, &Progress::default()).map_err(mismatch);
        let arrived = match (received, digests) {
            (Err(error), Ok(_)) => Err(error),
            (Err(error), _) if self.broken => Err(error),
            (_, digests) => digests,
        };
        match arrived {
            Ok(digests) => {
                let mut left = leaving.left.lock().unwrap_or_else(PoisonError::into_inner);
                digests.into_iter().for_each(|(index, digest)| left.note(index, digest));
                parts.done();
                Ok(())
            }
            Err(error) => {
                parts.count(part.range.end - part.range.start, 0);
                parts.give_back([part]);
                Err(error)
            }
        }
    }
}
