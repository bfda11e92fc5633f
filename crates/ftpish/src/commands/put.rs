//! `put`: files to the server, each whole under its name or not at all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ftpish_client::{Ahead, Error, SMALL_FILE, Transferred, Tree, Upload, Way};
use ftpish_protocol::message::{Kind, Replace};
use ftpish_protocol::text::escape;
use ftpish_protocol::{Code, Name, RemotePath};
use ftpish_transport::Interrupt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::crowd::{Crowd, alone};
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
    let sent = match &destination {
        Destination::Directory(dir) if !args.recursive => send_crowd(sources, dir, args, session)?,
        _ => Crowd::none(),
    };
    let done = each(sources, session, |word, session| match &destination {
        _ if args.recursive && Path::new(word).is_dir() => {
            store_tree(word, &destination, args, &mut manifest, session)
        }
        Destination::Directory(dir) => {
            let to = below(dir, word)?;
            match sent.take(&to) {
                Some(done) => report(&to, done, None, args, &mut manifest, session)?,
                None => try_store(word, &to, sent.has_lost(&to), args, &mut manifest, session)?,
            }
            .map_err(|error| failure(&to, error))
        }
        Destination::Name(path) => match try_store(word, path, false, args, &mut manifest, session)? {
            Err(Error::Refused(refusal)) if refusal.code == Code::IsDirectory && word != STDIN => {
                let to = below(path, word)?;
                try_store(word, &to, false, args, &mut manifest, session)?
                    .map_err(|error| failure(&to, error))
            }
            stored => stored.map_err(|error| failure(path, error)),
        },
    });
    sent.sum_up(&session.ui);
    done
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

/// Sends the small ones of several files one behind the other, without waiting for the server in between. Those that
/// the connection broke under are left for a try of their own.
fn send_crowd(
    words: &[OsString],
    dir: &RemotePath,
    args: &Put,
    session: &mut Session,
) -> Result<Crowd<RemotePath>, Failure> {
    let small_size = |word: &OsString| {
        let found = Path::new(word).metadata().ok().filter(|found| found.is_file() && word != STDIN)?;
        Some(found.len()).filter(|size| *size <= SMALL_FILE)
    };
    let plain = args.condition.is_none() && !args.repair && args.overwrite.when != Overwrite::Ask;
    // A word that means nothing is told of in its turn.
    let words = words.iter().filter_map(|word| Some((word, below(dir, word).ok()?))).collect();
    let single = alone(words, |(_, to)| to).into_iter().filter(|_| plain);
    let (digest, replace) = (args.digest.algorithm, replace(args.overwrite.when));
    let (mut uploads, mut total) = (Vec::new(), 0);
    for (word, to) in single {
        if let Some(size) = small_size(word) {
            total += size;
            uploads.push(Upload { digest, replace, perms: args.tree.perms, ..Upload::new(word, to) });
        }
    }
    if uploads.len() < 2 {
        return Ok(Crowd::none());
    }
    let ui = session.ui;
    let client = match session.client() {
        // A server that is busy, say, is asked again for each file.
        Err(failure) if failure.may_pass() => return Ok(Crowd::none()),
        client => client?,
    };
    Ok(Crowd::moved(&ui, uploads.len(), |crowd, progress| {
        progress.set_total(total);
        client.upload_many(uploads, progress, &mut |upload, done| crowd.note(upload.to, done));
    }))
}

/// The path that a local file gets in a directory of the server.
fn below(dir: &RemotePath, word: &OsStr) -> Result<RemotePath, Failure> {
    if word == STDIN {
        return Err(Failure::usage("standard input has no name of its own: say which to store it under"));
    }
    let name = Path::new(word).file_name().unwrap_or(word).as_bytes();
    Name::parse(name).and_then(|name| dir.join(&name)).map_err(|error| bad_path(word.as_bytes(), &error))
}

fn failure(to: &RemotePath, error: Error) -> Failure {
    Failure::client(format!("cannot put `{to}`"), error)
}

/// Stores one file, which may be there already where the reply to an earlier try was `lost`. The outer error is no
/// connection, the inner one the transfer's.
fn try_store(
    word: &OsStr,
    to: &RemotePath,
    lost: bool,
    args: &Put,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<Result<(), Error>, Failure> {
    let (ui, when) = (session.ui, args.overwrite.when);
    let began = Instant::now();
    let mut done = transfer(word, to, lost, replace(when), args, session)?;
    if when == Overwrite::Ask
        && matches!(&done, Err(Error::Refused(refusal)) if refusal.code == Code::Exists)
        && ui.confirm(&format!("replace `{to}`?"))
    {
        done = transfer(word, to, false, Replace::Always, args, session)?;
    }
    report(to, done, Some(began.elapsed()), args, manifest, session)
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

/// Whether a `put` was refused for what has its name already.
fn is_in_the_way(code: Code) -> bool {
    matches!(code, Code::Exists | Code::NotNewer | Code::Changed)
}

fn transfer(
    word: &OsStr,
    to: &RemotePath,
    mut lost: bool,
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
    let mut upload = Upload {
        digest,
        replace,
        expect,
        repair: args.repair,
        perms: args.tree.perms,
        ahead: if lost { Ahead::Never } else { Ahead::default() },
        ..Upload::new(word, to.clone())
    };
    progress::watch(&ui, &to.to_string(), |progress| {
        if word == STDIN {
            // What was read is gone, so there is no second try.
            return Ok(session.client()?.put(&mut input, to, digest, replace, progress));
        }
        session.retrying(progress, |client| {
            let done = match client.upload(&upload, progress) {
                // It may be this very file that is in the way: stored, and the reply lost.
                Err(Error::Refused(refusal)) if lost && is_in_the_way(refusal.code) => {
                    client.find_stored(&upload)?.ok_or(Error::Refused(refusal))
                }
                done => done,
            };
            lost |= matches!(done, Err(Error::Connection(_)));
            if lost {
                upload.ahead = Ahead::Never;
            }
            done
        })
    })
}
