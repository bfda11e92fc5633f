//! A tree on its way: the plan's steps, done over a connection without waiting for one before the next.

mod last;
mod stretch;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::iter::successors;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ftpish_protocol::message::{Command, Kind, Mkdir, Node, Rm, Set, Symlink, Unset};
use ftpish_protocol::{Algorithm, Code, PathError, Refusal, RemotePath};
use ftpish_storage::{Backup, Links, Permissions, Root, SourceFile, Walk, descriptors};

use self::stretch::{End, MOST_ASKED, MOST_BESIDE_BODIES, Stretch};
use super::plan::{Next, Plan, Side};
use super::{Done, LinkPolicy, Outcome, Step, Tree, Way};
use crate::client::LISTING_DIGEST;
use crate::crew::Crew;
use crate::download::local;
use crate::pipeline::{Answer, Moving, Pipeline};
use crate::split::SPLIT_FROM;
use crate::{Ahead, Client, Download, Error, Progress, Upload, digest_of};

/// How many nodes of the server's tree are asked for first: a few, so that files soon move, or many, where most of them
/// will not.
const FIRST_PAGE: [u64; 2] = [1024, LARGEST_PAGE];

/// How many are asked for later on: each time more, so that long walks cost few round trips.
const LARGEST_PAGE: u64 = 16_384;

/// How many nodes are taken from the local walk at a time.
const LOCAL_PAGE: usize = 256;

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

/// How many places beside its own are tried for what is to be kept.
const MOST_BESIDE: u32 = 9;

/// A tree that is moved, and how far that is.
pub struct TreeJob {
    tree: Tree,
    plan: Plan,
    walk: Option<Walk>,
    here: Option<Root>,
    /// Steps that have to be done before the plan goes on: again, or because of what others came to.
    todo: BTreeMap<u64, Step>,
    /// How many steps there were.
    steps: u64,
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
    /// Files that move over all connections, one by one, when the others have moved.
    large: BTreeMap<u64, Step>,
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
            steps: 0,
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
            large: BTreeMap::new(),
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
        let mut crew = Crew::new(client, progress);
        let mut pipe = Pipeline::new(client, progress, self.moved);
        // Where there is no room for one, there is none for those behind it: that is told once, and ends the whole.
        let full = RefCell::new(None);
        let report: &mut dyn FnMut(&Step, Outcome) = &mut |step, outcome| match outcome {
            Err(error) if error.code() == Some(Code::NoSpace) => {
                full.borrow_mut().get_or_insert(error);
            }
            outcome => report(step, outcome),
        };
        let ran = self.drive(&mut pipe, &mut crew, &|| full.borrow().is_some(), progress, report);
        // What is here is worth keeping, whatever has ended the rest.
        pipe.drain();
        crew.end(pipe.client);
        let settled = self.settle(&mut pipe, &mut crew, progress, report);
        self.moved = pipe.kept();
        self.ahead.clear();
        self.todo.append(&mut self.held);
        self.todo.append(&mut self.large);
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
        pipe: &mut Pipeline<'_, Tag>,
        crew: &mut Crew<Tag>,
        is_over: &dyn Fn() -> bool,
        progress: &Progress,
        report: &mut dyn FnMut(&Step, Outcome),
    ) -> Result<(), Error> {
        let mut page_asked = false;
        loop {
            page_asked &= !self.settle(pipe, crew, progress, report)?;
            pipe.client.check_interrupt()?;
            if is_over() {
                return Ok(());
            }
            let too_many = self.held.len() >= MOST_HELD || self.asked >= MOST_ASKED;
            if pipe.is_full() || crew.is_full(pipe) || too_many {
                pipe.receive();
                continue;
            }
            if !page_asked && self.wants_page() {
                self.ask_page(pipe);
                page_asked = true;
            }
            if let Some((number, step)) = self.todo.pop_first() {
                if Self::is_last(&step) && !crew.is_idle() {
                    self.todo.insert(number, step);
                    crew.wait();
                } else if Self::is_last(&step) && !self.removing {
                    // What has become of all that moved may end the run.
                    self.todo.insert(number, step);
                    pipe.drain();
                    self.removing = true;
                } else if self.is_awaiting_much(page_asked) && self.has_body(&step) {
                    self.todo.insert(number, step);
                    pipe.receive();
                } else if Self::is_last(&step) && !self.large.is_empty() {
                    self.todo.insert(number, step);
                    self.move_large(pipe, crew)?;
                } else {
                    self.start((number, step), pipe, crew, report)?;
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
                Next::Starved(_) | Next::End if self.stretch.is_some() => self.ask_stretch(pipe),
                Next::Starved(_) => pipe.receive(),
                // What has come is compared while more comes.
                Next::End if self.asked > 0 => pipe.receive(),
                Next::End if !self.held.is_empty() => pipe.receive(),
                Next::End if !crew.is_idle() => {
                    pipe.drain();
                    crew.wait();
                }
                Next::End if !self.large.is_empty() => self.move_large(pipe, crew)?,
                Next::End if self.is_in_order() && self.go_on_late(pipe, report) => {}
                Next::End if !pipe.is_empty() => {
                    pipe.drain();
                    self.linking = false;
                }
                Next::End if self.go_on_late(pipe, report) => {}
                Next::End if self.clearing => self.clearing = false,
                Next::End => return self.sync_kept(),
            }
        }
    }

    /// Has a step done that was not there before.
    fn add(&mut self, step: Step) {
        self.todo.insert(self.steps, step);
        self.steps += 1;
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

    /// Whether so much is still to be told that a server which is busy telling it might read no more.
    fn is_awaiting_much(&self, page_asked: bool) -> bool {
        self.asked + if page_asked { self.page } else { 0 } > MOST_BESIDE_BODIES
    }

    /// Whether the bytes of a step's file go out in front of all that is asked for behind it.
    fn has_body(&self, step: &Step) -> bool {
        self.tree.way == Way::Put && matches!(step, Step::Move { .. })
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

    /// Takes the answers that have come. Whether the nodes that were asked for are among them.
    fn settle(
        &mut self,
        pipe: &mut Pipeline<'_, Tag>,
        crew: &mut Crew<Tag>,
        progress: &Progress,
        report: &mut dyn FnMut(&Step, Outcome),
    ) -> Result<bool, Error> {
        let (mut ended, mut page) = (Ok(()), false);
        // Another connection that breaks ends nothing here.
        while let Some(((tag, answer), is_ours)) =
            pipe.answer().map(|answer| (answer, true)).or_else(|| Some((crew.answer()?, false)))
        {
            match &tag {
                Tag::Step((_, step)) => {
                    self.asked -= u64::from(matches!(step, Step::Compare { .. }));
                    self.pass(step.path());
                }
                Tag::Stretch { nodes, .. } => self.asked -= nodes,
                Tag::Page => {}
            }
            match (tag, answer) {
                (Tag::Page, Err(Error::Refused(refusal)))
                    if refusal.code == Code::NotFound && self.remote_side() == Side::Target =>
                {
                    page = true;
                    self.plan.end(Side::Target);
                }
                (Tag::Page, Ok(_)) if self.needs_link() && !pipe.client.knows("link")? => {
                    let line = "the server is too old for backups and hard links";
                    ended = Err(Error::Refused(Refusal::new(Code::Unsupported, line)));
                }
                (Tag::Page, answer) => {
                    page = true;
                    ended = ended.and(answer.and_then(|answer| self.take_page(answer)));
                }
                (Tag::Stretch { files, .. }, answer) => {
                    ended = ended.and(self.take_stretch(files, answer, report));
                }
                (Tag::Step(step), Err(error)) if error.may_pass() || matches!(error, Error::Interrupted) => {
                    self.redo(step);
                    if is_ours {
                        ended = ended.and(Err(error));
                    }
                }
                (Tag::Step((_, Step::HardLink { path, size, replaces, .. })), Err(Error::Refused(_))) => {
                    self.add(Step::Move { path, size, replaces });
                }
                // What cannot change in it says so.
                (Tag::Step((_, Step::Unlock { .. })), _) => {}
                // The name of the destination is a link to the directory, which keeps its own time and bits.
                (Tag::Step((_, Step::Set { path, .. })), Err(Error::Refused(refusal)))
                    if path.is_root() && refusal.code == Code::NotRegular => {}
                (Tag::Step((number, step)), answer) => {
                    if let Err(error) = &answer
                        && let Some(again) = self.beside(&step, error)
                    {
                        self.todo.insert(number, again);
                        continue;
                    }
                    let outcome = match answer {
                        Ok(Answer::Hashed(there)) => match self.compare(&step, &there.digest) {
                            Ok(()) => continue,
                            Err(error) => Err(error),
                        },
                        Ok(Answer::Moved(done)) => Ok(Done::Moved(done)),
                        Ok(Answer::Done(unset)) => Ok(Done::Changed(unset)),
                        Ok(Answer::Nodes(_)) => Ok(Done::Nothing),
                        Err(error) => self.find_lost(&step, error, pipe),
                    };
                    if matches!(outcome, Ok(Done::Moved(_))) {
                        progress.add_file();
                    }
                    self.tell(&step, outcome, report);
                }
            }
        }
        ended.map(|()| page)
    }

    /// Whether the server has to know of what came with `link`: another would not refuse to keep backups, but lose them,
    /// and tell of each name as of a file of its own.
    fn needs_link(&self) -> bool {
        self.tree.hard_links || self.tree.backup.is_some() && self.tree.way == Way::Put
    }

    /// Whether more of the server's tree is wanted, and soon.
    fn wants_page(&self) -> bool {
        let waiting = self.plan.waiting(self.remote_side());
        waiting.is_some_and(|waiting| (waiting as u64) < self.page / 2)
    }

    fn ask_page(&mut self, pipe: &mut Pipeline<'_, Tag>) {
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
        pipe.tree(Tag::Page, tree);
    }

    fn take_page(&mut self, answer: Answer) -> Result<(), Error> {
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
    fn walk_on(&mut self) -> Result<(), Error> {
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

    /// Begins a step; those that this side does alone are done at once.
    fn start(
        &mut self,
        (number, step): Numbered,
        pipe: &mut Pipeline<'_, Tag>,
        crew: &mut Crew<Tag>,
        report: &mut dyn FnMut(&Step, Outcome),
    ) -> Result<(), Error> {
        // Whatever cannot be kept is not replaced, and the rest is done.
        if let Step::Move { path, .. } | Step::Link { path, .. } | Step::HardLink { path, .. } = &step
            && let Err(error) = self.backup(path)
        {
            report(&step, Err(error));
            return Ok(());
        }
        let is_top = step.path().is_root() && self.tree.way == Way::Put && self.tree.remote.is_root();
        match &step {
            Step::Skip(_) | Step::LeaveOut { .. } => report(&step, Ok(Done::Nothing)),
            Step::Problem { refusal, .. } => report(&step, Err(Error::Refused(refusal.clone()))),
            Step::Compare { .. } => self.ask_digest((number, step), pipe)?,
            // The served directory itself is the server's own.
            Step::MakeDir { .. } | Step::Unlock { .. } | Step::Set { .. } if is_top => {}
            Step::Set { is_dir: true, .. } => self.sets.push(step),
            _ if self.tree.dry_run => self.tell(&step, Ok(Done::Nothing), report),
            Step::Set { .. } | Step::HardLink { .. } => self.late.push(step),
            Step::Move { path, size, .. } => {
                let is_large = *size >= SPLIT_FROM && self.tree.digest == Algorithm::Blake3;
                if is_large && !crew.is_alone() && self.large.len() < MOST_HELD {
                    self.large.insert(number, step);
                    return Ok(());
                }
                if self.is_behind(path) && crew.wants_more(pipe) {
                    self.held.insert(number, step);
                    return Ok(());
                }
                let file = self.moving(path, *size)?;
                if self.is_behind(path) {
                    pipe.move_file(Tag::Step((number, step)), file);
                } else {
                    crew.deal(Tag::Step((number, step)), file, pipe);
                }
            }
            Step::MakeDir { .. }
            | Step::Unlock { .. }
            | Step::Link { .. }
            | Step::Remove(_)
            | Step::BackUp { .. } => {
                if self.tree.way == Way::Put && !crew.is_alone() {
                    self.ahead.insert(step.path().clone());
                }
                self.start_small((number, step), pipe, report)?;
            }
        }
        Ok(())
    }

    fn moving(&self, path: &RemotePath, size: u64) -> Result<Moving, Error> {
        let whole = self.remote(path)?;
        Ok(match self.tree.way {
            Way::Get => {
                let (root, name) = (self.here(path)?, path.clone());
                Moving::Get { download: self.download(&root, path, whole)?, root, name, size }
            }
            Way::Put => Moving::Put { upload: self.upload(path, whole)?, size },
        })
    }

    /// Moves the first of the large files, over all connections: nothing else is on its way.
    fn move_large(&mut self, pipe: &mut Pipeline<'_, Tag>, crew: &mut Crew<Tag>) -> Result<(), Error> {
        pipe.drain();
        crew.dismiss(pipe.client);
        if let Some((number, step)) = self.large.pop_first() {
            let size = if let Step::Move { size, .. } = &step { *size } else { 0 };
            let file = self.moving(step.path(), size)?;
            pipe.move_alone(Tag::Step((number, step)), &file);
        }
        Ok(())
    }

    fn start_small(
        &mut self,
        (number, step): Numbered,
        pipe: &mut Pipeline<'_, Tag>,
        report: &mut dyn FnMut(&Step, Outcome),
    ) -> Result<(), Error> {
        if self.tree.way == Way::Get {
            // What has the name may be on its way.
            if matches!(step, Step::Remove(_) | Step::BackUp { .. }) {
                pipe.drain();
            }
            // As long as the directories are there that it was in.
            if matches!(step, Step::Remove(_)) {
                self.sync_kept()?;
            }
            let done = self.do_here(&step);
            match (&step, done) {
                (Step::HardLink { path, size, replaces, .. }, Err(Error::Local { .. })) => {
                    self.add(Step::Move { path: path.clone(), size: *size, replaces: *replaces });
                }
                // What cannot change in it says so.
                (Step::Unlock { .. }, _) => {}
                (_, Err(error)) => match self.beside(&step, &error) {
                    Some(again) => {
                        self.todo.insert(number, again);
                    }
                    None => report(&step, Err(error)),
                },
                (_, Ok(unset)) => self.tell(&step, Ok(Done::Changed(unset)), report),
            }
            return Ok(());
        }
        let path = self.remote(step.path())?;
        let length = path.as_bytes().len();
        let command = match &step {
            Step::MakeDir { mode, .. } => Command::Mkdir(Mkdir { path, parents: true, mode: Some(*mode) }),
            Step::Unlock { mode, .. } => {
                Command::Set(Set { path, mtime: None, mode: Some(*mode), limited: false })
            }
            Step::Link { target, .. } => {
                let (target, replace, backup) =
                    (target.clone(), self.tree.replace, self.backup(step.path())?);
                Command::Symlink(Symlink { path, target, replace, backup })
            }
            Step::HardLink { first, path, size, mtime, .. } => {
                Command::Link(self.hard_link((first, path), (*size, *mtime), Self::remote)?)
            }
            Step::Set { mtime, mode, .. } => {
                Command::Set(Set { path, mtime: Some(*mtime), mode: *mode, limited: !self.tree.perms })
            }
            Step::BackUp { to, .. } => {
                Command::Rm(Rm { path, recursive: false, backup: Some(self.remote(to)?) })
            }
            _ => Command::Rm(Rm { path, recursive: self.tree.backup.is_none(), backup: None }),
        };
        pipe.ask(Tag::Step((number, step)), &command, length);
        Ok(())
    }

    /// Does a step on this side, which moves nothing.
    fn do_here(&mut self, step: &Step) -> Result<Unset, Error> {
        let path = step.path();
        let to = self.local(path);
        if path.is_root() && matches!(step, Step::MakeDir { .. }) {
            let root = Root::create(&to, self.tree.sync).map_err(|error| Error::local(&to, error))?;
            self.here = Some(root.minding_spellings());
            return Ok(Unset::default());
        }
        let root = self.here(path)?;
        if let Step::BackUp { to, .. } = step {
            self.kept.extend([path.clone(), to.clone()]);
        }
        let done = descriptors::patiently(|| self.try_here(&root, step));
        done.map_err(|refusal| local(&to, refusal))
    }

    fn try_here(&self, root: &Root, step: &Step) -> Result<Unset, Refusal> {
        let path = step.path();
        let done = match step {
            Step::MakeDir { mode, .. } => match root.make_dir(path, false, Some(*mode)) {
                Err(refusal)
                    if refusal.code == Code::Exists
                        && root.stat(path).is_ok_and(|found| found.kind == Kind::Dir) =>
                {
                    Ok(())
                }
                made => made,
            },
            Step::Unlock { mode, .. } => return root.set(path, None, Permissions::Exact(*mode)),
            Step::Link { target, .. } => self
                .backup_here(root, path)
                .and_then(|backup| root.make_link(path, target, self.tree.replace, backup)),
            Step::HardLink { first, path, size, mtime, .. } => {
                let names = self.hard_link((first, path), (*size, *mtime), |_, path| Ok(path.clone()));
                root.link(&names.map_err(|error| Refusal::new(Code::BadPath, error.to_string()))?)
            }
            Step::Set { mtime, mode, .. } => {
                return root.set(path, Some(*mtime), Permissions::named(*mode, self.tree.perms));
            }
            Step::Remove(_) => root.remove(path, self.tree.backup.is_none()),
            Step::BackUp { to, .. } => root.backup(path, to).and_then(|backup| root.move_away(path, &backup)),
            Step::Move { .. }
            | Step::Compare { .. }
            | Step::Skip(_)
            | Step::LeaveOut { .. }
            | Step::Problem { .. } => Ok(()),
        };
        done.map(|()| Unset::default())
    }

    /// Both digests of a file are known when this returns: it moves only if they differ.
    fn compare(&mut self, step: &Step, there: &ftpish_protocol::Digest) -> Result<(), Error> {
        let Step::Compare { path, size, set, same, .. } = step else { return Ok(()) };
        let from = self.local(path);
        let file = match self.tree.way {
            Way::Get => self.here(path)?.open_file(path),
            Way::Put => SourceFile::open(&from),
        };
        let file = file.map_err(|refusal| local(&from, refusal))?;
        let here = digest_of(&from, file, self.tree.digest, &ftpish_protocol::Meter::default())?;
        let path = path.clone();
        if here != *there {
            // What is in the first, and if it is kept, in those above the backups.
            let above_backups =
                successors(self.tree.backup.as_ref().and_then(RemotePath::parent), RemotePath::parent);
            self.changed.extend(path.parent().into_iter().chain(above_backups));
            let (size, first, replaces) = (*size, same.clone(), true);
            self.add(match first {
                Some((first, mtime)) => Step::HardLink { path, first, size, mtime, replaces },
                None => Step::Move { path, size, replaces },
            });
        } else if let Some((mtime, mode)) = *set {
            self.add(Step::Set { path, is_dir: false, mtime, mode, if_changed: false });
        } else {
            self.unchanged += 1;
        }
        Ok(())
    }

    /// What a file came to that was refused: it may be there since the try whose reply was lost.
    fn find_lost(&mut self, step: &Step, error: Error, pipe: &mut Pipeline<'_, Tag>) -> Outcome {
        let is_there = |refusal: &Refusal| matches!(refusal.code, Code::Exists | Code::NotNewer);
        match &error {
            _ if self.was_kept(step, &error) => Ok(Done::Changed(Unset::default())),
            // The first try has done it, or somebody who was faster.
            Error::Refused(refusal)
                if refusal.code == Code::NotFound
                    && matches!(step, Step::Remove(_) | Step::BackUp { .. }) =>
            {
                Ok(Done::Changed(Unset::default()))
            }
            Error::Refused(refusal)
                if is_there(refusal) && self.tree.way == Way::Put && self.lost.remove(step.path()) =>
            {
                pipe.drain();
                let upload = self.upload(step.path(), self.remote(step.path())?)?;
                match pipe.client.find_stored(&upload) {
                    Ok(Some(done)) => Ok(Done::Moved(done)),
                    Ok(None) | Err(_) => Err(error),
                }
            }
            _ => Err(error),
        }
    }

    fn download(&self, root: &Root, path: &RemotePath, from: RemotePath) -> Result<Download, Error> {
        let (Tree { digest, replace, sync, perms, .. }, to) = (&self.tree, self.local(path));
        let backup = self.backup_here(root, path).map_err(|refusal| local(&to, refusal))?;
        Ok(Download {
            from,
            to,
            digest: *digest,
            replace: *replace,
            sync: *sync,
            repair: false,
            perms: *perms,
            backup,
        })
    }

    fn upload(&self, path: &RemotePath, to: RemotePath) -> Result<Upload, Error> {
        let (Tree { digest, replace, perms, .. }, backup) = (&self.tree, self.backup(path)?);
        let from = self.local(path);
        let (digest, replace, perms) = (*digest, *replace, *perms);
        let ahead = if self.lost.contains(path) { Ahead::Never } else { Ahead::WhereFar };
        Ok(Upload { from, to, digest, replace, expect: None, repair: false, perms, backup, ahead })
    }

    /// Reports a step. If it is done, what it has replaced is kept, where that was asked.
    fn tell(&self, step: &Step, outcome: Outcome, report: &mut dyn FnMut(&Step, Outcome)) {
        if let (
            Step::Move { path, replaces: true, .. }
            | Step::Link { path, replaces: true, .. }
            | Step::HardLink { path, replaces: true, .. },
            Ok(done),
        ) = (step, &outcome)
            && let Ok(Some(to)) = self.backup_of(path)
        {
            let kept = if *done == Done::Nothing { *done } else { Done::Changed(Unset::default()) };
            report(&Step::BackUp { path: path.clone(), to }, Ok(kept));
        }
        report(step, outcome);
    }

    /// Where the server keeps what has a path.
    fn backup(&self, path: &RemotePath) -> Result<Option<RemotePath>, Error> {
        let to = self.backup_of(path).map_err(Error::Refused)?;
        to.map(|to| self.remote(&to)).transpose()
    }

    /// Where it is kept, below the top of the tree.
    fn backup_of(&self, path: &RemotePath) -> Result<Option<RemotePath>, Refusal> {
        let tries = self.beside.get(path).copied().unwrap_or(0);
        self.tree.backup_beside(path, tries).map_err(bad_backup)
    }

    /// Whether what was to be kept is, by a try whose reply was lost: a directory has the name by now.
    fn was_kept(&self, step: &Step, error: &Error) -> bool {
        let is_directory = error.code() == Some(Code::IsDirectory);
        matches!(step, Step::BackUp { .. }) && is_directory && self.lost.contains(step.path())
    }

    /// Has a step done again that keeps what it replaces, or removes, beside what is in the way there; none where that was
    /// tried often enough, or it is not why it was refused.
    fn beside(&mut self, step: &Step, error: &Error) -> Option<Step> {
        let keeps = matches!(
            step,
            Step::Move { .. } | Step::Link { .. } | Step::HardLink { .. } | Step::BackUp { .. }
        );
        let in_the_way = matches!(error.code(), Some(Code::NotDirectory | Code::IsDirectory));
        // What was in it is yet to be kept, beside.
        let is_too_early = matches!(step, Step::Remove(_)) && error.code() == Some(Code::NotEmpty);
        if self.tree.backup.is_none() || !(keeps && in_the_way || is_too_early) || self.was_kept(step, error)
        {
            return None;
        }
        let tries = self.beside.entry(step.path().clone()).or_default();
        *tries += 1;
        if *tries > MOST_BESIDE {
            return None;
        }
        match step {
            Step::BackUp { path, .. } => {
                let to = self.backup_of(path).ok()??;
                Some(Step::BackUp { path: path.clone(), to })
            }
            step => Some(step.clone()),
        }
    }

    /// Where it is kept on this side.
    fn backup_here(&self, root: &Root, path: &RemotePath) -> Result<Option<Backup>, Refusal> {
        let to = self.backup_of(path)?;
        to.map(|to| root.backup(path, &to)).transpose()
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

fn bad_backup(error: PathError) -> Refusal {
    Refusal::new(Code::BadPath, format!("its backup: {error}"))
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
