//! `put`: a local file, or whatever a reader yields, under a remote name.

use std::io::Read;
use std::path::{Path, PathBuf};

use ftpish_protocol::message::{Command, Put, Replace, Stored};
use ftpish_protocol::{Algorithm, Code, Connection, RemotePath, SendError, Sent, send_body};
use ftpish_storage::SourceFile;
use ftpish_transport::Stream;

use crate::client::{Greeting, Timeouts};
use crate::{Client, Error, Progress, Transferred};

/// A local file to be stored under a remote name.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The file to send.
    pub from: PathBuf,
    /// What to make or replace.
    pub to: RemotePath,
    /// What proves it.
    pub digest: Algorithm,
    /// What may be replaced.
    pub replace: Replace,
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
        let put = Put { path: to.clone(), digest, size: None, mtime: None, mode: None, replace };
        self.send_file(put, source, Path::new("-"), progress)
    }

    /// Stores a file with its time and permission bits.
    pub fn upload(&mut self, upload: &Upload, progress: &Progress) -> Result<Transferred, Error> {
        let Upload { from, to, digest, replace } = upload;
        let file = SourceFile::open(from).map_err(|refusal| Error::Local { path: from.clone(), refusal })?;
        progress.set_total(file.size());
        let put = Put {
            path: to.clone(),
            digest: *digest,
            size: Some(file.size()),
            mtime: Some(file.mtime()),
            mode: Some(file.mode()),
            replace: *replace,
        };
        self.send_file(put, &mut file.reader(), from, progress)
    }

    fn send_file(
        &mut self,
        put: Put,
        source: &mut impl Read,
        local: &Path,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let digest = put.digest;
        let id = self.send(&Command::Put(put), true)?;
        let mut early = Early::default();
        let Self { connection, greeting, timeouts, interrupt, .. } = self;
        let sent = send_body(connection, source, digest, &mut |connection, done| {
            progress.set_done(done);
            let goes_on = done == 0 || !early.look(connection, greeting, timeouts);
            goes_on && !interrupt.is_set()
        });
        if self.interrupt.is_set() {
            return Err(self.note(Error::Interrupted));
        }
        if let Some(error) = early.failed {
            return Err(self.note(error));
        }
        match sent {
            Ok(sent) => {
                progress.set_done(sent.length);
                let stored: Stored = self.receive(id, &Progress::default()).map_err(mismatch)?;
                confirm(sent, &stored)
            }
            Err(SendError::Source(error)) => match self.receive::<Stored>(id, &Progress::default()) {
                Err(lost @ Error::Connection(_)) => Err(lost),
                _ => Err(Error::local(local, error)),
            },
            Err(SendError::Stopped) => match self.receive::<Stored>(id, &Progress::default()) {
                Ok(_) => Err(Error::Protocol("a reply to a body that had not ended".to_owned())),
                Err(error) => Err(error),
            },
            // A server that closes may have said why.
            Err(SendError::Connection(error)) => match self.receive::<Stored>(id, &Progress::default()) {
                Err(refused @ Error::Refused(_)) => Err(refused),
                _ => Err(self.note(error.into())),
            },
        }
    }
}

/// What the server says before it has the whole body.
#[derive(Default)]
struct Early {
    /// It refused the greeting: there is no connection any more.
    failed: Option<Error>,
}

impl Early {
    /// Whether the server has refused the body, so that what is left of it need not travel. Its reply to `hello`
    /// may come in first.
    fn look(
        &mut self,
        connection: &mut Connection<Stream>,
        greeting: &mut Greeting,
        timeouts: &Timeouts,
    ) -> bool {
        while connection.has_input() || !matches!(connection.stream().is_readable(), Ok(false)) {
            if greeting.is_done() {
                return true;
            }
            if let Err(error) = greeting.receive(connection, timeouts) {
                self.failed = Some(error);
                return true;
            }
            connection.stream().set_deadline(timeouts.moving());
        }
        false
    }
}

/// The server's words about a body that did not verify are a failed verification here too.
fn mismatch(error: Error) -> Error {
    match error {
        Error::Refused(refusal) if refusal.code == Code::Mismatch => Error::Unverified(refusal.to_string()),
        error => error,
    }
}

/// What the server stored is what was sent: it says so itself.
fn confirm(sent: Sent, stored: &Stored) -> Result<Transferred, Error> {
    if stored.digest != sent.digest {
        return Err(Error::Mismatch { sent: sent.digest, received: stored.digest });
    }
    if stored.size != sent.length {
        return Err(Error::Unverified(format!(
            "{} bytes were sent, {} were stored",
            sent.length, stored.size
        )));
    }
    Ok(Transferred { size: stored.size, digest: stored.digest })
}
