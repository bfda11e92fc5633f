//! `put`: files to the server, each whole under its name or not at all.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Instant;

use ftpish_client::{Error, Transferred, Upload};
use ftpish_protocol::message::Replace;
use ftpish_protocol::text::escape;
use ftpish_protocol::{Code, Name, RemotePath};
use ftpish_transport::Interrupt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::get::is_kept;
use super::{each, replace};
use crate::cli::{Condition, Overwrite, Put};
use crate::failure::Failure;
use crate::location::Location;
use crate::manifest::Manifest;
use crate::progress;
use crate::session::{Session, bad_path};

/// How long a wait for standard input may go on before the interrupt is looked at.
const INTERRUPT_CHECK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The word for standard input.
const STDIN: &str = "-";

/// Where stored files go.
enum Destination {
    /// To this name; or, if a directory has it, into that.
    Name(RemotePath),
    /// Into this directory, under their own names.
    Directory(RemotePath),
}

pub fn run(args: &Put, session: &mut Session) -> Result<(), Failure> {
    let (sources, destination) = match args.words.split_last() {
        Some((last, sources)) if !sources.is_empty() => {
            let location = Location::parse(last.clone())
                .map_err(|error| Failure::usage(format!("`{}`: {error}", escape(last.as_bytes()))))?;
            let path = session.resolve(&location)?;
            let is_dir = sources.len() > 1 || location.is_dir() || path.is_root();
            (sources, if is_dir { Destination::Directory(path) } else { Destination::Name(path) })
        }
        _ => (&args.words[..], Destination::Directory(session.cwd.clone())),
    };
    let mut manifest = Manifest::create(args.manifest.as_deref())?;
    each(sources, session, |word, session| match &destination {
        Destination::Directory(dir) => store(word, &below(dir, word)?, args, &mut manifest, session),
        Destination::Name(path) => match try_store(word, path, args, &mut manifest, session)? {
            Err(Error::Refused(refusal)) if refusal.code == Code::IsDirectory && word != STDIN => {
                store(word, &below(path, word)?, args, &mut manifest, session)
            }
            stored => stored.map_err(|error| failure(path, error)),
        },
    })
}

/// The path that a local file gets in a directory of the server.
fn below(dir: &RemotePath, word: &OsStr) -> Result<RemotePath, Failure> {
    if word == STDIN {
        return Err(Failure::usage("standard input has no name of its own: say which to store it under"));
    }
    let name = Path::new(word).file_name().unwrap_or(word).as_bytes();
    Name::parse(name).and_then(|name| dir.join(&name)).map_err(|error| bad_path(word.as_bytes(), &error))
}

fn store(
    word: &OsStr,
    to: &RemotePath,
    args: &Put,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<(), Failure> {
    try_store(word, to, args, manifest, session)?.map_err(|error| failure(to, error))
}

fn failure(to: &RemotePath, error: Error) -> Failure {
    Failure::client(format!("cannot put `{to}`"), error)
}

/// Stores one file. The outer error is no connection, the inner one the transfer's.
fn try_store(
    word: &OsStr,
    to: &RemotePath,
    args: &Put,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<Result<(), Error>, Failure> {
    let (ui, when) = (session.ui, args.overwrite.when);
    let began = Instant::now();
    let mut done = transfer(word, to, replace(when), args, session)?;
    if when == Overwrite::Ask
        && matches!(&done, Err(Error::Refused(refusal)) if refusal.code == Code::Exists)
        && ui.confirm(&format!("replace `{to}`?"))
    {
        done = transfer(word, to, Replace::Always, args, session)?;
    }
    Ok(match done {
        Ok(done) => {
            ui.transferred(to, &done, began.elapsed());
            let name = to.name().ok_or_else(|| Failure::usage("the served root is no file"))?;
            let path = RemotePath::root().join(&name).map_err(|error| bad_path(name.as_bytes(), &error))?;
            manifest.note(path, &done)?;
            Ok(())
        }
        Err(Error::Refused(refusal)) if is_kept(refusal.code, when) => {
            ui.say(format_args!("{to}  kept what is on the server: {refusal}"));
            Ok(())
        }
        Err(error) => Err(error),
    })
}

/// Standard input, where a wait for the next bytes can be interrupted.
struct Input {
    interrupt: Interrupt,
}

impl io::Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            if self.interrupt.is_set() {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "interrupted"));
            }
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&INTERRUPT_CHECK)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(rustix::io::read(&stdin, buffer)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn transfer(
    word: &OsStr,
    to: &RemotePath,
    replace: Replace,
    args: &Put,
    session: &mut Session,
) -> Result<Result<Transferred, Error>, Failure> {
    let (ui, digest) = (session.ui, args.digest.algorithm);
    if word == STDIN && session.input_is_commands {
        return Err(Failure::usage("standard input is the batch itself: `-` cannot be stored"));
    }
    let (replace, expect) = match args.condition {
        None => (replace, None),
        Some(Condition::Absent) => (Replace::Never, None),
        Some(Condition::Unchanged(_)) if word == STDIN => {
            return Err(Failure::usage("what is stored from standard input can be `--if absent` only"));
        }
        Some(Condition::Unchanged(expect)) => (replace, Some(expect)),
    };
    let mut input = Input { interrupt: session.interrupt.clone() };
    let upload = Upload { from: word.into(), to: to.clone(), digest, replace, expect, repair: args.repair };
    progress::watch(&ui, &to.to_string(), |progress| {
        if word == STDIN {
            // What was read is gone, so there is no second try.
            return Ok(session.client()?.put(&mut input, to, digest, replace, progress));
        }
        session.retrying(progress, |client| client.upload(&upload, progress))
    })
}
