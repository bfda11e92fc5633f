//! How a step begins: what this side does alone, what is asked of the server, and the files that move.

use std::sync::Arc;

use ftpish_protocol::message::{Command, Kind, Mkdir, Rm, Set, Symlink, Unset};
use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::{Permissions, Root, descriptors};

use super::{Numbered, Tag, TreeJob};
use crate::transfer::local;
use crate::transfer::{Incoming, Lane, Moving, Outgoing, Transfer};
use crate::tree::{Done, Outcome, Step, Tree};
use crate::{Download, Error, Upload, Way};

impl TreeJob {
    /// Begins a step; those that this side does alone are done at once.
    pub(super) fn start(
        &mut self,
        (number, step): Numbered,
        transfer: &mut Transfer<'_>,
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
            Step::Compare { .. } => self.ask_digest((number, step), &mut transfer.first)?,
            // The served directory itself is the server's own.
            Step::MakeDir { .. } | Step::Unlock { .. } | Step::Set { .. } if is_top => {}
            Step::Set { is_dir: true, .. } => self.sets.push(step),
            _ if self.tree.dry_run => self.tell(&step, Ok(Done::Nothing), report),
            Step::Set { .. } | Step::HardLink { .. } => self.late.push(step),
            Step::Move { path, size, .. } => {
                let (file, is_behind) = (self.moving(path, *size)?, self.is_behind(path));
                if is_behind && transfer.is_better_held(&file) {
                    self.held.insert(number, step);
                    return Ok(());
                }
                let is_lost = self.lost.remove(path);
                let number = self.note(Tag::Step((number, step)));
                if is_behind {
                    transfer.move_in_order(number, file, is_lost);
                } else {
                    transfer.move_file(number, file, is_lost);
                }
            }
            Step::MakeDir { .. }
            | Step::Unlock { .. }
            | Step::Link { .. }
            | Step::Remove(_)
            | Step::BackUp { .. } => {
                if self.tree.way == Way::Put && !transfer.is_alone() {
                    self.ahead.insert(step.path().clone());
                }
                self.start_small((number, step), &mut transfer.first, report)?;
            }
        }
        Ok(())
    }

    pub(super) fn moving(&self, path: &RemotePath, size: u64) -> Result<Moving, Error> {
        let whole = self.remote(path)?;
        Ok(match self.tree.way {
            Way::Get => {
                let (root, name, size) = (self.here(path)?, path.clone(), Some(size));
                Moving::Get(Arc::new(Incoming {
                    download: self.download(&root, path, whole)?,
                    root,
                    name,
                    size,
                }))
            }
            Way::Put => Moving::Put(Arc::new(Outgoing { upload: self.upload(path, whole)?, size })),
        })
    }

    pub(super) fn start_small(
        &mut self,
        (number, step): Numbered,
        pipe: &mut Lane<'_>,
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
        let number = self.note(Tag::Step((number, step)));
        pipe.ask(number, &command, length);
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

    fn download(&self, root: &Root, path: &RemotePath, from: RemotePath) -> Result<Download, Error> {
        let (Tree { digest, replace, sync, perms, .. }, to) = (&self.tree, self.local(path));
        let backup = self.backup_here(root, path).map_err(|refusal| local(&to, refusal))?;
        let (digest, replace, sync, perms) = (*digest, *replace, *sync, *perms);
        Ok(Download { digest, replace, sync, perms, backup, ..Download::new(from, to) })
    }

    pub(super) fn upload(&self, path: &RemotePath, to: RemotePath) -> Result<Upload, Error> {
        let (Tree { digest, replace, perms, .. }, backup) = (&self.tree, self.backup(path)?);
        let (digest, replace, perms) = (*digest, *replace, *perms);
        Ok(Upload { digest, replace, perms, backup, ..Upload::new(self.local(path), to) })
    }
}
