//! The permission bits of what is stored. As with cp(1), and rsync(1) without `--perms`, a new name gets the sender's bits as
//! far as this side lets new names have them: under its umask, or the default ACL of the directory. What exists
//! keeps its own. Only the nine bits are ever set: what the system gives beside them (setgid, a group, an ACL) stays.

use std::os::fd::AsFd;

use cap_std::fs::Dir;
use ftpish_protocol::message::Mode;
use rustix::fs::OFlags;

/// The permission bits that a sender names, and how they are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permissions {
    /// None were named. A new file gets those of any new file, an existing one keeps its own.
    #[default]
    Usual,
    /// Those of a new file, as far as its directory and the umask permit; an existing one keeps its own.
    New(Mode),
    /// These, whatever was there, and whatever the umask says.
    Exact(Mode),
}

impl Permissions {
    /// As a message names them.
    pub fn named(mode: Option<Mode>, exact: bool) -> Self {
        match mode {
            None => Self::Usual,
            Some(mode) if exact => Self::Exact(mode),
            Some(mode) => Self::New(mode),
        }
    }

    /// Whether a file that is replaced passes its own on.
    pub(crate) fn yield_to_existing(self) -> bool {
        !matches!(self, Self::Exact(_))
    }
}

/// What whoever serves a directory has decided about permission bits in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModePolicy {
    /// Bits that nothing here gets, be they named exactly.
    pub umask: Mode,
    /// Bits that every new file gets.
    pub force_file: Mode,
    /// Bits that every new directory gets.
    pub force_dir: Mode,
}

impl Default for ModePolicy {
    /// Nothing is forbidden or forced.
    fn default() -> Self {
        let none = Mode::from_bits(0);
        Self { umask: none, force_file: none, force_dir: none }
    }
}

impl ModePolicy {
    /// What a file gets that is to have `bits`.
    pub(crate) fn of_file(self, bits: u32) -> u32 {
        bits & !self.umask.bits() | self.force_file.bits()
    }

    /// What a directory gets that is to have `bits`.
    pub(crate) fn of_dir(self, bits: u32) -> u32 {
        bits & !self.umask.bits() | self.force_dir.bits()
    }
}

/// The most bits that a new name in `dir` can have: by the default ACL there, or else by the umask of this process.
pub(crate) fn of_new_names(dir: &Dir) -> u32 {
    default_acl(dir).unwrap_or_else(|| 0o777 & !umask())
}

/// What a default ACL permits: `None` where there is none. Its mask, if it has one, stands for the group's bits (acl(5),
/// "Object creation and default ACLs").
#[cfg(target_os = "linux")]
fn default_acl(dir: &Dir) -> Option<u32> {
    const NAME: &str = "system.posix_acl_default";
    // The kernel's `struct posix_acl_xattr_header` and `posix_acl_xattr_entry` (linux/posix_acl_xattr.h).
    const VERSION: u32 = 2;
    const ENTRY: usize = 8;
    const USER: u16 = 0x01;
    const GROUP: u16 = 0x04;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;

    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir.as_fd(), ".", flags, rustix::fs::Mode::empty()).ok()?;
    let mut value = [0; 4 + 64 * ENTRY];
    let length = rustix::fs::fgetxattr(&opened, NAME, &mut value[..]).ok()?;
    let (version, entries) = value[..length].split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION {
        return None;
    }
    let (mut user, mut group, mut mask, mut other) = (0, 0, None, 0);
    for entry in entries.chunks_exact(ENTRY) {
        let (tag, bits) =
            (u16::from_le_bytes([entry[0], entry[1]]), u16::from_le_bytes([entry[2], entry[3]]));
        let bits = u32::from(bits) & 7;
        match tag {
            USER => user = bits,
            GROUP => group = bits,
            MASK => mask = Some(bits),
            OTHER => other = bits,
            _ => {}
        }
    }
    Some(user << 6 | mask.unwrap_or(group) << 3 | other)
}

#[cfg(not(target_os = "linux"))]
fn default_acl(_: &Dir) -> Option<u32> {
    None
}

/// The umask of this process, without a moment in which it is another one (proc(5), since Linux 4.7).
#[cfg(target_os = "linux")]
pub(crate) fn umask() -> u32 {
    use std::sync::LazyLock;

    static UMASK: LazyLock<u32> = LazyLock::new(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o077)
    });
    *UMASK
}

/// The umask of this process, which is another one for a moment: whoever makes a file then, makes it for itself alone.
#[cfg(not(target_os = "linux"))]
pub(crate) fn umask() -> u32 {
    use std::sync::LazyLock;

    static UMASK: LazyLock<u32> = LazyLock::new(|| {
        let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        rustix::process::umask(umask);
        umask.as_raw_mode().into()
    });
    *UMASK
}
