//! A tree on its way: the plan's steps, done over a connection without waiting for one before the next.

mod keep;
mod last;
mod pages;
mod settle;
mod start;
mod stretch;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::iter::successors;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::{Links, Root, Walk};

use self::pages::FIRST_PAGE;
use self::stretch::{End, MOST_ASKED, Stretch};
use super::plan::{Next, Plan, Side};
use super::{LinkPolicy, Outcome, Step, Tree};
use crate::transfer::Transfer;
use crate::transfer::local;
use crate::{Client, Error, Progress, Way};

/// How many files wait for other names, and how many directories for their times and permission bits, which are set when
/// nothing more comes into them.
const MOST_LATE: usize = 4096;

/// How many files wait at the most until their directories are there.
const MOST_HELD: usize = 4096;

/// A step, and its place among all of them: one that is done again comes before those that build on it.
type Numbered = (u64, Step);

/// What a request is for.
enum Tag {
    Step(Numbered),
    /// Files that are compared, and the digests of the server's.
    Stretch {
        files: Vec<Numbered>,
        nodes: u64,
    },
    Page,
}

/// A tree that is moved, and how far that is.
pub struct TreeJob {
    tree: Tree,
    plan: Plan,
    walk: Option<Walk>,
    here: Option<Root>,
    /// Steps that have to be done before the plan goes on: again, or because of what others came to.
    todo: BTreeMap<u64, Step>,
    /// How many numbers were given: to steps, and to what else was asked for.
    numbers: u64,
    /// What is in flight, by its number.
    in_flight: HashMap<u64, Tag>,
    /// Files that the connection broke under: they may be where they were to go.
    lost: HashSet<RemotePath>,
    /// Other names of files, and what is set of files: when these are in their places.
    late: Vec<Step>,
    /// Whether other names were asked for: what cannot be linked moves, and that into directories.
    linking: bool,
    /// Names here that have yet to be made durable: of what is kept in place of being removed.
    kept: Vec<RemotePath>,
    /// What could not be kept where it belongs, and how often that was tried.
    beside: HashMap<RemotePath, u32>,
    /// Whether it is known what has become of all that moves before something is removed.
    removing: bool,
    /// Whether what is late is done before the plan goes on.
    clearing: bool,
    /// Time and permission bits of directories, which come last.
    sets: Vec<Step>,
    /// The directories of files that differ from those that they were compared with.
    changed: HashSet<RemotePath>,
    /// What is sent over this connection and changes where files go: others must not send them before it is done.
    ahead: HashSet<RemotePath>,
    /// Files that wait for that.
    held: BTreeMap<u64, Step>,
    /// Files to be compared, until there are enough of them to be asked for together.
    stretch: Option<Stretch>,
    /// Where the one before ended.
    stretch_end: Option<End>,
    /// How many nodes and digests were asked for that were not yet told, but for a page.
    asked: u64,
    /// Whether all files are asked for one by one: the server knows nothing of digests in listings, or refuses them.
    one_by_one: bool,
    /// The size of the next page.
    page: u64,
    /// How many bytes have moved.
    moved: u64,
    /// How many files were compared by digest, and are as they are to be.
    unchanged: u64,
}

impl TreeJob {
    /// A job of which nothing is done.
    pub fn new(tree: Tree) -> Self {
        let page = FIRST_PAGE[usize::from(tree.compare.is_some())];
        Self {
            plan: Plan::new(tree.clone()),
            tree,
            walk: None,
            here: None,
            todo: BTreeMap::new(),
            numbers: 0,
            in_flight: HashMap::new(),
            lost: HashSet::new(),
            late: Vec::new(),
            linking: false,
            removing: false,
            clearing: false,
            kept: Vec::new(),
            beside: HashMap::new(),
            sets: Vec::new(),
            changed: HashSet::new(),
            ahead: HashSet::new(),
            held: BTreeMap::new(),
            stretch: None,
            stretch_end: None,
            asked: 0,
            one_by_one: false,
            page,
            moved: 0,
            unchanged: 0,
        }
    }

    /// How many files and links were as they were to be, so that nothing was done.
    pub fn unchanged(&self) -> u64 {
        self.plan.unchanged() + self.unchanged
    }

    /// Does what there is to do, and reports each step. Where one fails, the others are done. An error is one that ends
    /// the whole: of the connection, and then another run goes on over another one; or of the top of a tree.
    /// [`not-directory`](Code::NotDirectory) is a source, or a destination, that is a single file.
    pub fn run(
        &mut self,
        client: &mut Client,
        progress: &Progress,
        report: &mut dyn FnMut(&Step, Outcome),
    ) -> Result<(), Error> {
        self.begin()?;
        progress.begin_tree();
        let mut transfer = Transfer::new(client, self.tree.way, progress, self.moved);
        // Where there is no room for one, there is none for those behind it: that is told once, and ends the whole.
        let full = RefCell::new(None);
        let report: &mut dyn FnMut(&Step, Outcome) = &mut |step, outcome| match outcome {
            Err(error) if error.code() == Some(Code::NoSpace) => {
                full.borrow_mut().get_or_insert(error);
            }
            outcome => report(step, outcome),
        };
        let ran = self.drive(&mut transfer, &|| full.borrow().is_some(), progress, report);
        // What is here is worth keeping, whatever has ended the rest.
        transfer.end();
        let settled = self.settle(&mut transfer, progress, report);
        self.moved = transfer.first.kept();
        self.ahead.clear();
        self.todo.append(&mut self.held);
        self.todo.extend(self.stretch.take().map_or_else(Vec::new, Stretch::into_files));
        full.into_inner().map_or_else(|| ran.and(settled.map(drop)), Err)
    }

    /// Opens what is on this side.
    fn begin(&mut self) -> Result<(), Error> {
        if self.here.is_some() {
            return Ok(());
        }
        let root = match Root::open(&self.tree.local, self.tree.sync) {
            Ok(root) => root.minding_spellings(),
            Err(error) if self.tree.way == Way::Get && error.kind() == std::io::ErrorKind::NotFound => {
                self.plan.end(Side::Target);
                return Ok(());
            }
            Err(error) => return Err(Error::local(&self.tree.local, error)),
        };
        if self.plan.waiting(self.local_side()).is_some() {
            let links = match self.tree.links {
                // They are the user's own, wherever they lead.
                LinkPolicy::Follow if self.tree.way == Way::Put => Links::FollowAnywhere,
                _ => Links::Tell,
            };
            let walk = root.walk(&RemotePath::root(), links, None);
            let walk = walk.map_err(|refusal| local(&self.tree.local, refusal))?;
            let walk = if self.tree.hard_links { walk.telling_same() } else { walk };
            self.walk = Some(if self.tree.one_file_system { walk.on_one_mount() } else { walk });
        }
        self.here = Some(root);
        Ok(())
    }

    fn local_side(&self) -> Side {
        match self.tree.way {
            Way::Get => Side::Target,
            Way::Put => Side::Source,
        }
    }

    fn remote_side(&self) -> Side {
        match self.tree.way {
            Way::Get => Side::Source,
            Way::Put => Side::Target,
        }
    }

    fn drive(
        &mut self,
        transfer: &mut Transfer<'_>,
        is_over: &dyn Fn() -> bool,
        progress: &Progress,
        report: &mut dyn FnMut(&Step, Outcome),
    ) -> Result<(), Error> {
        let mut page_asked = false;
        loop {
            page_asked &= !self.settle(transfer, progress, report)?;
            transfer.check()?;
            if is_over() {
                return Ok(());
            }
            let too_many = self.held.len() >= MOST_HELD || self.asked >= MOST_ASKED;
            if transfer.is_full() || too_many {
                transfer.advance();
                continue;
            }
            if !page_asked && self.wants_page() {
                self.ask_page(&mut transfer.first);
                page_asked = true;
            }
            if let Some((number, step)) = self.todo.pop_first() {
                if Self::is_last(&step) && transfer.has_files() {
                    self.todo.insert(number, step);
                    transfer.finish_files();
                } else if Self::is_last(&step) && !self.removing {
                    // What has become of all that moved may end the run.
                    self.todo.insert(number, step);
                    transfer.first.drain();
                    self.removing = true;
                } else {
                    self.start((number, step), transfer, report)?;
                }
                continue;
            }
            self.clearing |= self.is_late();
            let next = if self.clearing { Next::End } else { self.plan.next() };
            if self.plan.is_finished() {
                progress.set_total(self.plan.bytes());
            }
            match next {
                Next::Step(step) => self.add(step),
                Next::Starved(side) if side == self.local_side() => self.walk_on()?,
                Next::Starved(_) | Next::End if self.stretch.is_some() => {
                    self.ask_stretch(&mut transfer.first);
                }
                Next::Starved(_) => transfer.first.receive(),
                // What has come is compared while more comes.
                Next::End if self.asked > 0 || !self.held.is_empty() => transfer.first.receive(),
                Next::End if transfer.has_files() => transfer.finish_files(),
                Next::End if self.is_in_order() && self.go_on_late(&mut transfer.first, report) => {}
                Next::End if !transfer.first.is_empty() => {
                    transfer.first.drain();
                    self.linking = false;
                }
                Next::End if self.go_on_late(&mut transfer.first, report) => {}
                Next::End if self.clearing => self.clearing = false,
                Next::End => return self.sync_kept(),
            }
        }
    }

    /// Has a step done that was not there before.
    fn add(&mut self, step: Step) {
        let number = self.next_number();
        self.todo.insert(number, step);
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers - 1
    }

    /// Notes what is about to be in flight, and gives the number that its answer comes by.
    fn note(&mut self, tag: Tag) -> u64 {
        let number = match &tag {
            Tag::Step((number, _)) => *number,
            Tag::Stretch { .. } | Tag::Page => self.next_number(),
        };
        self.in_flight.insert(number, tag);
        number
    }

    /// Has a step done again, over another connection: its file may be there by then.
    fn redo(&mut self, (number, step): Numbered) {
        self.lost.insert(step.path().clone());
        self.todo.insert(number, step);
    }

    /// Whether a step comes behind all that was begun before it, on whatever connection.
    fn is_last(step: &Step) -> bool {
        matches!(step, Step::Remove(_) | Step::BackUp { .. })
    }

    /// Whether a file goes where something is about to change, by a request that is on its way.
    fn is_behind(&self, path: &RemotePath) -> bool {
        let parents = successors(Some(path.clone()), RemotePath::parent);
        !self.ahead.is_empty() && parents.into_iter().any(|path| self.ahead.contains(&path))
    }

    /// A request that others waited for is answered: those files can go now that no other is in front of.
    fn pass(&mut self, path: &RemotePath) {
        if self.ahead.remove(path) {
            let held = std::mem::take(&mut self.held);
            let (held, free) = held.into_iter().partition(|(_, step)| self.is_behind(step.path()));
            self.held = held;
            self.todo.extend::<BTreeMap<_, _>>(free);
        }
    }

    fn here(&self, path: &RemotePath) -> Result<Root, Error> {
        let missing = || local(&self.local(path), Refusal::new(Code::NotFound, "no such directory"));
        self.here.clone().ok_or_else(missing)
    }

    fn local(&self, path: &RemotePath) -> PathBuf {
        if path.is_root() {
            return self.tree.local.clone();
        }
        self.tree.local.join(Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())))
    }

    fn remote(&self, path: &RemotePath) -> Result<RemotePath, Error> {
        let whole = self.tree.remote.resolve(path.as_bytes());
        whole.map_err(|error| Error::Refused(Refusal::new(Code::BadPath, error.to_string())))
    }
}
