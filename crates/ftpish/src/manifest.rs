//! Manifests: what was transferred, one JSON object a line, to be checked later.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use ftpish_client::Transferred;
use ftpish_protocol::message::Time;
use ftpish_protocol::text::escape;
use ftpish_protocol::{Code, Digest, RemotePath};
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::failure::Failure;

/// One file of a manifest.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// Where it is below the directory that the transfer went to.
    pub path: RemotePath,
    /// How many bytes it has.
    pub size: u64,
    /// Its modification time, if the transfer gave it one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Time>,
    /// What proves its bytes.
    pub digest: Digest,
}

/// A manifest that is being written; none where nobody asked for one.
#[derive(Debug)]
pub struct Manifest(Option<File>);

impl Manifest {
    /// Begins the manifest at `path`, if there is to be one.
    pub fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let file = path.map(|path| File::create(path).map_err(|error| failure("write", path, &error)));
        Ok(Self(file.transpose()?))
    }

    /// Notes a file that arrived.
    pub fn note(&mut self, path: RemotePath, done: &Transferred) -> Result<(), Failure> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        let line = Line { path, size: done.size, mtime: done.mtime, digest: done.digest };
        let mut text = serde_json::to_string(&line).expect("a line has string keys");
        text.push('\n');
        // Each line at once, so that what arrived is noted whatever comes next.
        let written = file.write_all(text.as_bytes());
        written.map_err(|error| {
            Failure::new(Exit::of(Code::of(&error)), format!("cannot write the manifest: {error}"))
        })
    }
}

/// Reads the manifest at `path`.
pub fn read(path: &Path) -> Result<Vec<Line>, Failure> {
    let lines = BufReader::new(File::open(path).map_err(|error| failure("read", path, &error))?).lines();
    let parse = |(number, line): (usize, io::Result<String>)| {
        let line = line.map_err(|error| failure("read", path, &error))?;
        let shown = escape(path.as_os_str().as_encoded_bytes());
        serde_json::from_str(&line).map_err(|error| {
            Failure::usage(format!("line {} of the manifest `{shown}`: {error}", number + 1))
        })
    };
    lines.enumerate().map(parse).collect()
}

fn failure(tried: &str, path: &Path, error: &io::Error) -> Failure {
    let path = escape(path.as_os_str().as_encoded_bytes());
    Failure::new(Exit::of(Code::of(error)), format!("cannot {tried} the manifest `{path}`: {error}"))
}
