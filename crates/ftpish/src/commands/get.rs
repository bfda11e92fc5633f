//! `get`: files from the server, each whole under its local name or not at all.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ftpish_client::{Batch, Download, Error, Transferred, Tree, Way};
use ftpish_protocol::message::Replace;
use ftpish_protocol::text::escape;
use ftpish_protocol::{Code, RemotePath};

use super::files::{Moved, sensible};
use super::output::Output;
use super::tree::Order;
use super::{each, glob, is_kept, replace, tree};
use crate::cli::{Get, Overwrite};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::location::Location;
use crate::manifest::Manifest;
use crate::progress;
use crate::session::{Session, bad_path};

/// The word for standard output.
const STDOUT: &str = "-";

/// Where fetched files go.
enum Destination {
    /// To standard output.
    Output,
    /// To this name.
    File(PathBuf),
    /// Into this directory, under their own names.
    Directory(PathBuf),
}

pub fn run(args: &Get, session: &mut Session) -> Result<(), Failure> {
    if !args.recursive {
        tree::require_recursive(&args.tree)?;
    }
    let (sources, last) = match args.words.split_last() {
        Some((last, sources)) if !sources.is_empty() => (sources, Some(last)),
        _ => (&args.words[..], None),
    };
    let typed: Result<Vec<_>, Failure> = sources.iter().map(parse).collect();
    let sources = &glob::locations(&typed?, session)?[..];
    let destination = match last {
        Some(last) => Destination::of(last, sources.len())?,
        None => Destination::Directory(PathBuf::new()),
    };
    let mut manifest = Manifest::create(args.manifest.as_deref())?;
    if let Destination::Output = destination {
        if args.recursive {
            return Err(Failure::usage("a tree cannot be written to standard output"));
        }
        return each(sources, session, |word, session| {
            let path = session.resolve(word)?;
            to_output(&path, args, session)
        });
    }
    if !args.recursive {
        return fetch_files(sources, &destination, args, &mut manifest, session);
    }
    each(sources, session, |word, session| {
        let path = session.resolve(word)?;
        if fetch_tree(&path, &destination, args, &mut manifest, session)? {
            return Ok(());
        }
        fetch_files(std::slice::from_ref(word), &destination, args, &mut manifest, session)
    })
}

fn parse(word: &OsString) -> Result<Location, Failure> {
    Location::parse(word.clone())
        .map_err(|error| Failure::usage(format!("`{}`: {error}", escape(word.as_bytes()))))
}

/// The local name of a remote file in a directory.
fn below(dir: &Path, path: &RemotePath) -> Result<PathBuf, Failure> {
    let name = path.name().ok_or_else(|| Failure::usage("the served root is no file"))?;
    Ok(dir.join(OsStr::from_bytes(name.as_bytes())))
}

/// Fetches files, as many as there are.
fn fetch_files(
    words: &[Location],
    destination: &Destination,
    args: &Get,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<(), Failure> {
    let meant = words.iter().map(|word| {
        let from = session.resolve(word)?;
        let to = match destination {
            Destination::File(to) => to.clone(),
            Destination::Directory(dir) => below(dir, &from)?,
            Destination::Output => PathBuf::from(STDOUT),
        };
        Ok(download(&from, &to, args))
    });
    let (downloads, bad) = sensible(meant);
    let name = downloads.first().map_or(String::new(), |download| download.from.to_string());
    let to = |download: &Download| download.to.clone();
    let batch = |downloads: Vec<&Download>| Batch::downloads(downloads.into_iter().cloned());
    let moved = Moved::all(&downloads, to, &name, session, batch);
    moved.tell(bad, session, |number, done, took, session| {
        let Download { from, to, .. } = &downloads[number];
        let done = match done {
            Err(Error::Local { refusal, .. })
                if refusal.code == Code::Exists
                    && args.overwrite.when == Overwrite::Ask
                    && session.ui.confirm(&format!("replace `{}`?", escape(to.as_os_str().as_bytes()))) =>
            {
                let again = [Download { replace: Replace::Always, ..downloads[number].clone() }];
                Moved::all(&again, |_| (), &name, session, batch).into_one()?
            }
            done => done,
        };
        report(from, to, done, took, args, manifest, session)
    })
}

/// Fetches a tree, if it is one; a file is fetched as any other.
fn fetch_tree(
    path: &RemotePath,
    destination: &Destination,
    args: &Get,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<bool, Failure> {
    let local = match destination {
        Destination::Output => PathBuf::from(STDOUT),
        Destination::File(to) => to.clone(),
        Destination::Directory(dir) => match tree::name(path) {
            Some(name) => dir.join(name),
            None if dir.as_os_str().is_empty() => PathBuf::from("."),
            None => dir.clone(),
        },
    };
    let when = args.overwrite.when;
    if when == Overwrite::Ask {
        return Err(Failure::usage("--overwrite ask is for single files"));
    }
    let tree = Tree {
        replace: replace(when),
        sync: !args.no_sync,
        ..tree::tree(Way::Get, path.clone(), local, args.digest.algorithm, &args.tree)?
    };
    Ok(tree::run(tree, Order::RemovalsLast, &args.tree, when, manifest, session)?.is_ok())
}

fn download(from: &RemotePath, to: &Path, args: &Get) -> Download {
    Download {
        digest: args.digest.algorithm,
        replace: replace(args.overwrite.when),
        sync: !args.no_sync,
        repair: args.repair,
        perms: args.tree.perms,
        ..Download::new(from.clone(), to)
    }
}

impl Destination {
    /// What the last word means to `sources` files. A directory that is written with a slash is made.
    fn of(word: &OsString, sources: usize) -> Result<Self, Failure> {
        let path = PathBuf::from(word);
        if word == STDOUT {
            Ok(Self::Output)
        } else if path.is_dir() {
            Ok(Self::Directory(path))
        } else if word.as_bytes().ends_with(b"/") {
            match std::fs::create_dir_all(&path) {
                Ok(()) => Ok(Self::Directory(path)),
                Err(error) => {
                    Err(Failure::new(Exit::Other, format!("cannot make `{}`: {error}", path.display())))
                }
            }
        } else if sources > 1 {
            let word = escape(word.as_bytes());
            Err(Failure::usage(format!("`{word}` is no directory, and {sources} files are to go there"))
                .hint(format!("write `{word}/` to make one")))
        } else {
            Ok(Self::File(path))
        }
    }
}

fn to_output(path: &RemotePath, args: &Get, session: &mut Session) -> Result<(), Failure> {
    let (ui, began) = (session.ui, Instant::now());
    let client = session.client()?;
    let mut out = Output::standard().map_err(|error| Failure::output(&error))?;
    let got = progress::watch(&ui, &path.to_string(), |progress| {
        client.get(path, args.digest.algorithm, &mut out, progress)
    });
    let done = out.outcome(got, &format!("cannot get `{path}`"))?;
    ui.transferred(path, &done, Some(began.elapsed()));
    Ok(())
}

/// Says what became of a file, and notes it.
fn report(
    path: &RemotePath,
    to: &Path,
    done: Result<Transferred, Error>,
    took: Option<Duration>,
    args: &Get,
    manifest: &mut Manifest,
    session: &Session,
) -> Result<(), Failure> {
    let ui = session.ui;
    match done {
        Ok(done) => {
            ui.transferred(path, &done, took);
            let name = to.file_name().unwrap_or_default().as_bytes();
            manifest.note(RemotePath::parse(name).map_err(|error| bad_path(name, &error))?, &done)?;
            ui.unset(path, done.unset);
            if args.tree.strict && !done.unset.is_none() {
                return Err(tree::not_strict(path));
            }
        }
        Err(Error::Local { refusal, .. }) if is_kept(refusal.code, args.overwrite.when) => {
            ui.say(format_args!("{path}  kept what is here: {refusal}"));
        }
        Err(error) => return Err(Failure::client(format!("cannot get `{path}`"), error)),
    }
    Ok(())
}
