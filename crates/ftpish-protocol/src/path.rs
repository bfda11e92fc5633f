//! Paths and names as they travel: bytes, relative, parsed once. A [`RemotePath`] has no `..`, no empty
//! component and no NUL, so code that takes one need not ask. Whether a symbolic link leads out of the root
//! is the server's to see to, at the moment it opens.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::escape;
use crate::{MAX_NAME, MAX_PATH};

/// A path below the server's root, in its one canonical form: components joined by single slashes, none of
/// them `.` or `..`; or `.` for the root itself. Bytes, not text: Unix names need not be UTF-8.
///
/// On the wire it is a JSON string where it is UTF-8, and `{"b64":"…"}` (RFC 4648, section 4) elsewhere.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(Vec<u8>);

impl RemotePath {
    /// The served directory itself.
    pub fn root() -> Self {
        Self(b".".to_vec())
    }

    /// Parses the canonical form, and nothing else: what a peer sent.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes == b"." {
            return Ok(Self::root());
        }
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.len() > MAX_PATH {
            return Err(PathError::TooLong { length: bytes.len(), limit: MAX_PATH });
        }
        if bytes.starts_with(b"/") {
            return Err(PathError::Absolute);
        }
        bytes.split(|b| *b == b'/').try_for_each(check_component)?;
        Ok(Self(bytes.to_vec()))
    }

    /// Reads what a person typed, standing in `self`: a leading `/` means the root, `.` and `..` and doubled
    /// or trailing slashes are resolved, as a shell user expects. Above the root there is nothing.
    pub fn resolve(&self, typed: &[u8]) -> Result<Self, PathError> {
        if typed.is_empty() {
            return Err(PathError::Empty);
        }
        let mut parts: Vec<&[u8]> =
            if typed.starts_with(b"/") { vec![] } else { self.components().collect() };
        for part in typed.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop().ok_or(PathError::AboveRoot)?;
                }
                part => parts.push(part),
            }
        }
        if parts.is_empty() { Ok(Self::root()) } else { Self::parse(&parts.join(&b'/')) }
    }

    /// Whether it is `dir`, or something in it.
    pub fn is_within(&self, dir: &Self) -> bool {
        let mut components = self.components();
        dir.components().all(|component| components.next() == Some(component))
    }

    /// The path's components from the root down; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|part| *part != b".")
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<Name> {
        self.components().last().map(|part| Name(part.to_vec()))
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => Self(self.0[..slash].to_vec()),
            None => Self::root(),
        })
    }

    /// The path of `name` in the directory `self`.
    pub fn join(&self, name: &Name) -> Result<Self, PathError> {
        self.resolve(name.as_bytes())
    }

    /// Whether this is the served directory itself.
    pub fn is_root(&self) -> bool {
        self.0 == b"."
    }

    /// The canonical bytes; `.` for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for RemotePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0).fmt(out)
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RemotePath({self})")
    }
}

impl Serialize for RemotePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_bytes(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for RemotePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&deserialize_bytes(deserializer)?).map_err(de::Error::custom)
    }
}

/// One component of a path: what a directory calls an entry. The same wire form as [`RemotePath`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// Parses one component: not empty, `.` or `..`, without slash or NUL, at most [`MAX_NAME`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.contains(&b'/') {
            return Err(PathError::SlashInName);
        }
        check_component(bytes)?;
        Ok(Self(bytes.to_vec()))
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0).fmt(out)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Name({self})")
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_bytes(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&deserialize_bytes(deserializer)?).map_err(de::Error::custom)
    }
}

/// Why bytes are not a path or a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There are no bytes. The root is written `.`.
    #[error("a path cannot be empty")]
    Empty,
    /// It begins with a slash.
    #[error("a path on the wire is relative to the served root")]
    Absolute,
    /// A component is `.` or `..`, or there are two slashes in a row, or one at the end.
    #[error("a path cannot have the component `{0}`")]
    Component(String),
    /// It has a NUL byte.
    #[error("a path cannot hold a NUL byte")]
    Nul,
    /// A single name has a slash.
    #[error("a name cannot hold a slash")]
    SlashInName,
    /// It, or one component, is longer than the limit.
    #[error("{length} bytes are too long: the limit is {limit}")]
    TooLong {
        /// What it has.
        length: usize,
        /// What it may have.
        limit: usize,
    },
    /// A person typed more `..` than there are directories.
    #[error("`..` leads above the served root")]
    AboveRoot,
}

fn check_component(part: &[u8]) -> Result<(), PathError> {
    match part {
        b"" | b"." | b".." => Err(PathError::Component(String::from_utf8_lossy(part).into_owned())),
        part if part.len() > MAX_NAME => Err(PathError::TooLong { length: part.len(), limit: MAX_NAME }),
        part if part.contains(&0) => Err(PathError::Nul),
        _ => Ok(()),
    }
}

pub(crate) fn serialize_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry("b64", &BASE64.encode(bytes))?;
            map.end()
        }
    }
}

pub(crate) fn deserialize_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_any(BytesVisitor)
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string, or an object with the one field `b64`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.as_bytes().to_vec())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u8>, A::Error> {
        let bytes = match map.next_entry::<String, String>()? {
            Some((key, value)) if key == "b64" => BASE64.decode(value).map_err(de::Error::custom)?,
            _ => return Err(de::Error::missing_field("b64")),
        };
        match map.next_key::<String>()? {
            None => Ok(bytes),
            // Its name is the peer's, and an error's text is shown as it is.
            Some(_) => Err(de::Error::custom("unexpected field beside `b64`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(bytes: &[u8], why: &str) {
        assert_eq!(RemotePath::parse(bytes).unwrap_err().to_string(), why);
    }

    #[track_caller]
    fn resolves(base: &str, typed: &str, to: &str) {
        let base: RemotePath = base.parse().unwrap();
        assert_eq!(base.resolve(typed.as_bytes()).map(|p| p.to_string()), Ok(to.to_owned()));
    }

    #[test]
    fn only_the_canonical_form_is_a_path() {
        for good in [".", "a", "a/b", "...", ".hidden", "a b", "C:", "a\\b"] {
            assert_eq!(good.parse::<RemotePath>().unwrap().as_bytes(), good.as_bytes());
        }
        refused(b"", "a path cannot be empty");
        refused(b"/etc/passwd", "a path on the wire is relative to the served root");
        for (bad, component) in [
            ("..", ".."),
            ("a/../b", ".."),
            ("../a", ".."),
            ("a/.", "."),
            ("a//b", ""),
            ("a/", ""),
            ("./a", "."),
        ] {
            refused(bad.as_bytes(), &format!("a path cannot have the component `{component}`"));
        }
        refused(b"a\0b", "a path cannot hold a NUL byte");
        refused(&[b'a'; 256], "256 bytes are too long: the limit is 255");
        refused("a/".repeat(2049).as_bytes(), "4098 bytes are too long: the limit is 4096");
    }

    #[test]
    fn what_a_person_types_is_resolved() {
        resolves(".", "a/./b//c/", "a/b/c");
        resolves("docs", "../src/main.rs", "src/main.rs");
        resolves("docs", "/", ".");
        resolves("docs", "..", ".");
        resolves("docs/old", "/etc", "etc");
        assert_eq!(RemotePath::root().resolve(b"../x"), Err(PathError::AboveRoot));
        assert_eq!(RemotePath::root().resolve(b""), Err(PathError::Empty));
    }

    #[test]
    fn parents_and_names() {
        let path: RemotePath = "a/b".parse().unwrap();
        assert_eq!(path.name().unwrap().as_bytes(), b"b");
        assert_eq!(path.parent().unwrap().to_string(), "a");
        assert_eq!(path.parent().unwrap().parent(), Some(RemotePath::root()));
        assert_eq!(RemotePath::root().parent(), None);
        assert_eq!(RemotePath::root().name(), None);
        assert_eq!(RemotePath::root().join(&path.name().unwrap()).unwrap().to_string(), "b");
    }

    #[test]
    fn bytes_that_are_not_utf8_travel_as_base64() {
        let path = RemotePath::parse(b"caf\xe9").unwrap();
        let json = serde_json::to_string(&path).unwrap();
        assert_eq!(json, r#"{"b64":"Y2Fm6Q=="}"#);
        assert_eq!(serde_json::from_str::<RemotePath>(&json).unwrap(), path);
        assert!(serde_json::from_str::<RemotePath>(r#"{"b64":"Li4="}"#).is_err(), "`..` in disguise");
        assert!(serde_json::from_str::<RemotePath>(r#"{"b64":"YQ==","b64":"Yg=="}"#).is_err());
        assert!(serde_json::from_str::<RemotePath>("7").is_err());
    }
}
