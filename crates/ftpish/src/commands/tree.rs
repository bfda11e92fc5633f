//! Whole trees: what `get -r`, `put -r` and `sync` have in common.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Instant;

use ftpish_client::{Error, Filter, LinkPolicy, Progress, Step, Transferred, Tree, TreeJob, Way};
use ftpish_protocol::message::Replace;
use ftpish_protocol::text::escape;
use ftpish_protocol::{Algorithm, Code, RemotePath};

use crate::cli::{Links, Overwrite, TreeArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifest::Manifest;
use crate::progress;
use crate::session::Session;
use crate::ui::print;

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
        way,
        remote,
        local,
        digest,
        replace: Replace::Always,
        sync: true,
        links,
        filter,
        compare: None,
        delete: None,
        backup: None,
        hard_links: args.hard_links,
        perms: args.perms,
        dry_run: args.dry_run,
    })
}

/// What became of a tree's steps.
struct Report<'a> {
    name: String,
    way: Way,
    dry_run: bool,
    kept: Overwrite,
    manifest: &'a mut Manifest,
    files: u64,
    size: u64,
    moved: u64,
    skipped: u64,
    failed: u64,
    failures: Vec<Failure>,
}

impl Report<'_> {
    fn take(&mut self, step: &Step, outcome: Result<Option<Transferred>, Error>) {
        self.skipped += u64::from(matches!(step, Step::Skip(_)));
        let done = match outcome {
            Ok(None) if self.dry_run => would(step),
            Ok(None) => Ok(()),
            Ok(Some(done)) => {
                self.files += 1;
                self.size += done.size;
                self.moved += done.moved;
                self.manifest.note(step.path().clone(), &done)
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
            self.failed += 1;
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
        super::get::is_kept(code, self.kept)
    }
}

/// Prints what would be done.
fn would(step: &Step) -> Result<(), Failure> {
    let path = escape(step.path().as_bytes());
    match step {
        Step::MakeDir { .. } => print(format_args!("mkdir {path}/")),
        Step::Move { size, .. } => print(format_args!("copy {path} ({size} bytes)")),
        Step::Compare { .. } => print(format_args!("compare {path}")),
        Step::Link { target, .. } => print(format_args!("link {path} -> {}", escape(&target.0))),
        Step::HardLink { first, .. } => print(format_args!("link {path} = {}", escape(first.as_bytes()))),
        Step::Set { .. } => print(format_args!("set {path}")),
        Step::Remove(_) => print(format_args!("remove {path}")),
        Step::BackUp { to, .. } => print(format_args!("back up {path} -> {}", escape(to.as_bytes()))),
        Step::Skip(_) => print(format_args!("skip {path}: a fifo, a socket or a device")),
        Step::Unlock { .. } | Step::Problem { .. } => Ok(()),
    }
}

/// Moves a tree, and says what became of it. The inner error is that its top is no directory.
pub fn run(
    tree: Tree,
    kept: Overwrite,
    manifest: &mut Manifest,
    session: &mut Session,
) -> Result<Result<(), Error>, Failure> {
    let ui = session.ui;
    let name = match tree.way {
        Way::Get => tree.remote.to_string(),
        Way::Put => escape(tree.local.as_os_str().as_bytes()).to_string(),
    };
    let (way, dry_run) = (tree.way, tree.dry_run);
    let (files, size, moved, skipped, failed, failures) = Default::default();
    let mut report =
        Report { name, way, dry_run, kept, manifest, files, size, moved, skipped, failed, failures };
    let filter = tree.filter.clone();
    let (mut job, began) = (TreeJob::new(tree), Instant::now());
    let label = report.name.clone();
    let done = progress::watch(&ui, &label, |progress: &Progress| {
        session.retrying(progress, |client| {
            job.run(client, progress, &mut |step, outcome| report.take(step, outcome))
        })
    });
    let Report { name, files, moved, skipped, failed, failures, .. } = report;
    failures.iter().for_each(|failure| ui.failure(failure));
    if failed > failures.len() as u64 {
        ui.say(format_args!("and {} more failures", failed - failures.len() as u64));
    }
    match done? {
        Ok(()) => {}
        Err(error @ Error::Refused(_)) | Err(error @ Error::Local { .. }) if is_no_directory(&error) => {
            return Ok(Err(error));
        }
        Err(error) => {
            if files > 0 {
                ui.arrived(files, moved, began.elapsed());
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
    if !dry_run {
        ui.arrived(files, moved, began.elapsed());
        if skipped > 0 {
            ui.say(format_args!("skipped {skipped} that are fifos, sockets or devices"));
        }
    }
    match failed {
        0 => Ok(Ok(())),
        _ => Err(Failure::new(Exit::Partial, format!("{failed} of the names in `{name}` were not done"))),
    }
}

fn is_no_directory(error: &Error) -> bool {
    matches!(error, Error::Refused(refusal) | Error::Local { refusal, .. } if refusal.code == Code::NotDirectory)
}

/// The name that a tree has below a destination; none for a root.
pub fn name(path: &RemotePath) -> Option<PathBuf> {
    path.name().map(|name| PathBuf::from(OsStr::from_bytes(name.as_bytes())))
}
