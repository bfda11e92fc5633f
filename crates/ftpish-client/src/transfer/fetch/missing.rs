//! A file of which something is here: the blocks that are right are kept, and the others are fetched.

use std::ops::Range;
use std::path::Path;

use ftpish_protocol::blocks::{Assembly, BLOCK_DIGEST, Blocks};
use ftpish_protocol::message::{BlocksArgs, Command, Cut, File, Mode};
use ftpish_protocol::{Algorithm, Code, Verified, receive_body, receive_ranges};
use ftpish_storage::Stage;

use super::{Base, Fetch, LOCK_WAIT, changed, transferred};
use crate::transfer::download::Download;
use crate::transfer::piece::LARGE;
use crate::{Client, Error, Progress, Transferred, digest_of};

/// How many ranges are asked for without waiting. The requests lie in the sockets until the first body has come, so they
/// must fit there.
const REQUESTS_IN_FLIGHT: usize = 64;

/// And how many bytes their paths have, together.
const PATHS_IN_FLIGHT: usize = 32 * 1024;

/// How a file became complete.
enum Complete {
    /// It was: the one that has the name.
    Already(Verified),
    /// The partial file is.
    Staged {
        verified: Verified,
        mode: Option<Mode>,
        /// How many bytes moved.
        moved: u64,
    },
}

/// A remote file in blocks, and their digests.
pub(super) struct Remote {
    cut: Cut,
    blocks: Blocks,
    digests: Vec<u8>,
}

impl Client {
    /// A transfer by the block was proven by BLAKE3. Where another digest was asked for, both ends read the file once
    /// more.
    pub(super) fn in_digest(&mut self, fetch: &Fetch<'_>, done: Transferred) -> Result<Transferred, Error> {
        let Download { from, to, digest, .. } = fetch.download;
        if done.digest.algorithm() == *digest {
            return Ok(done);
        }
        let there = self.hash(from, *digest, &Progress::default())?.digest;
        let file = fetch.root.open_file(fetch.name).map_err(|refusal| fetch.refused(refusal))?;
        let here = digest_of(to, file, *digest, &self.meter())?;
        if here == there { Ok(Transferred { digest: here, ..done }) } else { Err(changed()) }
    }

    /// Fetches the blocks of a file that are not here, or not right.
    pub(super) fn fetch_missing(&mut self, fetch: &Fetch<'_>, base: Base) -> Result<Transferred, Error> {
        let Fetch { download, root, name, progress, .. } = fetch;
        let refused = |refusal| fetch.refused(refusal);
        let partial = root.partial_length(name).unwrap_or(0);
        let here = match base {
            Base::Target => root.stat(name).map_err(refused)?.size.max(partial),
            Base::Partial | Base::Nothing => partial,
        };
        let args = BlocksArgs { path: download.from.clone(), length: Some(here) };
        let id = self.send(&Command::Blocks(args), false)?;
        let (cut, blocks, digests) = match self.receive_digests(id) {
            Ok(digests) => digests,
            // It is not known what size it had.
            Err(error) => return self.fetch_grown(fetch, error, 0),
        };
        progress.set_size(cut.size);
        let stage = root.resume(name, download.replace, Some(cut.mtime), LOCK_WAIT).map_err(refused)?;
        let mut stage = download.backed_up(stage);
        let remote = Remote { cut, blocks, digests };
        match self.complete(fetch, &mut stage, base, &remote) {
            Ok(Complete::Already(verified)) => {
                stage.remove();
                Ok(transferred(&verified, 0, remote.cut.mtime))
            }
            Ok(Complete::Staged { verified, mode, moved }) => {
                let done = transferred(&verified, moved, remote.cut.mtime);
                let unset = stage.commit(verified, download.permissions(mode)).map_err(refused)?;
                Ok(Transferred { unset, ..done })
            }
            Err(error) => {
                stage.abandon();
                drop(stage);
                self.fetch_grown(fetch, error, remote.cut.size)
            }
        }
    }

    /// Makes the partial file what the server has, from what is here and what is missing.
    fn complete(
        &mut self,
        fetch: &Fetch<'_>,
        stage: &mut Stage,
        base: Base,
        Remote { cut, blocks, digests }: &Remote,
    ) -> Result<Complete, Error> {
        let refused = |refusal| fetch.refused(refusal);
        let mut target = match base {
            Base::Target => Some(fetch.root.open_file(fetch.name).map_err(refused)?),
            Base::Partial | Base::Nothing => None,
        };
        let mut assembly = Assembly::new(*blocks);
        if let Some(target) = &target {
            let whole = 0..target.size();
            let mut whole = target.ranges(Vec::from([whole])).map_err(refused)?;
            let read = self.in_touch(|meter| Assembly::of(&mut whole, *blocks, meter))?;
            assembly = read.map_err(|error| self.note(Error::local(&fetch.download.to, error)))?;
            assembly.prove_all(digests);
            if let Some(verified) = assembly.verified().filter(|_| target.size() == cut.size) {
                return Ok(Complete::Already(verified));
            }
        }
        // What an earlier try left may be worth more than what has the name: the rest of a repair, for one.
        let read = self.in_touch(|meter| stage.assemble(*blocks, meter))?;
        let mut left = read.map_err(|refusal| self.note(refused(refusal)))?;
        left.prove_all(digests);
        if left.present() > assembly.present() {
            (assembly, target) = (left, None);
        }
        let kept = assembly.present();
        fetch.progress.set_done(kept);
        if let Some(target) = target {
            self.in_touch(|_| stage.seed(&target))?.map_err(refused)?;
        }
        stage.cut(cut.size).map_err(refused)?;
        let (verified, mode) = self.fetch_rest(fetch, stage, &mut assembly, cut)?;
        Ok(Complete::Staged { verified, mode, moved: cut.size - kept })
    }

    fn fetch_rest(
        &mut self,
        fetch: &Fetch<'_>,
        stage: &mut Stage,
        assembly: &mut Assembly,
        cut: &Cut,
    ) -> Result<(Verified, Option<Mode>), Error> {
        let Fetch { download, progress, board, .. } = fetch;
        let Download { from, digest, .. } = download;
        let missing = cut.size - assembly.present();
        if !board.is_alone() && *digest == Algorithm::Blake3 && missing >= LARGE {
            return self.fetch_split(fetch, stage, assembly, cut);
        }
        let mut mode = None;
        let mut done = assembly.present();
        let in_flight = (PATHS_IN_FLIGHT / from.as_bytes().len()).min(REQUESTS_IN_FLIGHT);
        for window in assembly.missing().chunks(in_flight) {
            let ids: Result<Vec<u64>, Error> = window
                .iter()
                .map(|range| self.request_file(from, *digest, range.start, Some(range.end - range.start)))
                .collect();
            let ids = ids?;
            for (at, (id, range)) in ids.iter().copied().zip(window).enumerate() {
                let fetched = self.fetch_range(id, range, stage, assembly, cut, download, |moved| {
                    progress.set_done(done + moved);
                });
                if let Err(error) = &fetched {
                    self.pass_replies(error, ids[at + 1..].iter().copied());
                }
                mode = Some(fetched?);
                done += range.end - range.start;
                progress.set_done(done);
            }
        }
        if mode.is_none() {
            // Nothing moved, so nobody said what the permission bits are.
            let now = self.probe(from, *digest)?;
            if now.tag != cut.tag {
                return Err(changed());
            }
            mode = Some(now.mode);
        }
        let unproven = || Error::Protocol("blocks of the file were never told".to_owned());
        Ok((assembly.verified().ok_or_else(unproven)?, mode))
    }

    /// Receives one range of a file that was cut so, and tells the permission bits of the file.
    #[expect(clippy::too_many_arguments, reason = "the parts of one transfer, borrowed apart")]
    fn fetch_range(
        &mut self,
        id: u64,
        range: &Range<u64>,
        stage: &mut Stage,
        assembly: &mut Assembly,
        cut: &Cut,
        download: &Download,
        moved: impl Fn(u64),
    ) -> Result<Mode, Error> {
        let file: File = self.receive_with_body(id).map_err(|error| match error {
            Error::Refused(refusal) if refusal.code == Code::BadRange => changed(),
            error => error,
        })?;
        if (file.size, file.mtime, &file.tag) != (cut.size, cut.mtime, &cut.tag) {
            return Err(self.note(changed()));
        }
        let interrupt = self.interrupt.clone();
        let received = receive_ranges(
            &mut self.connection,
            stage,
            assembly,
            vec![range.clone()],
            download.digest,
            &mut |_, now| {
                moved(now);
                !interrupt.is_set()
            },
        );
        received.map_err(|error| self.note(Error::of_body(error, &download.to)))?;
        Ok(file.mode)
    }

    /// Receives the digests of a file's blocks, and checks that they are what they are said to be.
    pub(crate) fn receive_digests(&mut self, id: u64) -> Result<(Cut, Blocks, Vec<u8>), Error> {
        let cut: Cut = self.receive_with_body(id)?;
        let Some(blocks) = Blocks::new(cut.size, cut.block) else {
            return Err(self.note(Error::Protocol(format!("blocks of {} bytes", cut.block))));
        };
        if cut.length > (blocks.count() * BLOCK_DIGEST) as u64 {
            return Err(self.note(Error::Protocol("more digests than blocks".to_owned())));
        }
        let mut digests = Vec::new();
        let received = receive_body(
            &mut self.connection,
            &mut digests,
            Algorithm::Blake3,
            Some(cut.length),
            &mut |_, _| true,
        );
        let _digests = received.map_err(|error| self.note(Error::of_body(error, Path::new("-"))))?;
        Ok((cut, blocks, digests))
    }
}
