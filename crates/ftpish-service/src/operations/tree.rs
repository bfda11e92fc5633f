//! `tree`: what is in a directory and below it, in walk order, as much at a time as the client asks for; with the digests
//! of small files, where it asks for those.

use std::io;
use std::time::{Duration, Instant};

use ftpish_protocol::message::{Kind, MAX_LISTED_DIGEST, Node, Tree};
use ftpish_protocol::{Algorithm, Digest, Meter, Refusal, RemotePath};
use ftpish_storage::{Last, Links, Root, Walk};

use super::Operation;
use crate::{Caller, Right};

impl Operation for Tree {
    /// A digest tells of the content.
    fn accesses(&self) -> Vec<(Right, &RemotePath)> {
        [(Right::List, &self.path)].into_iter().chain(self.hash.map(|_| (Right::Read, &self.path))).collect()
    }

    fn paths(&mut self) -> Vec<(&mut RemotePath, Last)> {
        vec![(&mut self.path, Last::Followed)]
    }

    fn is_recursive(&self) -> bool {
        true
    }
}

/// For how long files are digested in one listing. While a listing is sent, its client cannot be told that work goes on. The
/// digests that are missing by then, it can ask for by `hash`.
const DIGESTING: Duration = Duration::from_secs(5);

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

    fn walk(&mut self, args: &Tree, root: &Root) -> Result<Walk, Refusal> {
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

/// As many nodes as a request asks for. When they have been sent, [`keep`](Listing::keep) the place.
pub struct Listing<'a> {
    args: &'a Tree,
    walk: Walk,
    digesting: Option<Digesting<'a>>,
    left: u64,
    /// The last node. None at the end of the walk.
    last: Option<RemotePath>,
}

/// Lists a tree, from where `cursor` is if that is what the request asks for. Nodes are digested as they are listed, which
/// costs a processor: a front with a class of work for that waits for its turn first.
pub fn list<'a>(caller: &'a Caller, args: &'a Tree, cursor: &mut Cursor) -> Result<Listing<'a>, Refusal> {
    let root = caller.root();
    let walk = cursor.walk(args, root)?;
    let digesting =
        args.hash.map(|algorithm| Digesting { algorithm, root, top: &args.path, left: DIGESTING });
    Ok(Listing { args, walk, digesting, left: args.limit, last: None })
}

impl Iterator for Listing<'_> {
    type Item = io::Result<Node>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut node = self.walk.next();
        self.last = node.as_ref().map(|node| node.path.clone());
        if let (Some(digesting), Some(node)) = (&mut self.digesting, &mut node) {
            node.digest = digesting.digest(node);
        }
        node.map(Ok)
    }
}

impl Listing<'_> {
    /// Keeps the place where the listing ended, if there may be more.
    pub fn keep(self, cursor: &mut Cursor) {
        let Self { args, walk, last: Some(last), .. } = self else { return };
        let Tree { path, follow, same, one_file_system, .. } = args.clone();
        *cursor.place(args) = Some(Box::new(Place { path, follow, same, one_file_system, last, walk }));
    }
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
