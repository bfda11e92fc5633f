//! `tree`: what is in a directory and below it, in walk order, as much at a time as the client asks for; with the digests
//! of small files, where it asks for those.

use std::time::{Duration, Instant};

use ftpish_protocol::message::{Done, Kind, MAX_LISTED_DIGEST, Node, Tree};
use ftpish_protocol::{Algorithm, Digest, Meter, RemotePath};
use ftpish_storage::{Links, Root, Walk};

use crate::exchange::{Exchange, Failure};

/// For how long files are digested in one listing. What is listed cannot be told that work goes on, so no client waits
/// longer for it than for a word of that elsewhere; what has no digest by then, it can ask for by `hash`.
const DIGESTING: Duration = crate::limits::WORKING_EVERY;

/// Where the last listings ended, if there may be more: whoever asks for that goes on there, and no directory is read
/// anew. There are two, for a client lists a tree, and has what it listed digested meanwhile.
#[derive(Debug, Default)]
pub struct Cursor {
    plain: Option<Box<Place>>,
    digesting: Option<Box<Place>>,
}

#[derive(Debug)]
struct Place {
    path: RemotePath,
    follow: bool,
    same: bool,
    one_file_system: bool,
    last: RemotePath,
    walk: Walk,
}

impl Cursor {
    fn place(&mut self, args: &Tree) -> &mut Option<Box<Place>> {
        if args.hash.is_some() { &mut self.digesting } else { &mut self.plain }
    }

    fn walk(&mut self, args: &Tree, root: &Root) -> Result<Walk, Failure> {
        match self.place(args).take() {
            Some(place)
                if place.path == args.path
                    && (place.follow, place.same, place.one_file_system)
                        == (args.follow, args.same, args.one_file_system)
                    && args.after.as_ref() == Some(&place.last) =>
            {
                Ok(place.walk)
            }
            _ => {
                let links = if args.follow { Links::Follow } else { Links::Tell };
                let walk = root.walk(&args.path, links, args.after.as_ref())?;
                let walk = if args.same { walk.telling_same() } else { walk };
                Ok(if args.one_file_system { walk.on_one_mount() } else { walk })
            }
        }
    }
}

/// What digests the files of a listing.
struct Digesting<'a> {
    algorithm: Algorithm,
    root: &'a Root,
    top: &'a RemotePath,
    /// For how long it may go on.
    left: Duration,
}

impl Digesting<'_> {
    /// The digest of what a node tells of. None where it is not wanted, takes too long, or is not to be had: why not,
    /// `hash` says.
    fn digest(&mut self, node: &Node) -> Option<Digest> {
        if node.kind != Kind::File || node.size > MAX_LISTED_DIGEST || self.left.is_zero() {
            return None;
        }
        let began = Instant::now();
        let digest = self.read(node);
        self.left = self.left.saturating_sub(began.elapsed());
        digest
    }

    fn read(&self, node: &Node) -> Option<Digest> {
        let file = self.root.open_file(&self.top.resolve(node.path.as_bytes()).ok()?).ok()?;
        // By now, it may be another.
        let is_told = (file.size(), file.mtime()) == (node.size, node.mtime);
        is_told.then(|| self.algorithm.digest_of(&mut file.reader(), &Meter::default()).ok())?
    }
}

pub async fn run(
    args: &Tree,
    root: &Root,
    cursor: &mut Cursor,
    exchange: &mut Exchange<'_>,
) -> Result<(), Failure> {
    let mut walk = cursor.walk(args, root)?;
    let digesting = |algorithm| Digesting { algorithm, root, top: &args.path, left: DIGESTING };
    let mut digesting = args.hash.map(digesting);
    if digesting.is_some() {
        exchange.begin_digest().await;
        exchange.send_short_blocks();
    }
    let (mut left, mut last) = (args.limit, None);
    let nodes = std::iter::from_fn(|| {
        left = left.checked_sub(1)?;
        let mut node = walk.next();
        last = node.as_ref().map(|node| node.path.clone());
        if let (Some(digesting), Some(node)) = (&mut digesting, &mut node) {
            node.digest = digesting.digest(node);
        }
        node.map(Ok)
    });
    exchange.grant_with_listing(&Done {}, nodes, args.digest).await?;
    // The walk ended where there was no last one.
    if let Some(last) = last {
        let Tree { path, follow, same, one_file_system, .. } = args.clone();
        *cursor.place(args) = Some(Box::new(Place { path, follow, same, one_file_system, last, walk }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_digested_as_long_as_there_is_time_and_as_they_were_told() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("f"), "content").unwrap();
        let (root, top, algorithm) =
            (Root::open(scratch.path(), false).unwrap(), RemotePath::root(), Algorithm::Md5);
        let node = root.walk(&top, Links::Tell, None).unwrap().nth(1).unwrap();
        let digest = |left, node: &Node| Digesting { algorithm, root: &root, top: &top, left }.digest(node);
        assert_eq!(digest(DIGESTING, &node), Some(algorithm.digest(b"content")));
        assert_eq!(digest(Duration::ZERO, &node), None);
        assert_eq!(digest(DIGESTING, &Node { size: 8, ..node.clone() }), None);
        assert_eq!(digest(DIGESTING, &Node { kind: Kind::Other, ..node }), None);
        let mut digesting = Digesting { algorithm, root: &root, top: &top, left: Duration::from_nanos(1) };
        let node = root.walk(&top, Links::Tell, None).unwrap().nth(1).unwrap();
        assert!(digesting.digest(&node).is_some() && digesting.digest(&node).is_none());
    }
}
