//! The users file: TOML, one table a user, readable by its owner alone. Whatever is wrong with it, nobody logs in.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ftpish_protocol::RemotePath;
use serde::{Deserialize, Serialize};

use super::password::is_hash;
use super::{Right, Rights};

/// How long a user's name may be.
const MAX_NAME: usize = 64;

/// One account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The hash of the password, as [`hash`](super::hash) makes it. Without it the user cannot log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What the user may do; everything where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights: Option<Vec<Right>>,
    /// What the user may do below some directories instead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paths: BTreeMap<String, Vec<Right>>,
}

impl User {
    /// A user who may do everything.
    pub fn new(password: String) -> Self {
        Self { password: Some(password), rights: None, paths: BTreeMap::new() }
    }

    /// What the user may do.
    pub(super) fn rights(&self) -> Rights {
        let below = self.paths.iter().filter_map(|(path, rights)| Some((directory(path)?, rights.clone())));
        Rights::new(self.rights.as_deref().unwrap_or(&Rights::ALL), below.collect())
    }
}

/// The directory that a key of `paths` means; both `/a` and `a` are below the served root.
fn directory(text: &str) -> Option<RemotePath> {
    RemotePath::root().resolve(text.as_bytes()).ok()
}

/// All accounts of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Users(BTreeMap<String, User>);

impl Users {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        let at = |error| UsersError::File { what: "read", path: path.to_owned(), error };
        // The mode is asked of the file that is then read, whatever the name means meanwhile.
        let mut file = std::fs::File::open(path).map_err(at)?;
        let metadata = file.metadata().map_err(at)?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(UsersError::Open { path: path.to_owned() });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(at)?;
        Self::parse(&text).map_err(|why| UsersError::Bad { path: path.to_owned(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The parser's own words would quote the line, and that may hold a password typed in the wrong place.
        let users: Self = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line} does not belong there")
        })?;
        for (name, user) in &users.0 {
            if !is_name(name) {
                return Err("a user's name is 1 to 64 letters, digits, `.`, `_`, `-` or `@`".to_owned());
            }
            if user.password.as_deref().is_some_and(|line| !is_hash(line)) {
                return Err(format!("the password of `{name}` is no hash that `ftpish user passwd` makes"));
            }
            if user.paths.keys().any(|path| directory(path).is_none()) {
                return Err(format!("a path of `{name}` is none"));
            }
        }
        Ok(users)
    }

    /// Writes the file at `path` anew, whole or not at all, for its owner alone.
    pub fn save(&self, path: &Path) -> Result<(), UsersError> {
        let at = |error| UsersError::File { what: "write", path: path.to_owned(), error };
        let text = toml::to_string(self).map_err(|error| at(io::Error::other(error)))?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A new temporary file can be read by its owner alone.
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(at)?;
        file.write_all(text.as_bytes()).map_err(at)?;
        file.as_file().sync_all().map_err(at)?;
        file.persist(path).map_err(|error| at(error.error))?;
        Ok(())
    }

    /// The account of that name.
    pub fn find(&self, name: &str) -> Option<&User> {
        self.0.get(name)
    }

    /// The account of that name, to change it.
    pub fn find_mut(&mut self, name: &str) -> Option<&mut User> {
        self.0.get_mut(name)
    }

    /// Adds an account; `false` where the name is none, or taken.
    pub fn add(&mut self, name: &str, user: User) -> bool {
        let new = is_name(name) && !self.0.contains_key(name);
        if new {
            self.0.insert(name.to_owned(), user);
        }
        new
    }

    /// Removes an account; `false` where there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Why there are no [`Users`].
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
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
            "[me]\npasswd = \"hunter2\"\n",
            "[me]\nrights = [\"hunter2\"]\n",
            "[\"a b\"]\n",
            "[me.paths]\n\"../hunter2\" = []\n",
        ] {
            let why = Users::parse(bad).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_file_is_written_for_its_owner_alone_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let mut users = Users::default();
        let hash = super::super::hash(&ftpish_protocol::Secret::new("open sesame".to_owned())).unwrap();
        assert!(users.add("me", User::new(hash.clone())) && !users.add("me", User::new(hash.clone())));
        assert!(!users.add("a b", User::new(hash)));
        users.save(&path).unwrap();
        assert_eq!(Users::load(&path).unwrap(), users);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Users::load(&path), Err(UsersError::Open { .. })));
    }
}
