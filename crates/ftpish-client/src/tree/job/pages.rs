//! The two walks: the server's tree comes by the page, and the local one is walked along with it.

use ftpish_protocol::message::{Kind, Node};
use ftpish_protocol::{Code, Refusal};

use super::{Tag, TreeJob};
use crate::Error;
use crate::client::LISTING_DIGEST;
use crate::transfer::local;
use crate::transfer::{Answer, Lane};
use crate::tree::{LinkPolicy, Way};

/// How many nodes of the server's tree are asked for first: a few, so that files soon move, or many, where most of them
/// will not.
pub(super) const FIRST_PAGE: [u64; 2] = [1024, LARGEST_PAGE];

/// How many are asked for later on: each time more, so that long walks cost few round trips.
const LARGEST_PAGE: u64 = 16_384;

/// How many nodes are taken from the local walk at a time.
const LOCAL_PAGE: usize = 256;

impl TreeJob {
    /// Whether more of the server's tree is wanted, and soon.
    pub(super) fn wants_page(&self) -> bool {
        let waiting = self.plan.waiting(self.remote_side());
        waiting.is_some_and(|waiting| (waiting as u64) < self.page / 2)
    }

    pub(super) fn ask_page(&mut self, pipe: &mut Lane<'_>) {
        let after = self.plan.last(self.remote_side()).cloned();
        if after.is_some() {
            self.page = (self.page * 4).min(LARGEST_PAGE);
        }
        let tree = ftpish_protocol::message::Tree {
            path: self.tree.remote.clone(),
            digest: LISTING_DIGEST,
            after,
            limit: self.page,
            follow: self.tree.links == LinkPolicy::Follow && self.tree.way == Way::Get,
            same: self.tree.hard_links,
            one_file_system: self.tree.one_file_system,
            hash: None,
        };
        let number = self.note(Tag::Page);
        pipe.tree(number, tree);
    }

    pub(super) fn take_page(&mut self, answer: Answer) -> Result<(), Error> {
        let Answer::Nodes(nodes) = answer else { return Ok(()) };
        let (side, count) = (self.remote_side(), nodes.len() as u64);
        if self.plan.last(side).is_none() {
            check_top(&nodes)?;
        }
        let fed = self.plan.feed(side, nodes);
        fed.map_err(|fault| Error::Protocol(format!("a listing of a tree is wrong: {fault}")))?;
        if count < self.page {
            self.plan.end(side);
        }
        Ok(())
    }

    /// Takes more of the local tree.
    pub(super) fn walk_on(&mut self) -> Result<(), Error> {
        let side = self.local_side();
        let nodes: Vec<Node> = self.walk.iter_mut().flatten().take(LOCAL_PAGE).collect();
        check_top(&nodes).map_err(|error| match error {
            Error::Refused(refusal) => local(&self.tree.local, refusal),
            error => error,
        })?;
        if nodes.len() < LOCAL_PAGE {
            self.plan.end(side);
        }
        self.plan.feed(side, nodes).map_err(|fault| {
            local(&self.tree.local, Refusal::new(Code::Internal, format!("a walk is wrong: {fault}")))
        })
    }
}

/// A tree begins with a directory.
fn check_top(nodes: &[Node]) -> Result<(), Error> {
    match nodes.first() {
        Some(top) if top.path.is_root() && top.kind != Kind::Dir => {
            Err(Error::Refused(Refusal::new(Code::NotDirectory, "it is not a directory")))
        }
        _ => Ok(()),
    }
}
