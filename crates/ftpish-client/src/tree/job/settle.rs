//! What steps have come to: answers of the server, on whatever connection, and what follows from them.

use std::iter::successors;

use ftpish_protocol::message::Unset;
use ftpish_protocol::{Code, Refusal, RemotePath};
use ftpish_storage::SourceFile;

use super::{Tag, TreeJob};
use crate::transfer::{Answer, Transfer, local};
use crate::tree::plan::Side;
use crate::tree::{Done, Outcome, Step};
use crate::{Client, Error, Progress, Way, digest_of};

impl TreeJob {
    /// Takes the answers that have come. Whether the nodes that were asked for are among them.
    pub(super) fn settle(
        &mut self,
        transfer: &mut Transfer<'_>,
        progress: &Progress,
        report: &mut dyn FnMut(&Step, Outcome),
    ) -> Result<bool, Error> {
        let (mut ended, mut page) = (Ok(()), false);
        // Another connection that breaks ends nothing here.
        while let Some((number, answer)) = transfer.answer() {
            let Some(tag) = self.in_flight.remove(&number) else { continue };
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
                (Tag::Page, answer) => {
                    page = true;
                    ended = ended.and(answer.and_then(|answer| {
                        self.require_features(transfer.first.client)?;
                        self.take_page(answer)
                    }));
                }
                (Tag::Stretch { files, .. }, answer) => {
                    ended = ended.and(self.take_stretch(files, answer, report));
                }
                (Tag::Step(step), Ok(Answer::Lost(why))) => {
                    self.redo(step);
                    ended = ended.and(why.map_or(Ok(()), Err));
                }
                (Tag::Step(step), Err(error)) if error.may_pass() || matches!(error, Error::Interrupted) => {
                    self.redo(step);
                    ended = ended.and(Err(error));
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
                        Ok(Answer::Nodes(_) | Answer::Lost(_)) => Ok(Done::Nothing),
                        Err(error) => self.find_lost(&step, error),
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

    /// Refuses a server that does not know an extension which the tree needs: it would ignore its fields, and lose what is to be
    /// kept.
    fn require_features(&self, client: &mut Client) -> Result<(), Error> {
        let keeps = self.tree.backup.is_some() && self.tree.way == Way::Put;
        for (is_needed, feature) in [(keeps, "backup"), (self.tree.hard_links, "links")] {
            if is_needed && !client.has_feature(feature)? {
                let line = format!("the server does not know the extension `{feature}`");
                return Err(Error::Refused(Refusal::new(Code::Unsupported, line)));
            }
        }
        Ok(())
    }

    /// Both digests of a file are known when this returns: it moves only if they differ.
    pub(super) fn compare(&mut self, step: &Step, there: &ftpish_protocol::Digest) -> Result<(), Error> {
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

    /// What a request came to that was refused: the try whose reply was lost may have done it.
    fn find_lost(&self, step: &Step, error: Error) -> Outcome {
        match &error {
            _ if self.was_kept(step, &error) => Ok(Done::Changed(Unset::default())),
            // The first try has done it, or somebody who was faster.
            Error::Refused(refusal)
                if refusal.code == Code::NotFound
                    && matches!(step, Step::Remove(_) | Step::BackUp { .. }) =>
            {
                Ok(Done::Changed(Unset::default()))
            }
            _ => Err(error),
        }
    }

    /// Reports a step. If it is done, what it has replaced is kept, where that was asked.
    pub(super) fn tell(&self, step: &Step, outcome: Outcome, report: &mut dyn FnMut(&Step, Outcome)) {
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
}
