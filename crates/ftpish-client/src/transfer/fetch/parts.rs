//! A large file of which nothing is here: it comes in parts.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ftpish_protocol::blocks::{Assembly, Blocks};
use ftpish_protocol::message::{Command, Cut, File, Get, Mode};
use ftpish_protocol::{Algorithm, Code, RemotePath, Verified, receive_part};
use ftpish_storage::{Stage, StageWriter};

use super::{Fetch, LOCK_WAIT, changed, transferred};
use crate::transfer::download::Download;
use crate::transfer::parts::{AT_A_TIME, Home, InParts, PART, Part, Parts, Share};
use crate::{Client, Error, Transferred};

/// A file that comes in parts.
struct Arriving {
    download: Download,
    cut: Cut,
    blocks: Blocks,
    /// Parts that were asked for over the home lane before the file was [led](Client::finish_parts).
    asked: Mutex<VecDeque<(u64, Part)>>,
    writer: StageWriter,
    /// What has come, and the permission bits that the file has.
    arrived: Mutex<(Assembly, Option<Mode>)>,
    parts: Parts,
}

/// A large file whose first part is here.
pub(crate) struct Started {
    stage: Stage,
    arriving: Arc<Arriving>,
}

/// A large file whose first part did not come.
pub(crate) struct Unstarted {
    error: Error,
    size: u64,
    /// Parts that were asked for behind it.
    asked: VecDeque<(u64, Part)>,
}

impl Started {
    /// What lanes take parts of.
    fn file(&self) -> Arc<dyn InParts> {
        Arc::<Arriving>::clone(&self.arriving)
    }
}

impl InParts for Arriving {
    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn move_parts(&self, client: &mut Client, share: Share<'_>) -> Result<(), Error> {
        client.receive_parts(self, share)
    }
}

impl Client {
    /// Fetches a file of which nothing is here: if it is large, in parts.
    pub(super) fn fetch_parts(&mut self, fetch: &Fetch<'_>) -> Result<Transferred, Error> {
        let id = self.request_first_part(&fetch.download.from)?;
        let file: File = self.receive_with_body(id)?;
        if !file.subtree {
            self.require_all(&file)?;
            return self.receive_whole(fetch, &file);
        }
        let started = self.start_parts(fetch, &file);
        self.finish_parts(fetch, started)
    }

    /// Refuses a reply that has neither the part asked for nor the whole file.
    pub(crate) fn require_all(&mut self, file: &File) -> Result<(), Error> {
        match file.length < file.size {
            true => Err(self.note(Error::Protocol("bytes in place of a part".to_owned()))),
            false => Ok(()),
        }
    }

    /// Asks for the first part of a file. Of one that is no longer than that, the reply has all, and no subtree.
    pub(crate) fn request_first_part(&mut self, path: &RemotePath) -> Result<u64, Error> {
        self.request_part(path, &(0..PART))
    }

    /// Receives the first part of a file, and lets other lanes take more of them.
    pub(crate) fn start_parts(&mut self, fetch: &Fetch<'_>, file: &File) -> Result<Started, Box<Unstarted>> {
        let unstarted = |error, asked| Box::new(Unstarted { error, size: file.size, asked });
        let started = self.prepare_parts(fetch, file).map_err(|error| unstarted(error, VecDeque::new()))?;
        let Err(error) = self.receive_first(fetch, file, &started) else { return Ok(started) };
        let Started { mut stage, arriving } = started;
        fetch.board.withdraw(&*arriving);
        let error = arriving.parts.blame(error);
        // What has come is worth keeping. Whatever it is worth, the next try reads.
        let _ = stage.take_up(None);
        stage.abandon();
        let asked = std::mem::take(&mut *arriving.asked());
        Err(unstarted(error, asked))
    }

    fn prepare_parts(&mut self, fetch: &Fetch<'_>, file: &File) -> Result<Started, Error> {
        let Fetch { download, root, name, progress, .. } = fetch;
        let File { size, mtime, tag, .. } = file.clone();
        // There are no blocks of this size in a file that is larger than any.
        let blocks = Blocks::of(size).filter(|blocks| blocks.block() <= PART && file.length == PART);
        let blocks = blocks
            .filter(|_| size > PART)
            .ok_or_else(|| self.note(Error::Protocol("a first part that is none of the file".to_owned())))?;
        let cut = Cut { size, mtime, block: blocks.block(), length: 0, tag, upload: None, ahead: false };
        progress.set_size(size);
        let staged = root.resume(name, download.replace, Some(mtime), LOCK_WAIT);
        let stage = staged.map_err(|refusal| self.note(fetch.refused(refusal)))?;
        let mut stage = download.backed_up(stage);
        let room = stage.cut(0).and_then(|()| if file.sparse { Ok(()) } else { stage.reserve(size) });
        let arriving = room
            .map_err(|refusal| fetch.refused(refusal))
            .and_then(|()| arriving(fetch, &mut stage, Assembly::new(blocks), &cut));
        match arriving {
            Ok(arriving) => Ok(Started { stage, arriving }),
            Err(error) => {
                stage.abandon();
                Err(self.note(error))
            }
        }
    }

    fn receive_first(&mut self, fetch: &Fetch<'_>, file: &File, started: &Started) -> Result<(), Error> {
        let arriving = &started.arriving;
        let (first, next) = (arriving.parts.take(Share::Home), arriving.parts.take(Share::Home));
        fetch.board.invite(self, &started.file())?;
        if let Some(next) = next {
            // In front of the body of the first, so that no round trip lies between them.
            let id = self.request_part(&fetch.download.from, &next.range)?;
            arriving.asked().push_back((id, next));
        }
        if let Some(first) = first {
            self.receive_part(file, &first.range, arriving)?;
            arriving.parts.done();
        }
        Ok(())
    }

    /// Fetches the other parts of a file, and gives it its name.
    pub(crate) fn finish_parts(
        &mut self,
        fetch: &Fetch<'_>,
        started: Result<Started, Box<Unstarted>>,
    ) -> Result<Transferred, Error> {
        let Started { mut stage, arriving } = match started {
            Ok(started) => started,
            Err(unstarted) => {
                let Unstarted { error, size, asked } = *unstarted;
                self.pass_replies(&error, asked.into_iter().map(|(id, _)| id));
                return self.fetch_grown(fetch, error, size);
            }
        };
        let Cut { size, mtime, .. } = arriving.cut;
        match self.share_parts(fetch, &mut stage, &arriving) {
            Ok((verified, mode)) => {
                let done = transferred(&verified, size, mtime);
                let committed = stage.commit(verified, fetch.download.permissions(mode));
                Ok(Transferred { unset: committed.map_err(|refusal| fetch.refused(refusal))?, ..done })
            }
            Err(error) => {
                stage.abandon();
                drop(stage);
                self.fetch_grown(fetch, error, size)
            }
        }
    }

    /// Fetches what is missing of a file in parts.
    pub(super) fn fetch_split(
        &mut self,
        fetch: &Fetch<'_>,
        stage: &mut Stage,
        assembly: &Assembly,
        cut: &Cut,
    ) -> Result<(Verified, Option<Mode>), Error> {
        fetch.progress.set_done(assembly.present());
        let arriving = arriving(fetch, stage, assembly.clone(), cut)?;
        self.share_parts(fetch, stage, &arriving)
    }

    fn share_parts(
        &mut self,
        fetch: &Fetch<'_>,
        stage: &mut Stage,
        arriving: &Arc<Arriving>,
    ) -> Result<(Verified, Option<Mode>), Error> {
        let file: Arc<dyn InParts> = Arc::<Arriving>::clone(arriving);
        let fetched = fetch.board.share(self, &file, Home::CanGo);
        let arrived = arriving.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let taken_up = stage.take_up(fetched.is_ok().then_some(arriving.cut.size));
        fetched.and(taken_up.map_err(|refusal| fetch.refused(refusal)))?;
        let unproven = || Error::Protocol("parts of the file never came".to_owned());
        Ok((arrived.0.verified().ok_or_else(unproven)?, arrived.1))
    }

    /// Receives parts of a file, as many as are left to take.
    fn receive_parts(&mut self, arriving: &Arriving, share: Share<'_>) -> Result<(), Error> {
        let parts = &arriving.parts;
        let mut asked = VecDeque::new();
        if share.is_home() {
            asked.append(&mut arriving.asked());
        }
        let fetched = 'parts: loop {
            while asked.len() < AT_A_TIME
                && let Some(part) = parts.take(share)
            {
                let id = self.request_part(&arriving.download.from, &part.range);
                asked.push_back((*id.as_ref().unwrap_or(&0), part));
                if let Err(error) = id {
                    break 'parts Err(error);
                }
            }
            let Some((id, part)) = asked.front() else { break Ok(()) };
            let file = self.receive_with_body(*id).map_err(|error| match error {
                Error::Refused(refusal) if refusal.code == Code::BadRange => changed(),
                error => error,
            });
            let fetched = file.and_then(|file| self.receive_part(&file, &part.range, arriving));
            if let Err(error) = fetched {
                break Err(error);
            }
            asked.pop_front();
            parts.done();
        };
        if let Err(error) = &fetched {
            self.pass_replies(error, asked.iter().skip(1).map(|(id, _)| *id));
            parts.give_back(asked.into_iter().map(|(_, part)| part));
        }
        fetched
    }

    /// What becomes of a connection on which a part of a file was not received: the replies to the requests behind it are on
    /// their way. They are read past where the file has changed, because it moves as a whole then; else nobody waits for them.
    pub(super) fn pass_replies(&mut self, error: &Error, behind: impl Iterator<Item = u64>) {
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

    fn receive_part(&mut self, file: &File, part: &Range<u64>, arriving: &Arriving) -> Result<(), Error> {
        let Arriving { download, cut, blocks, writer, arrived, parts, .. } = arriving;
        if (file.size, file.mtime, &file.tag) != (cut.size, cut.mtime, &cut.tag) {
            return Err(self.note(changed()));
        }
        if !file.subtree {
            return Err(self.note(Error::Protocol("bytes in place of a part".to_owned())));
        }
        let (interrupt, mut before) = (self.interrupt.clone(), 0);
        let received =
            receive_part(&mut self.connection, &mut &*writer, *blocks, part.clone(), &mut |_, now| {
                parts.count(before, now);
                before = now;
                !interrupt.is_set() && !parts.are_stopped()
            });
        match received {
            Ok(part) => {
                let mut arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
                arrived.0.join(part);
                arrived.1 = Some(file.mode);
            }
            Err(error) => {
                writer.distrust(part.end);
                parts.count(before, 0);
                return Err(self.note(Error::of_body(error, &download.to)));
            }
        }
        parts.count(before, part.end - part.start);
        Ok(())
    }
}

/// What lanes need to know of a file that is about to come in parts.
fn arriving(
    fetch: &Fetch<'_>,
    stage: &mut Stage,
    assembly: Assembly,
    cut: &Cut,
) -> Result<Arc<Arriving>, Error> {
    let Fetch { download, progress, board, .. } = fetch;
    let (blocks, missing, kept) = (assembly.blocks(), assembly.missing(), assembly.present());
    Ok(Arc::new(Arriving {
        download: (*download).clone(),
        cut: cut.clone(),
        blocks,
        asked: Mutex::default(),
        writer: stage.writer(cut.size).map_err(|refusal| fetch.refused(refusal))?,
        arrived: Mutex::new((assembly, None)),
        parts: Parts::of(blocks, &missing, kept, *board, progress),
    }))
}

impl Arriving {
    fn asked(&self) -> MutexGuard<'_, VecDeque<(u64, Part)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
