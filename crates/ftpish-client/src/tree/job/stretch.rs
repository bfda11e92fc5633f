//! What is compared by digest. Only files that have the same size on both sides are read, so the server is asked for
//! digests when its tree was listed: for a large file by itself, and for small ones together, in a listing of the stretch of
//! the tree that they are in. The server reads a stretch while the one before is read here.

use std::collections::HashMap;

use ftpish_protocol::message::MAX_LISTED_DIGEST;
use ftpish_protocol::{Digest, RemotePath};

use super::{Numbered, Outcome, Tag, TreeJob};
use crate::client::LISTING_DIGEST;
use crate::transfer::{Answer, Lane};
use crate::tree::{LinkPolicy, Listed, Step};
use crate::{Error, Way};

/// How many nodes a stretch has at the most.
const MOST_NODES: u64 = 256;

/// How many bytes its files have that are compared. As long as it takes to read them here, nothing is received.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// How many bytes other files in it may have, which the server reads in vain.
const MOST_IN_VAIN: u64 = 64 * 1024;

/// How many nodes are asked for at a time; the files among them are held meanwhile.
pub(super) const MOST_ASKED: u64 = 16_384;

/// Files that lie near each other in the server's tree.
pub(super) struct Stretch {
    /// Where it begins.
    begin: End,
    /// How many nodes of the whole tree there are up to the last of its files.
    nodes: u64,
    /// How many bytes its files have.
    bytes: u64,
    files: Vec<Numbered>,
}

/// Where a stretch ends: its last node, and all up to that.
pub(super) struct End {
    path: RemotePath,
    nodes: u64,
    bytes: u64,
}

impl Stretch {
    /// One without files. Where another has ended shortly before, it begins there: the server goes on with its walk.
    fn begin(place: &Listed, before: Option<End>) -> Self {
        let near = |end: &End| {
            let (nodes, bytes) = (place.nodes.checked_sub(end.nodes), place.bytes.checked_sub(end.bytes));
            nodes.is_some_and(|nodes| nodes < MOST_NODES / 4)
                && bytes.is_some_and(|bytes| bytes < MOST_IN_VAIN)
        };
        let here = || End { path: place.after.clone(), nodes: place.nodes, bytes: place.bytes };
        let begin = before.filter(near).unwrap_or_else(here);
        Self { nodes: begin.nodes, begin, bytes: 0, files: Vec::new() }
    }

    /// Whether a file can be asked for together with these.
    fn admits(&self, place: &Listed, size: u64) -> bool {
        let in_vain = place.bytes.checked_sub(self.begin.bytes + self.bytes);
        place.nodes >= self.nodes
            && place.nodes - self.begin.nodes < MOST_NODES
            && self.bytes + size <= MOST_BYTES
            && in_vain.is_some_and(|bytes| bytes <= MOST_IN_VAIN)
    }

    fn add(&mut self, file: Numbered, place: &Listed, size: u64) {
        self.nodes = place.nodes + 1;
        self.bytes += size;
        self.files.push(file);
    }

    pub(super) fn into_files(self) -> Vec<Numbered> {
        self.files
    }
}

impl TreeJob {
    /// Has the server digest a file, by itself or soon.
    pub(super) fn ask_digest(&mut self, (number, step): Numbered, pipe: &mut Lane<'_>) -> Result<(), Error> {
        let Step::Compare { path, size, listed, .. } = &step else { return Ok(()) };
        let size = *size;
        let Some(place) = listed.clone().filter(|_| size <= MAX_LISTED_DIGEST && !self.one_by_one) else {
            let path = self.remote(path)?;
            self.asked += 1;
            let number = self.note(Tag::Step((number, step)));
            pipe.hash(number, path, self.tree.digest);
            return Ok(());
        };
        if self.stretch.as_ref().is_some_and(|stretch| !stretch.admits(&place, size)) {
            self.ask_stretch(pipe);
        }
        let end = &mut self.stretch_end;
        let stretch = self.stretch.get_or_insert_with(|| Stretch::begin(&place, end.take()));
        stretch.add((number, step), &place, size);
        Ok(())
    }

    /// Asks for the digests of the files that have come together.
    pub(super) fn ask_stretch(&mut self, pipe: &mut Lane<'_>) {
        let Some(Stretch { begin, nodes, mut files, .. }) = self.stretch.take() else { return };
        if let [(_, Step::Compare { listed, .. })] = &mut files[..] {
            *listed = None;
            return self.todo.extend(files);
        }
        if let Some((_, Step::Compare { path, size, listed: Some(place), .. })) = files.last() {
            self.stretch_end = Some(End { path: path.clone(), nodes, bytes: place.bytes + size });
        }
        self.asked += nodes - begin.nodes;
        let tree = ftpish_protocol::message::Tree {
            path: self.tree.remote.clone(),
            digest: LISTING_DIGEST,
            after: Some(begin.path),
            limit: nodes - begin.nodes,
            follow: self.tree.links == LinkPolicy::Follow && self.tree.way == Way::Get,
            same: false,
            one_file_system: self.tree.one_file_system,
            hash: Some(self.tree.digest),
        };
        let number = self.note(Tag::Stretch { files, nodes: tree.limit });
        pipe.tree(number, tree);
        // The server reads while the rest is walked through here.
        pipe.flush();
    }

    /// Compares files with the digests that came. Those whose did not are asked for one by one: the server is too old, or
    /// has its reasons, and tells them then.
    pub(super) fn take_stretch(
        &mut self,
        files: Vec<Numbered>,
        answer: Result<Answer, Error>,
        report: &mut dyn FnMut(&Step, Outcome),
    ) -> Result<(), Error> {
        let nodes = match answer {
            Ok(Answer::Nodes(nodes)) => nodes,
            Ok(_) | Err(Error::Refused(_)) => Vec::new(),
            Err(error) => {
                files.into_iter().for_each(|file| self.redo(file));
                return Err(error);
            }
        };
        let digest = self.tree.digest;
        let digests: HashMap<RemotePath, Digest> = nodes
            .into_iter()
            .filter_map(|node| Some((node.path, node.digest.filter(|it| it.algorithm() == digest)?)))
            .collect();
        self.one_by_one |= digests.is_empty();
        for (number, mut step) in files {
            let compared = digests.get(step.path()).map(|there| self.compare(&step, there));
            match (compared, &mut step) {
                (Some(Ok(())), _) => {}
                (Some(Err(error)), step) => report(step, Err(error)),
                (None, Step::Compare { listed, .. }) => {
                    *listed = None;
                    self.todo.insert(number, step);
                }
                (None, _) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(nodes: u64, bytes: u64) -> Listed {
        Listed { after: "a".parse().unwrap(), nodes, bytes }
    }

    #[test]
    fn a_stretch_has_so_many_nodes_and_bytes_at_the_most_and_few_that_are_read_in_vain() {
        let mut stretch = Stretch::begin(&place(10, 1000), None);
        stretch.add((0, Step::Remove(RemotePath::root())), &place(10, 1000), 500);
        for (nodes, bytes, size, admitted) in [
            (11, 1500, 1, true),
            (9 + MOST_NODES, 1500, 1, true),
            (10 + MOST_NODES, 1500, 1, false),
            (11, 1500, MOST_BYTES - 500, true),
            (11, 1500, MOST_BYTES - 499, false),
            (11, 1500 + MOST_IN_VAIN, 1, true),
            (11, 1501 + MOST_IN_VAIN, 1, false),
            // What is done again comes from further up.
            (10, 1000, 1, false),
            (3, 300, 1, false),
        ] {
            assert_eq!(stretch.admits(&place(nodes, bytes), size), admitted, "{nodes} {bytes} {size}");
        }
    }

    #[test]
    fn a_stretch_begins_where_the_one_before_has_ended_if_that_is_near() {
        let end = |nodes, bytes| Some(End { path: "end".parse().unwrap(), nodes, bytes });
        for (before, path, nodes) in [
            (end(8, 900), "end", 8),
            (end(10, 1000), "end", 10),
            (end(11, 1000), "a", 10),
            (end(9, 1001), "a", 10),
            (None, "a", 10),
        ] {
            let Stretch { begin, .. } = Stretch::begin(&place(10, 1000), before);
            assert_eq!((begin.path.to_string().as_str(), begin.nodes), (path, nodes));
        }
        let far = Stretch::begin(&place(10, MOST_IN_VAIN), end(9, 0));
        assert_eq!(far.begin.path.to_string(), "a");
    }
}
