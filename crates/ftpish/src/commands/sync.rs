//! `sync`: one tree becomes like another, and only what differs moves.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use ftpish_client::{Compare, Tree, Way};
use ftpish_protocol::RemotePath;
use ftpish_protocol::text::escape;

use super::tree::{self, Order};
use crate::cli::{Overwrite, Sync};
use crate::failure::Failure;
use crate::location::Location;
use crate::manifest::Manifest;
use crate::session::Session;

/// One of the two trees.
enum Place {
    Here(PathBuf),
    There(RemotePath),
}

impl Place {
    /// A URL, or a path with a colon in front, is on the server.
    fn parse(word: &OsString, session: &mut Session) -> Result<Self, Failure> {
        let bad = |error| Failure::usage(format!("`{}`: {error}", escape(word.as_bytes())));
        let location = match word.as_bytes().strip_prefix(b":") {
            Some([]) => Location::Path(".".into()),
            Some(path) => Location::Path(OsString::from_vec(path.to_vec())),
            None => match Location::parse(word.clone()).map_err(bad)? {
                Location::Path(path) => return Ok(Self::Here(path.into())),
                url => url,
            },
        };
        session.resolve(&location).map(Self::There)
    }
}

/// The path of a directory in the destination.
fn backup_dir(word: &OsString) -> Result<RemotePath, Failure> {
    let place = escape(word.as_bytes());
    let parsed = RemotePath::root().resolve(word.as_bytes());
    let path =
        parsed.map_err(|error| Failure::usage(format!("cannot keep backups in `{place}`: {error}")))?;
    if path.is_root() || word.as_bytes().starts_with(b"/") {
        return Err(Failure::usage(format!(
            "cannot keep backups in `{place}`: it is not in the destination"
        ))
        .hint("name a directory of its own, relative to the destination: `--backup-dir .backup`"));
    }
    Ok(path)
}

pub fn run(args: &Sync, session: &mut Session) -> Result<(), Failure> {
    let (way, remote, local) = match (Place::parse(&args.from, session)?, Place::parse(&args.to, session)?) {
        (Place::There(remote), Place::Here(local)) => (Way::Get, remote, local),
        (Place::Here(local), Place::There(remote)) => (Way::Put, remote, local),
        _ => {
            return Err(Failure::usage("one of the two directories is local, and the other on the server")
                .hint("write what is on the server with a colon in front, `:photos`, or as a URL"));
        }
    };
    let compare = if args.checksum { Compare::Digest } else { Compare::Time };
    let tree = Tree {
        compare: Some(compare),
        delete: (args.delete || args.delete_before).then_some(args.max_delete),
        backup: args.backup_dir.as_ref().map(backup_dir).transpose()?,
        sync: !args.no_sync,
        ..tree::tree(way, remote.clone(), local, args.digest.algorithm, &args.tree)?
    };
    let order = if args.delete_before { Order::RemovalsFirst } else { Order::RemovalsLast };
    let done = tree::run(tree, order, &args.tree, Overwrite::Always, &mut Manifest::create(None)?, session)?;
    done.map_err(|error| {
        let one = if way == Way::Get { "get" } else { "put" };
        Failure::client(format!("cannot sync `{remote}`"), error)
            .hint(format!("sync is for directories; `{one}` moves one file"))
    })
}
