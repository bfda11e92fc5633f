//! `put`: files to the server, each whole under its name or not at all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ftpish_client::{Batch, Error, Transferred, Tree, Upload, Way};
use ftpish_protocol::message::{Kind, Replace};
use ftpish_protocol::text::escape;
use ftpish_protocol::{Code, Name, RemotePath};
use ftpish_transport::Interrupt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::files::{Moved, sensible};
use super::tree::Order;
use super::{each, glob, is_kept, replace, tree};
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
    if !args.recursive {
        tree::require_recursive(&args.tree)?;
    }
    let (sources, last) = match args.words.split_last() {
        Some((last, sources)) if !sources.is_empty() => (sources, Some(last)),
        _ => (&args.words[..], None),
    };
    let named: Result<Vec<_>, Failure> = sources.iter().map(|word| glob::local(word)).collect();
    let sources = &named?.concat()[..];
    let destination = match last {
        Some(last) => {
            let location = Location::parse(last.clone())
                .map_err(|error| Failure::usage(format!("`{}`: {error}", escape(last.as_bytes()))))?;
            let path = session.resolve(&location)?;
            let is_dir = sources.len() > 1 || location.is_dir() || path.is_root();
            if is_dir { Destination::Directory(path) } else { Destination::Name(path) }
        }
        None => Destination::Directory(session.cwd.clone()),
    };
    let mut manifest = Manifest::create(args.manifest.as_deref())?;
    if !args.recursive && !sources.iter().any(|word| word == STDIN) {
        return store_files(sources, &destination, args, &mut manifest, session);
    }
    each(sources, session, |word, session| match &destination {
        _ if word == STDIN => store_input(&destination, args, &mut manifest, session),
        _ if args.recursive && Path::new(word).is_dir() => {
            store_tree(word, &destination, args, &mut manifest, session)
        }
        _ => store_files(std::slice::from_ref(word), &destination, args, &mut manifest, session),
    })
}

/// Stores files, as many as there are.
fn store_files(
    words: &[OsString],
    destination: &Destination,
    args: &Put,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<(), Failure> {
    let meant = words.iter().map(|word| {
        let to = match destination {
            Destination::Directory(dir) => below(dir, word)?,
            Destination::Name(path) => path.clone(),
        };
        Ok(upload(word, to, args))
    });
    let (uploads, bad) = sensible(meant);
    let name = uploads.first().map_or(String::new(), |upload| upload.to.to_string());
    let moved = Moved::all(&uploads, |upload| upload.to.clone(), &name, session, batch);
    moved.tell(bad, session, |number, done, took, session| {
        let upload = &uploads[number];
        let done = match (done, destination) {
            // As with cp(1), a directory that is there takes the file up.
            (Err(Error::Refused(refusal)), Destination::Name(dir)) if refusal.code == Code::IsDirectory => {
                let word = upload.from.as_os_str().to_owned();
                let below = Destination::Directory(dir.clone());
                return store_files(&[word], &below, args, manifest, session);
            }
            (Err(Error::Refused(refusal)), _)
                if refusal.code == Code::Exists
                    && args.overwrite.when == Overwrite::Ask
                    && session.ui.confirm(&format!("replace `{}`?", upload.to)) =>
            {
                let again = [Upload { replace: Replace::Always, ..upload.clone() }];
                Moved::all(&again, |_| (), &name, session, batch).into_one()?
            }
            (done, _) => done,
        };
        report(&upload.to, done, took, args, manifest, session)?.map_err(|error| failure(&upload.to, error))
    })
}

fn batch(uploads: Vec<&Upload>) -> Batch {
    Batch::uploads(uploads.into_iter().cloned())
}

fn upload(word: &OsStr, to: RemotePath, args: &Put) -> Upload {
    let (replace, expect) = match args.condition {
        None => (replace(args.overwrite.when), None),
        Some(Condition::Absent) => (Replace::Never, None),
        Some(Condition::Unchanged(expect)) => (replace(args.overwrite.when), Some(expect)),
    };
    Upload {
        digest: args.digest.algorithm,
        replace,
        expect,
        repair: args.repair,
        perms: args.tree.perms,
        ..Upload::new(word, to)
    }
}

fn store_tree(
    word: &OsStr,
    destination: &Destination,
    args: &Put,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<(), Failure> {
    let named = |dir: &RemotePath| match Path::new(word).file_name() {
        Some(_) => below(dir, word),
        None => Ok(dir.clone()),
    };
    let remote = match destination {
        Destination::Directory(dir) => named(dir)?,
        // As with cp(1), a directory that is there already takes the tree up.
        Destination::Name(path) => match session.client()?.stat(path) {
            Ok(found) if found.kind == Kind::Dir => named(path)?,
            _ => path.clone(),
        },
    };
    let when = args.overwrite.when;
    if when == Overwrite::Ask {
        return Err(Failure::usage("--overwrite ask is for single files"));
    }
    let tree = Tree {
        replace: replace(when),
        ..tree::tree(Way::Put, remote.clone(), word.into(), args.digest.algorithm, &args.tree)?
    };
    tree::run(tree, Order::RemovalsLast, &args.tree, when, manifest, session)?
        .map_err(|error| failure(&remote, error))
}

/// The path that a local file gets in a directory of the server.
fn below(dir: &RemotePath, word: &OsStr) -> Result<RemotePath, Failure> {
    let name = Path::new(word).file_name().unwrap_or(word).as_bytes();
    Name::parse(name).and_then(|name| dir.join(&name)).map_err(|error| bad_path(word.as_bytes(), &error))
}

fn failure(to: &RemotePath, error: Error) -> Failure {
    Failure::client(format!("cannot put `{to}`"), error)
}

/// Says what became of a file, and notes it.
fn report(
    to: &RemotePath,
    done: Result<Transferred, Error>,
    took: Option<Duration>,
    args: &Put,
    manifest: &mut Manifest,
    session: &Session,
) -> Result<Result<(), Error>, Failure> {
    let (ui, when) = (session.ui, args.overwrite.when);
    Ok(match done {
        Ok(done) => {
            ui.transferred(to, &done, took);
            let name = to.name().ok_or_else(|| Failure::usage("the served root is no file"))?;
            let path = RemotePath::root().join(&name).map_err(|error| bad_path(name.as_bytes(), &error))?;
            manifest.note(path, &done)?;
            ui.unset(to, done.unset);
            if args.tree.strict && !done.unset.is_none() {
                return Err(tree::not_strict(to));
            }
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

/// Stores what comes from standard input: what was read is gone, so there is no second try.
fn store_input(
    destination: &Destination,
    args: &Put,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<(), Failure> {
    if session.input_is_commands {
        return Err(Failure::usage("standard input is the batch itself: `-` cannot be stored"));
    }
    let Destination::Name(to) = destination else {
        return Err(Failure::usage("standard input has no name of its own: say which to store it under"));
    };
    let Upload { digest, replace, expect, .. } = upload(STDIN.as_ref(), to.clone(), args);
    if expect.is_some() {
        return Err(Failure::usage("what is stored from standard input can be `--if absent` only"));
    }
    let (ui, began) = (session.ui, Instant::now());
    let mut input = Input { interrupt: session.interrupt.clone() };
    let done = progress::watch(&ui, &to.to_string(), |progress| {
        Ok::<_, Failure>(session.client()?.put(&mut input, to, digest, replace, progress))
    })?;
    report(to, done, Some(began.elapsed()), args, manifest, session)?.map_err(|error| failure(to, error))
}
