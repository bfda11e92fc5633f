//! What is there: described, listed, or opened to be read.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use cap_std::fs::{Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use ftpish_protocol::message::{Entry, Kind, LinkTarget, Mode, Space};
use ftpish_protocol::{Code, Name, RemotePath};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Root;
use crate::dir::os_path;
use crate::partial::is_partial;
use crate::source::refuse_to_open;
use crate::without_links::refuse_link;
use crate::{Identity, Outcome, SourceFile, mtime, refuse};

impl Root {
    /// Describes what `path` names; a link itself, not what it points at.
    pub fn stat(&self, path: &RemotePath) -> Outcome<Entry> {
        let (dir, at) = self.locate(path)?;
        let metadata = dir.symlink_metadata(&at).map_err(refuse)?;
        let target = link_target(&metadata, || dir.read_link_contents(&at)).map_err(refuse)?;
        Ok(entry(path.name(), &metadata, target))
    }

    /// What tells the file, or the link, that has a name from others.
    pub fn identity(&self, path: &RemotePath) -> Outcome<Identity> {
        let (dir, at) = self.locate(path)?;
        Ok(Identity::of(&dir.symlink_metadata(at).map_err(refuse)?))
    }

    /// The entries of a directory, as they come; partial files are left out, and so is what disappears meanwhile.
    pub fn list(&self, path: &RemotePath) -> Outcome<impl Iterator<Item = io::Result<Entry>> + use<>> {
        let dir = self.open_dir_to_read(path)?;
        let entries = dir.entries().map_err(refuse)?;
        Ok(entries.filter_map(move |found| {
            let listed = found.and_then(|found| {
                let file_name = found.file_name();
                if is_partial(file_name.as_bytes()) {
                    return Ok(None);
                }
                let name = Name::parse(file_name.as_bytes()).map_err(io::Error::other)?;
                let metadata = found.metadata()?;
                let target = link_target(&metadata, || dir.read_link_contents(&file_name))?;
                Ok(Some(entry(Some(name), &metadata, target)))
            });
            match listed {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => None,
                listed => listed.transpose(),
            }
        }))
    }

    /// Opens a regular file to read, through links that stay inside.
    pub fn open_file(&self, path: &RemotePath) -> Outcome<SourceFile> {
        if !self.follows_links {
            let (dir, at) = self.locate(path)?;
            let wanted = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let flags = wanted | OFlags::from_bits_retain(SourceFile::OPEN_FLAGS.cast_unsigned());
            let file = rustix::fs::openat(&*dir, at, flags, rustix::fs::Mode::empty()).map_err(|error| {
                if error == Errno::LOOP { refuse_link(error) } else { refuse_to_open(error.into()) }
            })?;
            return SourceFile::new(file.into());
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(SourceFile::OPEN_FLAGS);
        let file = self.dir.open_with(os_path(path), &options).map_err(refuse_to_open)?;
        SourceFile::new(file.into_std())
    }

    /// The space of the file system that holds `path`; where there is a quota, of that and what is left of it, as far as
    /// the file system has it.
    pub fn space(&self, path: &RemotePath) -> Outcome<Space> {
        let dir = match self.open_dir(path) {
            Err(refusal) if refusal.code == Code::NotDirectory => self.parent_of(path)?.0,
            opened => opened?,
        };
        let stat = rustix::fs::fstatvfs(&*dir).map_err(refuse)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let disk =
            Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bfree), available: bytes(stat.f_bavail) };
        let bound = self.bound.as_ref().and_then(|bound| Some((bound, bound.quota().bytes?.get())));
        let Some((bound, most)) = bound else { return Ok(disk) };
        let left = u64::try_from(u128::from(most).saturating_sub(bound.used()?)).unwrap_or(most);
        let Space { total, free, available } = disk;
        Ok(Space { total: total.min(most), free: free.min(left), available: available.min(left) })
    }
}

fn link_target(
    metadata: &Metadata,
    read_link: impl FnOnce() -> io::Result<PathBuf>,
) -> io::Result<Option<Vec<u8>>> {
    if metadata.is_symlink() {
        return Ok(Some(read_link()?.into_os_string().into_encoded_bytes()));
    }
    Ok(None)
}

/// Describes what is there; `target` is what a link holds.
pub(crate) fn entry(name: Option<Name>, metadata: &Metadata, target: Option<Vec<u8>>) -> Entry {
    let file_type = metadata.file_type();
    let kind = if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Dir
    } else if file_type.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    };
    let (size, mode) = (metadata.len(), Mode::from_bits(metadata.mode()));
    Entry { name, kind, size, mtime: mtime(metadata), mode, target: target.map(LinkTarget) }
}
