//! The users file, changed as a person would change it: comments, order and spelling of all the rest stay.

use std::path::{Path, PathBuf};

use ftpish_protocol::PublicKey;
use ftpish_storage::Edit;
use toml_edit::{Array, Document, DocumentMut, Item, Key, Value, value};

use super::users::{is_name, read};
use super::{Users, UsersError};

/// A users file, to be changed and written.
#[derive(Debug)]
pub struct UsersFile {
    path: PathBuf,
    /// What was there; nothing where there was no file.
    before: String,
    text: DocumentMut,
}

impl UsersFile {
    /// An empty file, which is to be at `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), before: String::new(), text: DocumentMut::new() }
    }

    /// The file at `path`, which is one that [`Users::load`] takes.
    pub fn open(path: &Path) -> Result<Self, UsersError> {
        Self::parse(path, &read(path)?)
    }

    /// A file with this text, which is to be at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, UsersError> {
        let bad = |why| UsersError::Bad { path: path.to_owned(), why };
        Users::parse(text).map_err(bad)?;
        let before = text.to_owned();
        let text = text.parse().map_err(|_| bad("it is no TOML".to_owned()))?;
        Ok(Self { path: path.to_owned(), before, text })
    }

    /// The text as it is now.
    pub fn text(&self) -> String {
        self.text.to_string()
    }

    /// Whether there is such a user.
    pub fn has(&self, name: &str) -> bool {
        self.text.contains_key(name)
    }

    /// Gives a user this hash of a password; a new one where there is none of that name. `false` where that is no name.
    pub fn set_password(&mut self, name: &str, hash: &str) -> bool {
        let Some(user) = self.text.get_mut(name) else {
            return self.append(name, &format!("password = {}", value(hash)));
        };
        let mut password = Value::from(hash);
        if let Some(old) = user.get("password").and_then(Item::as_value) {
            *password.decor_mut() = old.decor().clone();
        }
        user["password"] = Item::Value(password);
        true
    }

    /// Lets a user log in by this key, too; a new one where there is none of that name. `false` where that is no name.
    pub fn add_key(&mut self, name: &str, key: &PublicKey) -> bool {
        let line = key.to_string();
        let Some(user) = self.text.get_mut(name) else {
            return self.append(name, &format!("keys = {}", value(Array::from_iter([line]))));
        };
        match user.get_mut("keys").and_then(Item::as_array_mut) {
            Some(keys) if keys.iter().any(|known| known.as_str() == Some(&line)) => {}
            Some(keys) => keys.push(line),
            None => user["keys"] = value(Array::from_iter([line])),
        }
        true
    }

    /// Adds a user of whom one line is known, behind all that is there, comments too. `false` where that is no name.
    fn append(&mut self, name: &str, line: &str) -> bool {
        if !is_name(name) {
            return false;
        }
        let mut text = self.text();
        let apart = if text.is_empty() {
            ""
        } else if text.ends_with('\n') {
            "\n"
        } else {
            "\n\n"
        };
        text += &format!("{apart}[{}]\n{line}\n", Key::new(name));
        text.parse().map(|text| self.text = text).is_ok()
    }

    /// Removes a user, and the comment right above; `false` where there is none. What a blank line keeps apart from that
    /// is about others, and stays.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.text();
        let above = Document::parse(before.as_str()).ok().and_then(|text| header(text.get(name)?));
        let removed = self.text.remove(name).is_some();
        if let Some(header) = above {
            let start = comments_above(&before[..header]);
            let kept = before[start..header].rfind("\n\n").map_or(start, |blank| start + blank + 1);
            // All that stands before it is as it was.
            let mut after = self.text();
            after.insert_str(start, &before[start..kept]);
            self.text = after.parse().unwrap_or(std::mem::take(&mut self.text));
        }
        removed
    }

    /// Writes the file anew, whole or not at all; a new one for its owner alone. It must be as it was when it was opened: a
    /// password is typed in between.
    pub fn save(&mut self) -> Result<(), UsersError> {
        let at = |error| UsersError::File { what: "write", path: self.path.clone(), error };
        let edit = Edit::begin(&self.path).map_err(at)?;
        if edit.text() != self.before {
            return Err(UsersError::Changed { path: self.path.clone() });
        }
        let text = self.text();
        edit.finish(&text).map_err(at)?;
        self.before = text;
        Ok(())
    }
}

/// Where the first line like `[ada]` or `[ada.paths]` of a user begins; `None` where there is none.
fn header(user: &Item) -> Option<usize> {
    let own = user.as_table()?;
    let inner = own.iter().filter_map(|(_, item)| item.as_table());
    let headers = inner.chain([own]).filter(|table| table.position().is_some());
    headers.filter_map(|table| Some(table.span()?.start)).min()
}

/// Where the comments and blank lines begin that `text` ends in.
fn comments_above(text: &str) -> usize {
    let is_comment = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let above = text.split_inclusive('\n').rev().take_while(is_comment);
    text.len() - above.map(str::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn hash() -> String {
        super::super::hash(&ftpish_protocol::Secret::new("open sesame".to_owned())).unwrap()
    }

    #[test]
    fn comments_and_order_stay_whatever_is_changed() {
        let (one, two) = (hash(), hash());
        let kept = format!(
            "# Who may log in.\n\n[zoe] # the owner\npassword = \"{one}\" # from her\nrights = [ \"list\",\n  \"read\" ]\n\n\
             # Only what arrives.\n[zoe.paths]\n'/in' = [\"write\"]\n\n[guest]\n# rights = []\n"
        );
        let mut file = UsersFile::parse(Path::new("users.toml"), &kept).unwrap();
        assert!(file.set_password("ada", &one) && !file.set_password("a b", &one));
        assert_eq!(file.text(), format!("{kept}\n[ada]\npassword = \"{one}\"\n"));
        assert!(file.remove("ada") && !file.remove("ada"));
        assert_eq!(file.text(), kept);
        assert!(file.has("zoe") && file.set_password("zoe", &two));
        assert_eq!(file.text(), kept.replace(&one, &two));
        assert!(file.remove("guest") && file.set_password("zoe", &one));
        assert_eq!(file.text(), kept.replace("\n[guest]\n", "").replace(&two, &one));
        assert!(file.remove("zoe"));
        assert_eq!(file.text(), "# Who may log in.\n# rights = []\n");
    }

    #[test]
    fn a_user_is_changed_in_whatever_way_it_is_written() {
        let hash = hash();
        for text in ["ada.rights = []\n", "ada = { rights = [] }\n", "[ada.paths]\n", "\"ada\" = {}"] {
            let mut file = UsersFile::parse(Path::new("users.toml"), text).unwrap();
            let before = Users::parse(text).unwrap();
            assert!(file.set_password("ada", &hash));
            let after = Users::parse(&file.text()).unwrap();
            let mut expected = before.find("ada").unwrap().clone();
            expected.password = Some(hash.clone());
            assert_eq!(after.find("ada"), Some(&expected), "{text}");
            assert!(file.remove("ada") && Users::parse(&file.text()).unwrap() == Users::default());
        }
    }

    #[test]
    fn keys_are_added_and_never_twice() {
        let [one, two] =
            [include_str!("../../../../fixtures/keys/plain.pub").parse::<PublicKey>().unwrap(), {
                ftpish_protocol::PrivateKey::generate("two").unwrap().public()
            }];
        for text in ["ada = {}\n", "[ada]\nkeys = [ # hers\n]\n", ""] {
            let mut file = UsersFile::parse(Path::new("users.toml"), text).unwrap();
            for key in [&one, &two, &one] {
                assert!(file.add_key("ada", key));
            }
            let keys = Users::parse(&file.text()).unwrap().find("ada").unwrap().keys.clone();
            assert_eq!(keys, [one.clone(), two.clone()], "{text}");
        }
        assert!(!UsersFile::new(Path::new("users.toml")).add_key("a b", &one));
    }

    #[test]
    fn a_file_is_written_for_its_owner_alone_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let mut file = UsersFile::new(&path);
        assert!(file.set_password("me", &hash()));
        file.save().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Users::load(&path).unwrap().names().collect::<Vec<_>>(), ["me"]);
        // Of two who change it at the same time, the second is told.
        let mut other = UsersFile::open(&path).unwrap();
        assert!(file.set_password("you", &hash()) && other.set_password("us", &hash()));
        other.save().unwrap();
        assert!(matches!(file.save(), Err(UsersError::Changed { .. })));
        assert_eq!(Users::load(&path).unwrap().names().collect::<Vec<_>>(), ["me", "us"]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Users::load(&path), Err(UsersError::Open { .. })));
        assert!(matches!(UsersFile::open(&path), Err(UsersError::Open { .. })));
    }
}
