//! `verify`: are two files the same, or files what a manifest says? Only digests move.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ftpish_client::{Comparison, Error, digest_of};
use ftpish_protocol::text::escape;
use ftpish_protocol::{Algorithm, Digest, Meter, Refusal, RemotePath};
use ftpish_storage::SourceFile;

use crate::cli::Verify;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::location::Location;
use crate::manifest::{self, Line};
use crate::progress;
use crate::session::{Session, bad_path};
use crate::ui::print;

pub fn run(args: &Verify, session: &mut Session) -> Result<(), Failure> {
    match (&args.manifest, &args.paths[..]) {
        (None, [local, remote]) => {
            let remote = location(remote, session)?;
            compare(Path::new(local), &remote, session)
        }
        (None, _) => Err(Failure::usage("verify compares a local file with a remote one: name both")
            .hint("--manifest checks many")),
        (Some(file), dirs @ ([] | [_])) => {
            let lines = manifest::read(file)?;
            let dir = dirs.first().map_or(OsStr::new("."), |dir| dir);
            if args.remote {
                let dir = location(dir, session)?;
                check(&lines, session, |line, session| remote_digest(&dir, line, session))
            } else {
                let dir = PathBuf::from(dir);
                check(&lines, session, |line, session| local_digest(&dir, line, session))
            }
        }
        (Some(_), _) => Err(Failure::usage("a manifest is checked in one directory")),
    }
}

fn location(word: &OsStr, session: &mut Session) -> Result<RemotePath, Failure> {
    let location = Location::parse(word.to_owned())
        .map_err(|error| Failure::usage(format!("`{}`: {error}", escape(word.as_bytes()))))?;
    session.resolve(&location)
}

fn compare(local: &Path, remote: &RemotePath, session: &mut Session) -> Result<(), Failure> {
    let ui = session.ui;
    let client = session.client()?;
    let compared =
        progress::watch(&ui, &remote.to_string(), |progress| client.compare(local, remote, progress));
    let Comparison { local: ours, remote: theirs, differing } =
        compared.map_err(|error| Failure::client(format!("cannot compare with `{remote}`"), error))?;
    if differing.is_empty() {
        return print(format_args!("same: {ours} bytes"));
    }
    if ours != theirs {
        print(format_args!("size: {ours} bytes here, {theirs} on the server"))?;
    }
    for range in &differing {
        print(format_args!("differs: bytes {} to {}", range.start, range.end - 1))?;
    }
    let bytes: u64 = differing.iter().map(|range| range.end - range.start).sum();
    Err(Failure::new(Exit::Verification, format!("the files differ in blocks of {bytes} bytes"))
        .hint("get --repair or put --repair moves only these"))
}

/// The size and digest of the file that a line of a manifest tells of, as it is now.
type Now = Result<(u64, Digest), Failure>;

fn check(
    lines: &[Line],
    session: &mut Session,
    mut now: impl FnMut(&Line, &mut Session) -> Now,
) -> Result<(), Failure> {
    let mut wrong = 0;
    for line in lines {
        let why = match now(line, session) {
            Ok((size, digest)) if (size, digest) == (line.size, line.digest) => continue,
            Ok((size, _)) if size != line.size => format!("{size} bytes, not {}", line.size),
            Ok((_, digest)) => format!("{digest}, not {}", line.digest),
            Err(failure) if !failure.goes_on => return Err(failure),
            Err(failure) => failure.to_string(),
        };
        print(format_args!("differs: {}: {why}", line.path))?;
        wrong += 1;
    }
    if wrong == 0 {
        return print(format_args!("same: {} files", lines.len()));
    }
    Err(Failure::new(
        Exit::Verification,
        format!("{wrong} of {} files are not what the manifest says", lines.len()),
    ))
}

fn remote_digest(dir: &RemotePath, line: &Line, session: &mut Session) -> Now {
    let path = dir.resolve(line.path.as_bytes()).map_err(|error| bad_path(line.path.as_bytes(), &error))?;
    let hashed = hash(&path, line.digest.algorithm(), session)?;
    hashed.map_err(|error| Failure::client(format!("cannot hash `{path}`"), error))
}

fn hash(
    path: &RemotePath,
    algorithm: Algorithm,
    session: &mut Session,
) -> Result<Result<(u64, Digest), Error>, Failure> {
    let ui = session.ui;
    let client = session.client()?;
    let hashed = progress::watch(&ui, &path.to_string(), |progress| client.hash(path, algorithm, progress));
    Ok(hashed.map(|hashed| (hashed.size, hashed.digest)))
}

fn local_digest(dir: &Path, line: &Line, session: &Session) -> Now {
    let path = dir.join(OsStr::from_bytes(line.path.as_bytes()));
    let tried = |error: Error| Failure::client(format!("cannot hash `{}`", line.path), error);
    let file = SourceFile::open(&path)
        .map_err(|refusal: Refusal| tried(Error::Local { path: path.clone(), refusal }))?;
    let (size, meter) = (file.size(), Meter::stopped_by(session.interrupt.flag()));
    let digest = digest_of(&path, file, line.digest.algorithm(), &meter);
    if session.interrupt.is_set() {
        return Err(Failure::client("", Error::Interrupted));
    }
    Ok((size, digest.map_err(tried)?))
}
