//! What a directory holds, and how files are described: kinds, times, permission bits.

use serde::{Deserialize, Deserializer, Serialize};

use crate::path::{deserialize_bytes, serialize_bytes};
use crate::{Digest, MAX_PATH, Name, Refusal, RemotePath};

/// One name in a directory, and what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The name; `None` for the root itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// What kind of thing it is.
    pub kind: Kind,
    /// A file's size in bytes; for anything else what its file system says.
    pub size: u64,
    /// When it was last modified.
    pub mtime: Time,
    /// Its permission bits.
    pub mode: Mode,
    /// Where a link points, as it is written there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<LinkTarget>,
}

/// One thing in a tree, as a walk meets it: what it is and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its path below the top of the tree, which itself is [the root](RemotePath::root).
    pub path: RemotePath,
    /// What kind of thing it is.
    pub kind: Kind,
    /// A file's size in bytes; for anything else what its file system says.
    pub size: u64,
    /// When it was last modified.
    pub mtime: Time,
    /// Its permission bits.
    pub mode: Mode,
    /// Where a link points, as it is written there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<LinkTarget>,
    /// The path of the first name that was told of this very file, where it has several (hard links).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same: Option<RemotePath>,
    /// The digest of a regular file, where it was asked for and is told: of some it never is, so that nobody waits long for
    /// a listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Why nothing, or not all, of what is in a directory follows; or why a link is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
    /// Whether another file system is mounted here, or something of the same one; then nothing in it follows. Told where that was
    /// asked for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mount: bool,
}

impl Node {
    /// Something of which no more is known than that it is there.
    pub fn new(path: RemotePath, kind: Kind) -> Self {
        Self {
            path,
            kind,
            size: 0,
            mtime: Time { seconds: 0, nanoseconds: 0 },
            mode: Mode::from_bits(0),
            target: None,
            same: None,
            digest: None,
            error: None,
            mount: false,
        }
    }
}

pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

/// What a symbolic link holds: any bytes, at most [`MAX_PATH`]. The wire form is a name's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkTarget(
    #[serde(serialize_with = "serialize_bytes", deserialize_with = "deserialize_target")] pub Vec<u8>,
);

/// Whoever sorts a listing holds its entries, and their number times this is what a lying server can make of them.
fn deserialize_target<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let target = deserialize_bytes(deserializer)?;
    if target.len() > MAX_PATH {
        return Err(serde::de::Error::custom("no link holds that much"));
    }
    Ok(target)
}

/// The kinds of things that directories hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A fifo, a socket or a device: listed, and refused by all else.
    #[serde(other)]
    Other,
}

/// A moment: `[seconds, nanoseconds]` since 1970-01-01 00:00 UTC. Nanoseconds count forward and are below 10⁹,
/// before 1970 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(i64, u32)", into = "(i64, u32)")]
pub struct Time {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// The rest.
    pub nanoseconds: u32,
}

/// How finely file systems keep times that do not keep nanoseconds, in these: NTFS 100 ns, many network and FUSE file systems
/// 1 µs or 1 ms, exFAT 10 ms, and the oldest a second.
const GRANULARITIES: [u32; 5] = [100, 1_000, 1_000_000, 10_000_000, 1_000_000_000];

impl Time {
    /// Whether two times are the same, as far as file systems keep them: one may be the other, cut to what a disk keeps.
    pub fn is_same(self, other: Self) -> bool {
        let (a, b) = (self.nanoseconds, other.nanoseconds);
        let is_cut = |granularity| a - a % granularity == b || b - b % granularity == a;
        self.seconds == other.seconds && (a == b || GRANULARITIES.into_iter().any(is_cut))
    }

    /// Whether one may be the other as FAT keeps it, to two seconds. Two times that a file had one after the other can be that
    /// close, too.
    pub fn is_near(self, other: Self) -> bool {
        let (first, last) = (self.min(other), self.max(other));
        let apart = last.seconds.saturating_sub(first.seconds);
        let is_even = |time: Self| time.seconds % 2 == 0 && time.nanoseconds == 0;
        let is_within = apart < 2 || apart == 2 && last.nanoseconds < first.nanoseconds;
        self.is_same(other) || is_within && (is_even(self) || is_even(other))
    }

    /// Whether every file system can keep it: FAT begins with 1980, and some end with what 32 bits count.
    pub fn is_in_range(self) -> bool {
        (315_619_200..i64::from(i32::MAX)).contains(&self.seconds)
    }
}

impl TryFrom<(i64, u32)> for Time {
    type Error = &'static str;

    fn try_from((seconds, nanoseconds): (i64, u32)) -> Result<Self, Self::Error> {
        if nanoseconds < 1_000_000_000 {
            Ok(Self { seconds, nanoseconds })
        } else {
            Err("a time has fewer than 1000000000 nanoseconds")
        }
    }
}

impl From<Time> for (i64, u32) {
    fn from(time: Time) -> Self {
        (time.seconds, time.nanoseconds)
    }
}

/// Permission bits, `rwxrwxrwx`; never setuid, setgid or sticky. Written in octal, as `chmod` takes them: `"644"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(u32);

impl Mode {
    /// The permission bits of a Unix `st_mode`; all others are dropped.
    pub fn from_bits(mode: u32) -> Self {
        Self(mode & 0o777)
    }

    /// The permission bits, at most `0o777`.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for Mode {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let octal = (1..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        if !octal {
            return Err("a mode is one to four octal digits");
        }
        u32::from_str_radix(&text, 8).map(Self::from_bits).map_err(|_| "a mode is octal")
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        format!("{:03o}", mode.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_same_when_a_disk_has_cut_it() {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let exact = time(7, 123_456_789);
        for kept in [123_456_789, 123_456_700, 123_456_000, 123_000_000, 120_000_000, 0] {
            assert!(exact.is_same(time(7, kept)) && time(7, kept).is_same(exact), "{kept}");
            assert!(!exact.is_same(time(8, kept)), "{kept}");
        }
        for other in [123_456_788, 123_456_800, 123_400_000, 100_000_000, 999_999_999] {
            assert!(!exact.is_same(time(7, other)) && !time(7, other).is_same(exact), "{other}");
        }
    }

    #[test]
    fn a_time_is_near_when_fat_may_have_cut_it() {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        for (exact, kept) in [
            (time(7, 1), time(6, 0)),
            (time(7, 999_999_999), time(6, 0)),
            (time(7, 0), time(6, 0)),
            (time(6, 1), time(8, 0)),
            (time(-1, 0), time(-2, 0)),
            (time(7, 5), time(7, 5)),
        ] {
            assert!(exact.is_near(kept) && kept.is_near(exact), "{exact:?} {kept:?}");
        }
        for (one, other) in [
            (time(8, 0), time(6, 0)),
            (time(8, 1), time(6, 0)),
            (time(7, 1), time(6, 1)),
            (time(7, 0), time(9, 0)),
            (time(i64::MAX, 0), time(i64::MIN, 0)),
        ] {
            assert!(!one.is_near(other) && !other.is_near(one), "{one:?} {other:?}");
        }
    }

    #[test]
    fn times_and_modes_have_one_form() {
        assert_eq!(
            serde_json::from_str::<Time>("[-1,999999999]").unwrap(),
            Time { seconds: -1, nanoseconds: 999_999_999 }
        );
        assert!(serde_json::from_str::<Time>("[0,1000000000]").is_err());
        assert_eq!(serde_json::from_str::<Mode>(r#""4755""#).unwrap().bits(), 0o755, "setuid is dropped");
        assert_eq!(serde_json::to_string(&Mode::from_bits(0o100_007)).unwrap(), r#""007""#);
        for bad in [r#""""#, r#""888""#, r#""+644""#, r#""00644""#, "420"] {
            assert!(serde_json::from_str::<Mode>(bad).is_err(), "{bad}");
        }
    }
}
