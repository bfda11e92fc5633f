//! The users file: TOML, one table a user, readable by its owner alone. Whatever is wrong with it, nobody logs in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::num::{NonZeroU16, NonZeroU64};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ftpish_protocol::message::Mode;
use ftpish_protocol::{PublicKey, RemotePath};
use ftpish_storage::{ModePolicy, Quota};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml_edit::Document;

use super::password::is_hash;
use super::{Right, Rights};

/// How long a user's name may be.
const MAX_NAME: usize = 64;

/// The least bandwidth. Clients give up on a server that moves less than 16 KiB in 30 seconds, and some have several
/// connections.
const MIN_BANDWIDTH: u64 = 16 * 1024;

/// One account.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The hash of the password, as [`hash`](super::hash) makes it. Without it and without keys the user cannot log in.
    #[serde(default)]
    pub password: Option<String>,
    /// The keys that log in, too: lines as in OpenSSH's `authorized_keys`, without its options.
    #[serde(default, deserialize_with = "keys")]
    pub keys: Vec<PublicKey>,
    /// What the user may do; everything where absent.
    #[serde(default)]
    pub rights: Option<Vec<Right>>,
    /// What the user may do below some directories instead.
    #[serde(default)]
    pub paths: BTreeMap<String, Vec<Right>>,
    /// The directory that is served to the user: below the server's, or, if absolute, apart from it. The server's own
    /// where absent.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// How many connections the user may have at a time.
    #[serde(default)]
    pub connections: Option<NonZeroU16>,
    /// How many bytes a second all connections of the user move together, in both directions together.
    #[serde(default)]
    pub bandwidth: Option<u64>,
    /// How many bytes may lie in the user's root, whoever put them there, partial files included.
    #[serde(default)]
    pub quota_bytes: Option<NonZeroU64>,
    /// How many names may lie there: files, links and directories.
    #[serde(default)]
    pub quota_files: Option<NonZeroU64>,
    /// Permission bits that nothing gets which the user makes, in octal, as `umask` takes them; beside the server's own.
    #[serde(default)]
    pub umask: Option<Mode>,
    /// Permission bits that every new file of the user gets; the server's own where absent.
    #[serde(default)]
    pub force_mode: Option<Mode>,
    /// Permission bits that every new directory of the user gets; the server's own where absent.
    #[serde(default)]
    pub force_dir_mode: Option<Mode>,
}

impl User {
    /// A user who may do everything.
    pub fn new(password: String) -> Self {
        Self {
            password: Some(password),
            keys: Vec::new(),
            rights: None,
            paths: BTreeMap::new(),
            root: None,
            connections: None,
            bandwidth: None,
            quota_bytes: None,
            quota_files: None,
            umask: None,
            force_mode: None,
            force_dir_mode: None,
        }
    }

    /// What permission bits the user's files have, where those of others are as `server` says.
    pub(super) fn modes(&self, server: ModePolicy) -> ModePolicy {
        let umask = server.umask.bits() | self.umask.map_or(0, Mode::bits);
        ModePolicy {
            umask: Mode::from_bits(umask),
            force_file: self.force_mode.unwrap_or(server.force_file),
            force_dir: self.force_dir_mode.unwrap_or(server.force_dir),
        }
    }

    /// How much may lie in the user's root.
    pub fn quota(&self) -> Quota {
        Quota { bytes: self.quota_bytes, names: self.quota_files }
    }

    /// All that logs the user in. What was got for one of them is worth nothing once they are others.
    pub(super) fn proofs(&self) -> String {
        let keys = self.keys.iter().map(ToString::to_string);
        self.password.iter().cloned().chain(keys).collect::<Vec<_>>().join("\n")
    }

    /// What the user may do.
    pub fn rights(&self) -> Rights {
        let below = self.paths.iter().filter_map(|(path, rights)| Some((directory(path)?, rights.clone())));
        Rights::new(self.rights.as_deref().unwrap_or(&Rights::ALL), below.collect())
    }
}

/// Keys in their lines.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PublicKey>, D::Error> {
    let lines = Vec::<String>::deserialize(deserializer)?;
    lines.iter().map(|line| line.parse()).collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// The directory below the served root that a relative `root` of a user means.
pub(super) fn below(root: &Path) -> Option<RemotePath> {
    root.to_str().filter(|text| !text.is_empty()).and_then(directory)
}

/// The directory that a key of `paths` means; both `/a` and `a` are below the served root.
fn directory(text: &str) -> Option<RemotePath> {
    RemotePath::root().resolve(text.as_bytes()).ok()
}

/// All accounts of a file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Users(BTreeMap<String, User>);

impl Users {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        Self::parse(&read(path)?).map_err(|why| UsersError::Bad { path: path.to_owned(), why })
    }

    /// What a file with this text says, or why it is no users file.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The parser's own words would quote the line, and that may hold a password typed in the wrong place.
        let users: Self = toml_edit::de::from_str(text).map_err(|error: toml_edit::de::Error| {
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line} does not belong there")
        })?;
        // serde takes a list for a struct, too, its values in the order of the fields.
        let document = Document::parse(text).map_err(|_| "it is no TOML".to_owned())?;
        if document.iter().any(|(_, user)| !user.is_table_like()) {
            return Err("a user is a table".to_owned());
        }
        for (name, user) in &users.0 {
            if !is_name(name) {
                return Err("a user's name is 1 to 64 letters, digits, `.`, `_`, `-` or `@`".to_owned());
            }
            if user.password.as_deref().is_some_and(|line| !is_hash(line)) {
                return Err(format!("the password of `{name}` is no hash that `ftpish user passwd` makes"));
            }
            if user.root.as_deref().is_some_and(|root| !root.is_absolute() && below(root).is_none()) {
                return Err(format!("the root of `{name}` is no directory below the server's"));
            }
            if user.bandwidth.is_some_and(|bytes| bytes < MIN_BANDWIDTH) {
                return Err(format!("the bandwidth of `{name}` is less than {MIN_BANDWIDTH} bytes a second"));
            }
            let mut seen = BTreeSet::new();
            for path in user.paths.keys() {
                let Some(path) = directory(path) else { return Err(format!("a path of `{name}` is none")) };
                // `a` and `/a` are the same: which of the two holds would be chance.
                if !seen.insert(path.as_bytes().to_vec()) {
                    return Err(format!("a path of `{name}` stands there twice"));
                }
            }
        }
        Ok(users)
    }

    /// The account of that name.
    pub fn find(&self, name: &str) -> Option<&User> {
        self.0.get(name)
    }

    /// Adds an account; `false` where the name is none, or taken.
    pub fn add(&mut self, name: &str, user: User) -> bool {
        let new = is_name(name) && !self.0.contains_key(name);
        if new {
            self.0.insert(name.to_owned(), user);
        }
        new
    }

    /// The directories apart from the server's that are served to users.
    pub fn roots_apart(&self) -> impl Iterator<Item = &Path> {
        self.0.values().filter_map(|user| user.root.as_deref()).filter(|root| root.is_absolute())
    }

    /// Whether anybody has a quota.
    pub(super) fn have_quotas(&self) -> bool {
        self.0.values().any(|user| !user.quota().is_none())
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The text of the file at `path`, which is its owner's alone.
#[expect(clippy::disallowed_methods, reason = "the users file is no part of what is served")]
pub(super) fn read(path: &Path) -> Result<String, UsersError> {
    let at = |error| UsersError::File { what: "read", path: path.to_owned(), error };
    // The mode is asked of the file that is then read, whatever the name means meanwhile.
    let mut file = std::fs::File::open(path).map_err(at)?;
    let metadata = file.metadata().map_err(at)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(UsersError::Open { path: path.to_owned() });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(at)?;
    Ok(text)
}

pub(super) fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Why there are no [`Users`].
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Somebody else has changed the file since it was opened.
    #[error("somebody has changed the users file `{}` meanwhile: try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system said no.
    #[error("cannot {what} the users file `{}`: {error}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Others may read or write it.
    #[error("the users file `{}` is open to others: chmod 600 it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It does not say what accounts there are.
    #[error("the users file `{}` cannot be used: {why}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never the text itself.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_file_is_refused_and_never_quoted() {
        for bad in [
            "[me]\npassword = \"hunter2\"\n",
            "[me]\npassword = \"\"\n",
            "[me]\npassword = hunter2\n",
            "me = []\n",
            "me = [\"hunter2\"]\n",
            "[[me]]\npassword = \"hunter2\"\n",
            "[me]\npasswd = \"hunter2\"\n",
            "[me]\nrights = [\"hunter2\"]\n",
            "[\"a b\"]\n",
            "[me.paths]\n\"../hunter2\" = []\n",
            "[me]\nkeys = \"hunter2\"\n",
            "[me]\nkeys = [\"ssh-ed25519 hunter2\"]\n",
            "[me]\nroot = \"../hunter2\"\n",
            "[me]\nroot = \"\"\n",
            "[me]\nroot = [\"hunter2\"]\n",
            "[me]\nconnections = 0\n",
            "[me]\nconnections = -1\n",
            "[me]\nconnections = \"hunter2\"\n",
            "[me]\nbandwidth = 16383\n",
            "[me]\nbandwidth = 1e6\n",
            "[me]\nbandwidth = -100000\n",
            "[me]\nquota_bytes = 0\n",
            "[me]\nquota_bytes = \"10G\"\n",
            "[me]\nquota_bytes = 9223372036854775808\n",
            "[me]\nquota_files = 0\n",
            "[me]\nquota_files = -1\n",
        ] {
            let why = Users::parse(bad).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn two_spellings_of_one_directory_are_refused() {
        assert!(Users::parse("[me.paths]\n\"a/b\" = []\n\"/a\" = []\n").is_ok());
        for same in ["a", "/a/", "./a", "b/../a"] {
            let why = Users::parse(&format!("[me.paths]\n\"/a\" = []\n\"{same}\" = [\"list\"]\n"));
            assert_eq!(why.unwrap_err(), "a path of `me` stands there twice", "{same}");
        }
    }
}
