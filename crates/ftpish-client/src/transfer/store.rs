//! How a file is stored: a local file, or whatever a reader yields, under a remote name.

mod ahead;
mod parts;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ftpish_protocol::blocks::Blocks;
use ftpish_protocol::message::{Command, Done, Kind, Put, Replace, Stored, Unset};
use ftpish_protocol::{
    Algorithm, Code, Connection, Digest, Error as ProtocolError, RemotePath, SendError, Sent, Watch,
    send_body, send_digested,
};
use ftpish_storage::SourceFile;
use ftpish_transport::Stream;

use super::board::Board;
use super::upload::{Ahead, Upload};
use crate::client::{Greeting, Timeouts, receive_message};
use crate::{Client, Error, Progress, RESUME_FROM, Transferred, digest_of};

/// A file of several blocks on its way to the server.
pub(crate) struct Store<'a> {
    pub(crate) upload: &'a Upload,
    pub(crate) file: &'a Arc<SourceFile>,
    pub(crate) blocks: Blocks,
    pub(crate) progress: &'a Progress,
    pub(crate) board: &'a Board,
}

impl Client {
    /// Stores all that `source` yields under `to`. It is there, whole, when this returns, and not at all before.
    pub fn put(
        &mut self,
        source: &mut impl Read,
        to: &RemotePath,
        digest: Algorithm,
        replace: Replace,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let put = Put {
            path: to.clone(),
            digest,
            size: None,
            mtime: None,
            mode: None,
            exact: false,
            replace,
            expect: None,
            sparse: false,
            ranges: None,
            backup: None,
        };
        self.put_whole(put, Path::new("-"), progress, |connection, watch| {
            send_body(connection, source, digest, watch)
        })
    }

    /// Stores a file with its time and permission bits. What is there already is proven, and kept where it is right.
    pub(crate) fn store(
        &mut self,
        upload: &Upload,
        progress: &Progress,
        board: &Board,
    ) -> Result<Transferred, Error> {
        let Upload { from, repair, .. } = upload;
        let file = SourceFile::open(from).map_err(|refusal| upload.local(refusal))?;
        let (put, size) = (upload.put(&file), file.size());
        progress.set_size(size);
        let Some(blocks) = Blocks::of(size).filter(|_| *repair || size >= RESUME_FROM) else {
            return self.put_file(put, file, from, progress);
        };
        let store = Store { upload, file: &Arc::new(file), blocks, progress, board };
        let (error, least) = match self.store_by_block(put, &store) {
            // As a whole, a file may grow while it is read.
            Err(error @ Error::Local { .. }) if error.code() == Some(Code::Changed) => (error, size + 1),
            // A user who can write, and not read, is told nothing of what is there.
            Err(error @ Error::Refused(_)) if error.code() == Some(Code::Forbidden) && !repair => (error, 0),
            stored => return stored,
        };
        let again = SourceFile::open(from).map_err(|refusal| upload.local(refusal))?;
        if again.size() < least {
            return Err(error);
        }
        // They tell of parts that are of no use any more.
        let _ = self.receive_unanswered();
        self.put_file(upload.put(&again), again, from, progress)
    }

    /// Stores a file of which something may be on the server.
    fn store_by_block(&mut self, put: Put, store: &Store<'_>) -> Result<Transferred, Error> {
        if self.may_go_ahead(store.upload, store.file)
            && let Some(begun) = self.begin_ahead(store)?
        {
            return self.store_begun(begun, put, store);
        }
        self.store_missing(put, store)
    }

    /// Whether the file that is on the server is the one that `upload` was to store. It may be: if the reply was lost,
    /// the file is in the way of the next try.
    pub fn find_stored(&mut self, upload: &Upload) -> Result<Option<Transferred>, Error> {
        let local = |refusal| Error::Local { path: upload.from.clone(), refusal };
        let file = SourceFile::open(&upload.from).map_err(local)?;
        let (size, mtime) = (file.size(), file.mtime());
        let found = self.stat(&upload.to)?;
        if (found.kind, found.size) != (Kind::File, size) || !found.mtime.is_near(mtime) {
            return Ok(None);
        }
        let there = self.hash(&upload.to, upload.digest, &Progress::default())?;
        let here = digest_of(&upload.from, file, upload.digest, &self.meter())?;
        let unset = Unset::default();
        let done = Transferred { size, moved: 0, digest: here, mtime: Some(mtime), unset };
        Ok((there.digest == here).then_some(done))
    }

    /// Sends all of a file, in order.
    fn put_file(
        &mut self,
        put: Put,
        file: SourceFile,
        local: &Path,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let digest = put.digest;
        let mut source = file.reader().digesting(digest);
        self.put_whole(put, local, progress, |connection, watch| {
            send_digested(connection, &mut source, digest, watch)
        })
    }

    fn put_whole(
        &mut self,
        put: Put,
        local: &Path,
        progress: &Progress,
        send: impl FnOnce(&mut Connection<Stream>, &mut Watch<'_, Stream>) -> Result<Sent, SendError>,
    ) -> Result<Transferred, Error> {
        let mtime = put.mtime;
        let (sent, stored) = self.send_put(put, local, 0, progress, send)?;
        confirm(sent.digest, sent.length, &stored)?;
        let Stored { size, digest, unset } = stored;
        Ok(Transferred { size, moved: sent.length, digest, mtime, unset })
    }

    /// Whether a file can be begun without knowing what the server has of it. What has another digest, or holes, goes in
    /// order, and not in parts.
    fn may_go_ahead(&self, upload: &Upload, file: &SourceFile) -> bool {
        let is_to = match upload.ahead {
            Ahead::Never => false,
            Ahead::WhereFar => self.is_far(),
            Ahead::Always => true,
        };
        is_to && upload.digest == Algorithm::Blake3 && !upload.repair && !file.is_sparse()
    }

    /// Sends a `put` and its body, and receives the reply. `base` is how many bytes of the file were there before.
    fn send_put(
        &mut self,
        put: Put,
        local: &Path,
        base: u64,
        progress: &Progress,
        send: impl FnOnce(&mut Connection<Stream>, &mut Watch<'_, Stream>) -> Result<Sent, SendError>,
    ) -> Result<(Sent, Stored), Error> {
        // What is read slowly leaves as it comes.
        let is_stream = put.size.is_none();
        let id = self.send(&Command::Put(put), true)?;
        let mut early = None;
        let Self { connection, greeting, timeouts, interrupt, .. } = self;
        let sent = send(connection, &mut |connection, done| {
            progress.set_done(base + done);
            let flushed = if is_stream { connection.flush() } else { Ok(()) };
            if done > 0 || flushed.is_err() {
                early = refused(connection, greeting, timeouts, id).err();
            }
            if let Err(error) = flushed
                && !matches!(early, Some(Error::Refused(_)))
            {
                early = Some(error.into());
            }
            early.is_none() && !interrupt.is_set()
        });
        if self.interrupt.is_set() {
            return Err(self.note(Error::Interrupted));
        }
        if let Some(error) = early {
            // That the rest of the body does not come is told, unless the server has closed.
            let _ = self.connection.flush();
            return Err(mismatch(self.note(error)));
        }
        match sent {
            Ok(sent) => {
                progress.set_done(base + sent.length);
                let arrived = self.receive_unanswered();
                if self.broken {
                    return Err(arrived.err().unwrap_or(Error::Connection(ProtocolError::Closed)));
                }
                let stored: Result<Stored, Error> = self.receive(id, &Progress::default()).map_err(mismatch);
                arrived.and(stored).map(|stored| (sent, stored))
            }
            Err(SendError::Source(error)) => match self.receive::<Stored>(id, &Progress::default()) {
                Err(lost @ Error::Connection(_)) => Err(lost),
                _ => Err(Error::local(local, error)),
            },
            Err(SendError::Stopped) => Err(self.note(Error::Interrupted)),
            // A server that closes may have said why.
            Err(SendError::Connection(error)) => match self.receive::<Stored>(id, &Progress::default()) {
                Err(refused @ Error::Refused(_)) => Err(refused),
                _ => Err(self.note(error.into())),
            },
        }
    }

    /// Receives the replies to parts that were sent in front of the `put`. All of them, unless the connection breaks:
    /// what counts is the first that was refused.
    fn receive_unanswered(&mut self) -> Result<(), Error> {
        let mut arrived = Ok(());
        for id in std::mem::take(&mut self.unanswered) {
            if self.broken {
                break;
            }
            let received = self.receive::<Done>(id, &Progress::default()).map_err(mismatch);
            arrived = arrived.and(received.map(drop));
        }
        arrived
    }
}

/// Reads what the server says before it has the whole body: an error where it refuses it, so that what is left need
/// not travel. Its reply to `hello` may come in first, and that it is at work.
fn refused(
    connection: &mut Connection<Stream>,
    greeting: &mut Greeting,
    timeouts: &Timeouts,
    id: u64,
) -> Result<(), Error> {
    let nobody = &Progress::default();
    while connection.has_input() || !matches!(connection.stream().is_readable(), Ok(false)) {
        if !greeting.is_done() {
            greeting.receive(connection, timeouts)?;
        } else if receive_message::<Stored>(connection, timeouts, id, false, nobody)?.is_some() {
            return Err(Error::Protocol("a reply to a body that had not ended".to_owned()));
        }
        connection.stream().set_deadline(timeouts.moving());
    }
    Ok(())
}

/// The server's words about a body that did not verify are a failed verification here too.
pub(crate) fn mismatch(error: Error) -> Error {
    match error {
        Error::Refused(refusal) if refusal.code == Code::Mismatch => Error::Unverified(refusal.to_string()),
        error => error,
    }
}

/// What the server stored is what was sent: it says so itself.
pub(crate) fn confirm(digest: Digest, size: u64, stored: &Stored) -> Result<(), Error> {
    if stored.digest != digest {
        return Err(Error::Mismatch { sent: digest, received: stored.digest });
    }
    if stored.size != size {
        return Err(Error::Unverified(format!("{size} bytes were sent, {} were stored", stored.size)));
    }
    Ok(())
}
