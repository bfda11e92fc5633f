//! What a run over a tree did: a line for each thing done, in the words of a dry run, and one for all of it.

use std::fmt;
use std::time::Duration;

use ftpish_client::{Done, LeftOut, Step, Transferred};
use ftpish_protocol::message::Unset;
use ftpish_protocol::text::escape;

use crate::failure::Failure;
use crate::ui::{Ui, arrived, counted, print};

/// How much of what was done.
#[derive(Default)]
pub struct Summary {
    files: u64,
    moved: u64,
    links: u64,
    hard_links: u64,
    dirs: u64,
    set: u64,
    kept: u64,
    removed: u64,
    skipped: u64,
    /// Files and links that were as they were to be.
    pub unchanged: u64,
    pub failed: u64,
    /// Names whose time, or permission bits, their file system has not kept.
    unset: (u64, u64),
}

impl Summary {
    /// Counts what a step came to.
    pub fn note(&mut self, step: &Step, done: &Done) {
        let unset = match done {
            Done::Moved(Transferred { moved, unset, .. }) => {
                self.files += 1;
                self.moved += moved;
                *unset
            }
            Done::Changed(unset) => *unset,
            Done::Nothing => Unset::default(),
        };
        self.unset.0 += u64::from(unset.mtime);
        self.unset.1 += u64::from(unset.mode);
        let count = match (step, done) {
            (_, Done::Moved(_)) => return,
            (Step::Skip(_), _) => &mut self.skipped,
            (Step::LeaveOut { .. }, _) | (_, Done::Nothing) => return,
            (Step::MakeDir { .. }, _) => &mut self.dirs,
            (Step::Link { .. }, _) => &mut self.links,
            (Step::HardLink { .. }, _) => &mut self.hard_links,
            (Step::Set { .. }, _) => &mut self.set,
            (Step::BackUp { .. }, _) => &mut self.kept,
            (Step::Remove(_), _) => &mut self.removed,
            (Step::Move { .. } | Step::Compare { .. } | Step::Unlock { .. } | Step::Problem { .. }, _) => {
                return;
            }
        };
        *count += 1;
    }

    /// Whether anything has changed.
    pub fn is_nothing(&self) -> bool {
        let Self { files, links, hard_links, dirs, set, kept, removed, .. } = self;
        files + links + hard_links + dirs + set + kept + removed == 0
    }

    /// How many names lack their time or their permission bits.
    pub fn unset(&self) -> u64 {
        self.unset.0.max(self.unset.1)
    }

    /// Says it in a line, and in another one what could not be set.
    pub fn tell(&self, ui: &Ui, took: Duration) {
        let others = [
            (self.links, "link", "links"),
            (self.hard_links, "hard link", "hard links"),
            (self.dirs, "directory", "directories"),
            (self.kept, "backed up", "backed up"),
            (self.removed, "removed", "removed"),
            (self.set, "set", "set"),
            (self.unchanged, "unchanged", "unchanged"),
            (self.skipped, "skipped", "skipped"),
            (self.failed, "failed", "failed"),
        ];
        let others = others.into_iter().filter(|(count, ..)| *count > 0);
        let others: Vec<_> = others.map(|(count, one, many)| counted(count, one, many)).collect();
        let mut parts = Vec::new();
        if self.files > 0 {
            parts.push(arrived(self.files, self.moved, took));
        } else if self.is_nothing() {
            parts.push("nothing to do".to_owned());
        }
        parts.extend((!others.is_empty()).then(|| others.join(", ")));
        ui.say(parts.join("; "));
        let (times, modes) = self.unset;
        for (count, what) in [(times, "times"), (modes, "permission bits")] {
            if count > 0 {
                let names = counted(count, "name", "names");
                ui.say(format_args!("warning: the file system there has not kept the {what} of {names}"));
            }
        }
    }
}

/// A step as a line tells it.
struct Words<'a>(&'a Step);

impl fmt::Display for Words<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = escape(self.0.path().as_bytes());
        match self.0 {
            Step::MakeDir { .. } => write!(out, "mkdir {path}/"),
            Step::Move { size, .. } | Step::Compare { size, .. } => write!(out, "copy {path} ({size} bytes)"),
            Step::Link { target, .. } => write!(out, "link {path} -> {}", escape(&target.0)),
            Step::HardLink { first, .. } => write!(out, "link {path} = {}", escape(first.as_bytes())),
            Step::Set { is_dir, .. } => write!(out, "set {path}{}", if *is_dir { "/" } else { "" }),
            Step::Remove(_) => write!(out, "remove {path}"),
            Step::BackUp { to, .. } => write!(out, "back up {path} -> {}", escape(to.as_bytes())),
            Step::Skip(_) => write!(out, "skip {path}: a fifo, a socket or a device"),
            Step::LeaveOut { is_source, why, .. } => {
                let verb = if *is_source { "leave out" } else { "keep" };
                write!(out, "{verb} {path}: ")?;
                match why {
                    LeftOut::Pattern(pattern) => write!(out, "--exclude {}", escape(pattern.as_bytes())),
                    LeftOut::Backups => write!(out, "--backup-dir"),
                    LeftOut::Mount => write!(out, "--one-file-system"),
                }
            }
            Step::Unlock { .. } => write!(out, "unlock {path}/"),
            Step::Problem { .. } => write!(out, "cannot {path}"),
        }
    }
}

/// Prints what was, or would be, done. That a directory can be changed meanwhile is not told.
pub fn print_step(step: &Step) -> Result<(), Failure> {
    match step {
        Step::Unlock { .. } | Step::Problem { .. } => Ok(()),
        step => print(Words(step)),
    }
}
