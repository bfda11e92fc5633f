//! Files on their way in: written beside their target under a name that no listing shows, verified, made durable,
//! and renamed. Until then the target keeps what it had.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use ftpish_protocol::message::{Mode, Replace, Time};
use ftpish_protocol::{Code, Name, Refusal, Verified};
use rustix::fs::{FallocateFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::dir::{os_name, rename, sync_dir};
use crate::{Outcome, mtime, refuse};

/// What the name of a partial file begins with; 16 lower-case hex digits follow. Of fixed length, so that a long
/// target name has room.
const PREFIX: &str = ".ftpish-";

/// The permission bits of a stored file whose sender named none.
const DEFAULT_MODE: u32 = 0o644;

/// Whether `name` is one that partial files have.
pub fn is_partial(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX.as_bytes())
        .is_some_and(|rest| rest.len() == 16 && rest.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Where a staged file will go.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) parent: Arc<Dir>,
    pub(crate) name: Name,
    pub(crate) replace: Replace,
    pub(crate) mtime: Option<Time>,
}

impl Target {
    /// Whether what is there now may be replaced. The rename decides once more, for what comes meanwhile.
    fn check(&self) -> Outcome<()> {
        let found = match self.parent.symlink_metadata(os_name(&self.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(refuse)?,
        };
        let file_type = found.file_type();
        if file_type.is_dir() {
            return Err(Refusal::new(Code::IsDirectory, "a directory has this name"));
        }
        if !file_type.is_file() && !file_type.is_symlink() {
            return Err(Refusal::new(Code::NotRegular, "a fifo, a socket or a device has this name"));
        }
        match self.replace {
            Replace::Always => Ok(()),
            Replace::Never => Err(Refusal::new(Code::Exists, "the name exists already")),
            Replace::Older if self.mtime.is_some_and(|new| mtime(&found) < new) => Ok(()),
            Replace::Older => Err(Refusal::new(Code::NotNewer, "the existing file is at least as new")),
        }
    }
}

/// A partial file. It ends in [`commit`](Self::commit) or in [`discard`](Self::discard).
#[derive(Debug)]
#[must_use = "a stage that is neither committed nor discarded leaves its partial file behind"]
pub struct Stage {
    file: File,
    partial: String,
    target: Target,
    sync: bool,
}

impl Stage {
    pub(crate) fn begin(target: Target, sync: bool) -> Outcome<Self> {
        target.check()?;
        let random = RandomState::new().hash_one(std::time::Instant::now());
        let partial = format!("{PREFIX}{random:016x}");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = target.parent.open_with(&partial, &options).map_err(refuse)?.into_std();
        Ok(Self { file, partial, target, sync })
    }

    /// Asks the file system to set `size` bytes aside, so that a full disk is known before the bytes move. Where
    /// it cannot tell, it is not asked.
    pub fn reserve(&self, size: u64) -> Outcome<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR | Errno::INVAL) => Ok(()),
            Err(error) => Err(refuse(error)),
        }
    }

    /// Says which modification time the file is to get, where it was not known when the stage began.
    pub fn set_mtime(&mut self, mtime: Time) {
        self.target.mtime = Some(mtime);
    }

    /// Gives the verified bytes their permission bits, time and name: durable first, then at once and whole. The
    /// permission bits are a default where `mode` is none.
    pub fn commit(self, verified: Verified, mode: Option<Mode>) -> Outcome<()> {
        let committed = self.try_commit(&verified, mode);
        if committed.is_err() {
            self.discard();
        }
        committed
    }

    fn try_commit(&self, verified: &Verified, mode: Option<Mode>) -> Outcome<()> {
        if self.file.metadata().map_err(refuse)?.len() != verified.length() {
            return Err(Refusal::new(Code::Internal, "the partial file is not what was verified"));
        }
        let mode = mode.map_or(DEFAULT_MODE, Mode::bits);
        rustix::fs::fchmod(&self.file, mode.into()).map_err(refuse)?;
        if let Some(mtime) = self.target.mtime {
            rustix::fs::futimens(&self.file, &timestamps(mtime)).map_err(refuse)?;
        }
        if self.sync {
            self.file.sync_all().map_err(refuse)?;
        }
        self.target.check()?;
        let Target { parent, name, replace, .. } = &self.target;
        rename(parent, self.partial.as_ref(), parent, os_name(name), *replace).map_err(refuse)?;
        if self.sync { sync_dir(parent).map_err(refuse) } else { Ok(()) }
    }

    /// Takes the partial file away. That it cannot be is no news to the peer: it is hidden all the same.
    pub fn discard(&self) {
        if let Err(error) = self.target.parent.remove_file(&self.partial) {
            tracing::warn!(partial = self.partial, %error, "cannot remove a partial file");
        }
    }
}

impl Write for Stage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn timestamps(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use ftpish_protocol::{Algorithm, Connection, receive_body, send_body};

    use super::*;
    use crate::Root;

    /// Proof for `bytes`, made as a transfer makes it: there is no other way.
    fn verified(bytes: &[u8], sink: &mut impl Write) -> Verified {
        let mut sender = Connection::new(Cursor::new(Vec::new()));
        send_body(&mut sender, &mut &bytes[..], Algorithm::Md5, &mut |_, _| true).unwrap();
        sender.flush().unwrap();
        let mut wire = std::mem::take(sender.stream());
        wire.set_position(0);
        let mut receiver = Connection::new(wire);
        receiver.begin_body();
        receive_body(&mut receiver, sink, Algorithm::Md5, None, &mut |_, _| true).unwrap()
    }

    fn scratch() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path(), true).unwrap();
        (dir, root)
    }

    fn store(root: &Root, name: &str, replace: Replace, mtime: i64, bytes: &[u8]) -> Outcome<()> {
        let mtime = Some(Time { seconds: mtime, nanoseconds: 5 });
        let mut stage = root.stage(&name.parse().unwrap(), replace, mtime)?;
        let proof = verified(bytes, &mut stage);
        stage.commit(proof, Some(Mode::from_bits(0o640)))
    }

    #[test]
    fn a_committed_file_has_its_bytes_time_and_mode_and_nothing_is_left_beside_it() {
        let (dir, root) = scratch();
        fs::write(dir.path().join("a"), "old").unwrap();
        store(&root, "a", Replace::Always, 1_000_000_000, b"new").unwrap();
        let metadata = fs::metadata(dir.path().join("a")).unwrap();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"new");
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 5));
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn until_the_commit_the_target_keeps_what_it_had() {
        let (dir, root) = scratch();
        fs::write(dir.path().join("a"), "old").unwrap();
        let mut stage = root.stage(&"a".parse().unwrap(), Replace::Always, None).unwrap();
        stage.write_all(b"half").unwrap();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"old");
        stage.discard();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn proof_of_other_bytes_commits_nothing() {
        let (dir, root) = scratch();
        let mut stage = root.stage(&"a".parse().unwrap(), Replace::Always, None).unwrap();
        stage.write_all(b"these").unwrap();
        let other = verified(b"those bytes", &mut io::sink());
        assert_eq!(stage.commit(other, None).unwrap_err().code, Code::Internal);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn replacing_is_as_asked() {
        let (dir, root) = scratch();
        let code = |outcome: Outcome<()>| outcome.err().map(|refusal| refusal.code);
        assert_eq!(code(store(&root, "a", Replace::Never, 100, b"1")), None);
        assert_eq!(code(store(&root, "a", Replace::Never, 100, b"2")), Some(Code::Exists));
        assert_eq!(code(store(&root, "a", Replace::Older, 100, b"3")), Some(Code::NotNewer));
        assert_eq!(code(store(&root, "a", Replace::Older, 101, b"4")), None);
        fs::create_dir(dir.path().join("d")).unwrap();
        assert_eq!(code(store(&root, "d", Replace::Always, 100, b"5")), Some(Code::IsDirectory));
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"4");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_target_that_appears_after_the_stage_began_is_not_replaced_where_none_may_be() {
        let (dir, root) = scratch();
        let mut stage = root.stage(&"a".parse().unwrap(), Replace::Never, None).unwrap();
        let proof = verified(b"late", &mut stage);
        fs::write(dir.path().join("a"), "early").unwrap();
        assert_eq!(stage.commit(proof, None).unwrap_err().code, Code::Exists);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"early");
    }
}
