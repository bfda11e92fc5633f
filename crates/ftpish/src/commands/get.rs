//! `get`: files from the server, each whole under its local name or not at all.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ftpish_client::{Download, Error, Transferred, Tree, Way};
use ftpish_protocol::RemotePath;
use ftpish_protocol::message::Replace;
use ftpish_protocol::text::escape;

use super::crowd::{Crowd, alone};
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
    let fetched = match &destination {
        Destination::Directory(dir) if !args.recursive => fetch_crowd(sources, dir, args, session)?,
        _ => Crowd::none(),
    };
    let done = each(sources, session, |word, session| {
        let path = session.resolve(word)?;
        if args.recursive && fetch_tree(&path, &destination, args, &mut manifest, session)? {
            return Ok(());
        }
        match &destination {
            Destination::Output => to_output(&path, args, session),
            Destination::File(to) => to_file(&path, to, args, &mut manifest, session),
            Destination::Directory(dir) => {
                let to = below(dir, &path)?;
                match fetched.take(&to) {
                    Some(done) => report(&path, &to, done, None, args, &mut manifest, session),
                    None => to_file(&path, &to, args, &mut manifest, session),
                }
            }
        }
    });
    fetched.sum_up(&session.ui);
    done
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

/// Fetches several files one behind the other, without waiting for the server in between; but for those of which there
/// is something here that may be worth keeping. What the connection broke under is left for a try of its own.
fn fetch_crowd(
    words: &[Location],
    dir: &Path,
    args: &Get,
    session: &mut Session,
) -> Result<Crowd<PathBuf>, Failure> {
    let plain = !args.repair && matches!(args.overwrite.when, Overwrite::Always | Overwrite::Never);
    let mut meant = Vec::new();
    for word in words {
        // A word that means nothing is told of in its turn.
        if let Ok((from, to)) = session.resolve(word).and_then(|path| Ok((path.clone(), below(dir, &path)?)))
        {
            meant.push(download(&from, &to, args));
        }
    }
    let single = alone(meant, |download| &download.to).into_iter();
    let downloads: Vec<_> = single.filter(|download| plain && !download.has_base()).collect();
    if downloads.len() < 2 {
        return Ok(Crowd::none());
    }
    let ui = session.ui;
    let client = match session.client() {
        // A server that is busy, say, is asked again for each file.
        Err(failure) if failure.may_pass() => return Ok(Crowd::none()),
        client => client?,
    };
    Ok(Crowd::moved(&ui, downloads.len(), |crowd, progress| {
        client.download_many(downloads, progress, &mut |download, done| crowd.note(download.to, done));
    }))
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
        Destination::Output => return Err(Failure::usage("a tree cannot be written to standard output")),
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
        if word == "-" {
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

fn to_file(
    path: &RemotePath,
    to: &Path,
    args: &Get,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<(), Failure> {
    let ui = session.ui;
    let mut download = download(path, to, args);
    if args.overwrite.when == Overwrite::Ask
        && to.symlink_metadata().is_ok()
        && ui.confirm(&format!("replace `{}`?", escape(to.as_os_str().as_bytes())))
    {
        download.replace = Replace::Always;
    }
    let began = Instant::now();
    let done = progress::watch(&ui, &path.to_string(), |progress| {
        session.retrying(progress, |client| client.download(&download, progress))
    });
    report(path, to, done?, Some(began.elapsed()), args, manifest, session)
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
