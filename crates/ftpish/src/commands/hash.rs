//! `hash`: digests from the server's disk, in lines that `md5sum -c`, `sha256sum -c` and `b3sum -c` accept.

use std::io::{self, IsTerminal as _, Write as _};

use ftpish_client::Error;
use ftpish_protocol::message::Kind;
use ftpish_protocol::text::escape;
use ftpish_protocol::{Algorithm, Digest, RemotePath};

use super::{each, glob};
use crate::cli::Hash;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress;
use crate::session::{Session, bad_path};

/// How deep directories may be nested below the one that is named. Real ones are not, and each level is a call.
const MOST_LEVELS: usize = 128;

/// How many names are held at a time, over all levels: what a server can make of this client's memory.
const MOST_NAMES: usize = 500_000;

pub fn run(args: &Hash, session: &mut Session) -> Result<(), Failure> {
    each(&glob::locations(&args.files, session)?, session, |location, session| {
        let path = session.resolve(location)?;
        if args.recursive {
            below(&path, Bounds { levels: MOST_LEVELS, names: MOST_NAMES }, args, session)
        } else {
            one(&path, args, session)
        }
    })
}

/// How much of a tree may still be held.
#[derive(Clone, Copy)]
struct Bounds {
    levels: usize,
    names: usize,
}

/// All regular files at and below `path`, in the order of their names; links are not followed.
fn below(path: &RemotePath, bounds: Bounds, args: &Hash, session: &mut Session) -> Result<(), Failure> {
    let too = |what| Failure::new(Exit::Other, format!("cannot walk `{path}`: {what} for any real tree"));
    let Some(levels) = bounds.levels.checked_sub(1) else { return Err(too("it is nested too deeply")) };
    let tried = |error| Failure::client(format!("cannot list `{path}`"), error);
    match session.client()?.stat(path).map_err(tried)?.kind {
        Kind::File => return one(path, args, session),
        Kind::Dir => {}
        Kind::Link | Kind::Other => return Ok(()),
    }
    let mut entries = Vec::new();
    let listed = session.client()?.ls(path, &mut |entry| {
        if entries.len() >= bounds.names {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        entries.push((entry.name, entry.kind));
        Ok(())
    });
    match listed {
        Err(Error::Local { .. }) if entries.len() >= bounds.names => {
            return Err(too("it has too many names"));
        }
        listed => listed.map_err(tried)?,
    };
    let bounds = Bounds { levels, names: bounds.names - entries.len() };
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let named: Vec<_> = entries.into_iter().filter_map(|(name, kind)| Some((name?, kind))).collect();
    each(&named, session, |(name, kind), session| {
        let path = path.join(name).map_err(|error| bad_path(name.as_bytes(), &error))?;
        match kind {
            Kind::File => one(&path, args, session),
            Kind::Dir => below(&path, bounds, args, session),
            Kind::Link | Kind::Other => Ok(()),
        }
    })
}

fn one(path: &RemotePath, args: &Hash, session: &mut Session) -> Result<(), Failure> {
    let ui = session.ui;
    let client = session.client()?;
    let hashed = progress::watch(&ui, &path.to_string(), |progress| {
        client.hash(path, args.digest.algorithm, progress)
    });
    let hashed = hashed.map_err(|error| Failure::client(format!("cannot hash `{path}`"), error))?;
    let line = if io::stdout().is_terminal() {
        format!("{}  {}\n", hashed.digest.hex(), escape(path.as_bytes())).into_bytes()
    } else {
        checksum_line(&hashed.digest, path.as_bytes())
    };
    io::stdout().lock().write_all(&line).map_err(|error| Failure::output(&error))
}

/// A line as md5sum(1) writes it: a backslash in front tells that the name has backslashes, line feeds and carriage
/// returns escaped. All other bytes are the name's own.
fn checksum_line(digest: &Digest, name: &[u8]) -> Vec<u8> {
    // b3sum knows of no escape for it.
    let escape_cr = digest.algorithm() != Algorithm::Blake3;
    let mut escaped = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'\\' => escaped.extend(b"\\\\"),
            b'\n' => escaped.extend(b"\\n"),
            b'\r' if escape_cr => escaped.extend(b"\\r"),
            byte => escaped.push(*byte),
        }
    }
    let mark = if escaped.len() == name.len() { "" } else { "\\" };
    let mut line = format!("{mark}{}  ", digest.hex()).into_bytes();
    line.extend(escaped);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_only_where_md5sum_escapes_them() {
        let digest = Algorithm::Md5.digest(b"");
        let line = |name: &[u8]| String::from_utf8_lossy(&checksum_line(&digest, name)).into_owned();
        assert_eq!(line(b"a b"), "d41d8cd98f00b204e9800998ecf8427e  a b\n");
        assert_eq!(line(b"a\nb\\"), "\\d41d8cd98f00b204e9800998ecf8427e  a\\nb\\\\\n");
        assert!(checksum_line(&digest, b"\xff").contains(&0xff));
    }
}
