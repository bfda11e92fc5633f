//! Walks that stay on one mount.

use std::ffi::OsStr;
use std::io;

use cap_std::fs::{Dir, MetadataExt as _};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

use super::Walk;

impl Walk {
    /// Stays on the mount of the top. A mount point is reported as one, with
    /// [`Node::mount`](ftpish_protocol::message::Node::mount), and not walked into. Links that are followed may still lead
    /// to other mounts.
    #[must_use]
    pub fn on_one_mount(self) -> Self {
        let top = self.root.open_dir_to_read(&self.top).ok();
        let mount = top.and_then(|top| mount_of(&top, OsStr::new(".")).ok());
        // If the mount of the top is not known, everything below is on another one: no mount has the number 0.
        Self { mount: Some(mount.unwrap_or(0)), ..self }
    }
}

/// The number of the mount that a name is on. Bind mounts have numbers of their own (statx(2), since Linux 5.8). On older
/// kernels and other systems this is the device.
pub(super) fn mount_of(dir: &Dir, name: &OsStr) -> io::Result<u64> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, StatxFlags, statx};

        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match statx(dir, name, flags, StatxFlags::MNT_ID) {
            Ok(found) if found.stx_mask & StatxFlags::MNT_ID.bits() != 0 => return Ok(found.stx_mnt_id),
            Ok(_) | Err(Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dir.symlink_metadata(name)?.dev())
}
