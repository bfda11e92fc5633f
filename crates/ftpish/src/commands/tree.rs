//! Whole trees: what `get -r`, `put -r` and `sync` have in common.

use std::ffi::OsStr;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Instant;

use ftpish_client::{Done, Error, Filter, LinkPolicy, Outcome, Progress, Step, Tree, TreeJob, Way};
use ftpish_protocol::text::escape;
use ftpish_protocol::{Algorithm, Code, RemotePath};

use super::summary::{Summary, print_step};
use crate::cli::{Links, Overwrite, TreeArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifest::Manifest;
use crate::progress;
use crate::session::Session;

/// How many failures are told one by one: the rest are counted.
const MOST_TOLD: usize = 1000;

/// What `args` say of a tree that moves in this way, with nothing compared and nothing removed.
pub fn tree(
    way: Way,
    remote: RemotePath,
    local: PathBuf,
    digest: Algorithm,
    args: &TreeArgs,
) -> Result<Tree, Failure> {
    let filter =
        Filter::new(&args.exclude, &args.include).map_err(|error| Failure::usage(error.to_string()))?;
    let links = match args.links {
        Links::Skip => LinkPolicy::Skip,
        Links::Keep => LinkPolicy::Keep,
        Links::Follow => LinkPolicy::Follow,
    };
    Ok(Tree {
        digest,
        links,
        filter,
        hard_links: args.hard_links,
        perms: args.perms,
        one_file_system: args.one_file_system,
        dry_run: args.dry_run,
        tell_left_out: args.verbose,
        ..Tree::new(way, remote, local)
    })
}

/// Refuses options that would do nothing, where no tree moves: a dry run of a single file would be none.
pub fn require_recursive(args: &TreeArgs) -> Result<(), Failure> {
    match args.for_trees() {
        Some(option) => {
            Err(Failure::usage(format!("{option} is for trees"))
                .hint("-r moves a directory with all it holds"))
        }
        None => Ok(()),
    }
}

/// When that is removed which the source does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Before anything moves: where only that makes room.
    RemovalsFirst,
    /// When all else is done.
    RemovalsLast,
}

/// What became of a tree's steps.
struct Report<'a> {
    name: String,
    way: Way,
    /// Whether each step is told.
    lines: bool,
    kept: Overwrite,
    manifest: &'a mut Manifest,
    summary: Summary,
    failures: Vec<Failure>,
}

impl Report<'_> {
    fn take(&mut self, step: &Step, outcome: Outcome) {
        let done = match outcome {
            Ok(done) => {
                self.summary.note(step, &done);
                let told = if self.lines { print_step(step) } else { Ok(()) };
                told.and_then(|()| match done {
                    Done::Moved(done) => self.manifest.note(step.path().clone(), &done),
                    Done::Changed(_) | Done::Nothing => Ok(()),
                })
            }
            Err(error) if self.is_kept(&error) => Ok(()),
            Err(error) => {
                let path = escape(step.path().as_bytes());
                let verb = match (step, self.way) {
                    (Step::Remove(_) | Step::BackUp { .. }, _) => "remove",
                    (_, Way::Get) => "get",
                    (_, Way::Put) => "put",
                };
                Err(Failure::client(format!("cannot {verb} `{}/{path}`", self.name), error))
            }
        };
        if let Err(failure) = done {
            self.summary.failed += 1;
            if self.failures.len() < MOST_TOLD {
                self.failures.push(failure);
            }
        }
    }

    /// Whether a file was left alone, as was asked.
    fn is_kept(&self, error: &Error) -> bool {
        let code = match error {
            Error::Refused(refusal) | Error::Local { refusal, .. } => refusal.code,
            _ => return false,
        };
        super::is_kept(code, self.kept)
    }
}

/// Moves a tree, and says what became of it. The inner error is that its top is no directory.
pub fn run(
    tree: Tree,
    order: Order,
    args: &TreeArgs,
    kept: Overwrite,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<Result<(), Error>, Failure> {
    let mut ui = session.ui;
    let name = match tree.way {
        Way::Get => tree.remote.to_string(),
        Way::Put => escape(tree.local.as_os_str().as_bytes()).to_string(),
    };
    let (way, lines) = (tree.way, args.dry_run || args.verbose);
    // Lines and bars would be drawn over one another.
    ui.bars &= !lines;
    let (summary, failures) = Default::default();
    let mut report = Report { name, way, lines, kept, manifest, summary, failures };
    let filter = tree.filter.clone();
    let (label, began) = (report.name.clone(), Instant::now());
    // A dry run removes nothing, so that the second job would tell of it once more.
    let removal = (order == Order::RemovalsFirst && !args.dry_run)
        .then(|| TreeJob::new(Tree { only_remove: true, compare: None, ..tree.clone() }));
    let mut job = TreeJob::new(tree);
    let done = progress::watch(&ui, &label, |progress: &Progress| {
        let mut run = |job: &mut TreeJob| {
            session.retrying(progress, |client| {
                job.run(client, progress, &mut |step, outcome| report.take(step, outcome))
            })
        };
        match removal.map(|mut removal| run(&mut removal)) {
            None | Some(Ok(Ok(()))) => run(&mut job),
            Some(ended) => ended,
        }
    });
    let Report { name, mut summary, failures, .. } = report;
    summary.unchanged = job.unchanged();
    failures.iter().for_each(|failure| ui.failure(failure));
    if summary.failed > failures.len() as u64 {
        ui.say(format_args!("and {} more failures", summary.failed - failures.len() as u64));
    }
    match done? {
        Ok(()) => {}
        Err(error @ Error::Refused(_)) | Err(error @ Error::Local { .. }) if is_no_directory(&error) => {
            return Ok(Err(error));
        }
        Err(error) => {
            if !summary.is_nothing() {
                summary.tell(&ui, began.elapsed());
            }
            let verb = if way == Way::Get { "get" } else { "put" };
            return Err(match error.code() {
                Some(Code::NoSpace) => Failure::client(format!("cannot {verb} all of `{name}`"), error)
                    .hint("make room there, and run it again: what has arrived stays"),
                _ => Failure::client(format!("cannot {verb} `{name}`"), error),
            });
        }
    }
    filter.unused().for_each(|pattern| {
        ui.say(format_args!("warning: the pattern `{}` matched nothing", escape(pattern.as_bytes())));
    });
    if !args.dry_run {
        summary.tell(&ui, began.elapsed());
    }
    match (summary.failed, summary.unset()) {
        (0, unset) if unset == 0 || !args.strict => Ok(Ok(())),
        (0, unset) => Err(not_strict(format_args!("{unset} of the names in `{name}`"))),
        (failed, _) => {
            Err(Failure::new(Exit::Partial, format!("{failed} of the names in `{name}` were not done")))
        }
    }
}

/// Why a transfer that has stored all bytes is a failure where `--strict` was said.
pub fn not_strict(what: impl Display) -> Failure {
    Failure::new(Exit::Partial, format!("{what} did not get all of their times and permission bits"))
}

fn is_no_directory(error: &Error) -> bool {
    matches!(error, Error::Refused(refusal) | Error::Local { refusal, .. } if refusal.code == Code::NotDirectory)
}

/// The name that a tree has below a destination; none for a root.
pub fn name(path: &RemotePath) -> Option<PathBuf> {
    path.name().map(|name| PathBuf::from(OsStr::from_bytes(name.as_bytes())))
}
