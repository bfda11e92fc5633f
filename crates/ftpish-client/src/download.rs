//! `get`: a remote file, verified, into a writer or under a local name.

use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ftpish_protocol::message::{Command, File, Get, Mode, Replace, Time};
use ftpish_protocol::{Algorithm, Name, Refusal, RemotePath, Verified, receive_body};
use ftpish_storage::{Root, Stage};

use crate::{Client, Error, Progress, Transferred};

/// A remote file to be stored under a local name.
#[derive(Clone, Debug)]
pub struct Download {
    /// What to fetch.
    pub from: RemotePath,
    /// The file to make or replace.
    pub to: PathBuf,
    /// What proves it.
    pub digest: Algorithm,
    /// What may be replaced.
    pub replace: Replace,
    /// Whether the file is on the disk before this is done.
    pub sync: bool,
}

impl Client {
    /// Fetches a file into `out`. What was written is proven only when this returns.
    pub fn get(
        &mut self,
        path: &RemotePath,
        digest: Algorithm,
        out: &mut impl Write,
        progress: &Progress,
    ) -> Result<Transferred, Error> {
        let id = self.request_file(path, digest, None)?;
        let file: File = self.receive_with_body(id)?;
        let verified = self.receive_into(out, digest, &file, Path::new("-"), progress)?;
        Ok(Transferred { size: verified.length(), digest: verified.digest() })
    }

    /// Fetches a file, and stores it with its time and permission bits: whole, or not at all.
    pub fn download(&mut self, download: &Download, progress: &Progress) -> Result<Transferred, Error> {
        let Download { from, to, digest, replace, sync } = download;
        let local = |refusal: Refusal| Error::Local { path: to.clone(), refusal };
        let (root, name) = local_target(to, *sync)?;
        let mtime = match replace {
            Replace::Older => Some(self.mtime(from, *digest)?),
            Replace::Always | Replace::Never => None,
        };
        // What can be refused here is refused before bytes are on their way.
        let mut stage = root.stage(&name, *replace, mtime).map_err(local)?;
        match self.receive_stage(&mut stage, download, progress) {
            Ok((verified, mode)) => {
                let done = Transferred { size: verified.length(), digest: verified.digest() };
                stage.commit(verified, Some(mode)).map_err(local)?;
                Ok(done)
            }
            Err(error) => {
                stage.discard();
                Err(error)
            }
        }
    }

    /// When a file was modified, through links: asked for with an empty range.
    fn mtime(&mut self, path: &RemotePath, digest: Algorithm) -> Result<Time, Error> {
        let id = self.request_file(path, digest, Some(0))?;
        let file: File = self.receive_with_body(id)?;
        let nothing = &mut std::io::sink();
        let _none = self.receive_into(nothing, digest, &file, Path::new("-"), &Progress::default())?;
        Ok(file.mtime)
    }

    fn request_file(
        &mut self,
        path: &RemotePath,
        digest: Algorithm,
        length: Option<u64>,
    ) -> Result<u64, Error> {
        self.send(&Command::Get(Get { path: path.clone(), digest, offset: 0, length }), false)
    }

    fn receive_stage(
        &mut self,
        stage: &mut Stage,
        download: &Download,
        progress: &Progress,
    ) -> Result<(Verified, Mode), Error> {
        let Download { from, to, digest, .. } = download;
        let id = self.request_file(from, *digest, None)?;
        let file: File = self.receive_with_body(id)?;
        stage.set_mtime(file.mtime);
        if let Err(refusal) = stage.reserve(file.length) {
            return Err(self.note(Error::Local { path: to.clone(), refusal }));
        }
        Ok((self.receive_into(stage, *digest, &file, to, progress)?, file.mode))
    }

    fn receive_into(
        &mut self,
        out: &mut impl Write,
        digest: Algorithm,
        file: &File,
        local: &Path,
        progress: &Progress,
    ) -> Result<Verified, Error> {
        progress.set_total(file.length);
        let interrupt = self.interrupt.clone();
        let verified = receive_body(&mut self.connection, out, digest, Some(file.length), &mut |_, done| {
            progress.set_done(done);
            !interrupt.is_set()
        });
        let verified = verified.map_err(|error| self.note(Error::of_body(error, local)))?;
        progress.set_done(verified.length());
        Ok(verified)
    }
}

/// The directory that a local name is in, and the name there.
fn local_target(path: &Path, sync: bool) -> Result<(Root, RemotePath), Error> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    let refused = |refusal| Error::Local { path: path.to_owned(), refusal };
    let name = path.file_name().unwrap_or_default();
    let name = Name::parse(name.as_bytes())
        .and_then(|name| RemotePath::root().join(&name))
        .map_err(|error| refused(Refusal::new(ftpish_protocol::Code::BadPath, error.to_string())))?;
    let root = Root::open(parent, sync).map_err(|error| Error::local(parent, error))?;
    Ok((root, name))
}
