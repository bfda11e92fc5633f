//! A large file of which nothing is here: it comes in parts.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// What is about to come over the home lane.
    first: Mutex<Option<(Part, File)>>,
    writer: StageWriter,
    /// What has come, and the permission bits that the file has.
    arrived: Mutex<(Assembly, Option<Mode>)>,
    parts: Parts,
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
        let Fetch { download, root, name, progress, .. } = fetch;
        // Of a file that is no longer than its first part, the reply has all.
        let id = self.request_part(&download.from, &(0..PART))?;
        let file: File = self.receive_with_body(id)?;
        let File { size, mtime, tag, .. } = file.clone();
        // There are no blocks of this size in a file that is larger than any.
        let blocks = Blocks::of(size).filter(|blocks| blocks.block() <= PART && file.length == PART);
        let Some(blocks) = blocks.filter(|_| size > PART) else {
            if file.length == size && !file.subtree {
                return self.receive_whole(fetch, &file);
            }
            self.connection.drain_body().map_err(|error| self.note(error.into()))?;
            return self.fetch_whole(fetch);
        };
        let cut = Cut { size, mtime, block: blocks.block(), length: 0, tag, upload: None, ahead: false };
        progress.set_size(size);
        let refused = |refusal| fetch.refused(refusal);
        let staged = root.resume(name, download.replace, Some(mtime), LOCK_WAIT);
        let stage = staged.map_err(|refusal| self.note(refused(refusal)))?;
        let mut stage = download.backed_up(stage);
        let room = stage.cut(0).and_then(|()| if file.sparse { Ok(()) } else { stage.reserve(size) });
        let mut assembly = Assembly::new(blocks);
        let fetched = match room {
            Ok(()) => self.fetch_split(fetch, &mut stage, &mut assembly, &cut, Some(file)),
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
                self.fetch_grown(fetch, error, size)
            }
        }
    }

    /// Fetches what is missing of a file in parts. The reply to the request for its `first` part may have come, up to its
    /// body.
    pub(super) fn fetch_split(
        &mut self,
        fetch: &Fetch<'_>,
        stage: &mut Stage,
        assembly: &mut Assembly,
        cut: &Cut,
        first: Option<File>,
    ) -> Result<(Verified, Option<Mode>), Error> {
        let Fetch { download, progress, board, .. } = fetch;
        let refused = |refusal| fetch.refused(refusal);
        let (blocks, kept) = (assembly.blocks(), assembly.present());
        progress.set_done(kept);
        let parts = Parts::of(blocks, &assembly.missing(), kept, *board, progress);
        let first = first.and_then(|file| Some((parts.take(Share::Home)?, file)));
        let arriving = Arc::new(Arriving {
            download: (*download).clone(),
            cut: cut.clone(),
            blocks,
            first: Mutex::new(first),
            writer: stage.writer(cut.size).map_err(refused)?,
            arrived: Mutex::new((assembly.clone(), None)),
            parts,
        });
        let file: Arc<dyn InParts> = Arc::<Arriving>::clone(&arriving);
        let fetched = board.share(self, &file, Home::CanGo);
        let arrived = arriving.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let taken_up = stage.take_up(fetched.is_ok().then_some(cut.size)).map_err(refused);
        fetched.and(taken_up)?;
        let unproven = || Error::Protocol("parts of the file never came".to_owned());
        Ok((arrived.0.verified().ok_or_else(unproven)?, arrived.1))
    }

    /// Receives parts of a file, as many as are left to take.
    fn receive_parts(&mut self, arriving: &Arriving, share: Share<'_>) -> Result<(), Error> {
        let parts = &arriving.parts;
        let mut asked: VecDeque<(u64, Part, Option<File>)> = VecDeque::new();
        if self.connection.in_body() {
            let first = arriving.first.lock().unwrap_or_else(PoisonError::into_inner).take();
            asked.extend(first.map(|(part, file)| (0, part, Some(file))));
        }
        let fetched = 'parts: loop {
            while asked.len() < AT_A_TIME
                && let Some(part) = parts.take(share)
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
            let fetched = fetched.and_then(|file| self.receive_part(&file, &part.range, arriving));
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
