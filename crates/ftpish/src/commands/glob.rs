//! Patterns in place of names, as in sh(1): `*`, `?`, `[a-z]`, `{a,b}`, and `**` for any directories. What begins with a
//! dot is matched only by what does, too, and a pattern that nothing matches stands for itself.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use ftpish_protocol::RemotePath;
use ftpish_protocol::message::Kind;
use globset::{GlobBuilder, GlobMatcher};
use walkdir::WalkDir;

use crate::failure::Failure;
use crate::location::Location;
use crate::session::Session;

/// How many names are looked at for one pattern: a listing without end must come to one.
const MOST_NAMES: usize = 1_000_000;

/// The remote paths that a word means.
fn remote(word: &OsStr, session: &mut Session) -> Result<Vec<RemotePath>, Failure> {
    let literal = session.resolve_bytes(word.as_bytes())?;
    if !is_pattern(word.as_bytes()) || session.client()?.stat(&literal).is_ok() {
        return Ok(vec![literal]);
    }
    let mut seen = 0;
    let found = expand(word.as_bytes(), &mut |dir| {
        let path = session.resolve_bytes(if dir.is_empty() { b"." } else { dir })?;
        let mut names = Vec::new();
        let listed = session.client()?.ls(&path, &mut |entry| {
            seen += 1;
            if seen > MOST_NAMES {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            let name = entry.name.map(|name| name.as_bytes().to_vec());
            names.extend(name.map(|name| (name, entry.kind == Kind::Dir)));
            Ok(())
        });
        listed.map_err(|error| Failure::client(format!("cannot list `{path}`"), error))?;
        Ok(names)
    })?;
    if found.is_empty() {
        return Ok(vec![literal]);
    }
    let resolved = found.iter().map(|path| session.resolve_bytes(path));
    resolved.collect()
}

/// The local paths that a word means.
pub fn local(word: &OsStr) -> Result<Vec<OsString>, Failure> {
    if !is_pattern(word.as_bytes()) || Path::new(word).symlink_metadata().is_ok() {
        return Ok(vec![word.to_owned()]);
    }
    let found = expand(word.as_bytes(), &mut |dir| {
        let dir = if dir.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(dir) };
        let entries = WalkDir::new(dir).min_depth(1).max_depth(1).into_iter().flatten();
        let named =
            |entry: walkdir::DirEntry| (entry.file_name().as_bytes().to_vec(), entry.file_type().is_dir());
        Ok(entries.map(named).collect())
    })?;
    if found.is_empty() {
        return Ok(vec![word.to_owned()]);
    }
    Ok(found.into_iter().map(OsString::from_vec).collect())
}

fn is_pattern(word: &[u8]) -> bool {
    word.iter().any(|byte| b"*?[{".contains(byte))
}

/// The names in a directory, and whether each is a directory itself.
type List<'a> = dyn FnMut(&[u8]) -> Result<Vec<(Vec<u8>, bool)>, Failure> + 'a;

/// One component of a pattern.
enum Part {
    /// Any directories, or none.
    Any,
    /// Names of this form.
    Like { matcher: GlobMatcher, dotted: bool },
    /// This name.
    Is(Vec<u8>),
}

impl Part {
    fn parse(text: &[u8]) -> Result<Self, Failure> {
        match std::str::from_utf8(text) {
            Ok("**") => Ok(Self::Any),
            Ok(text) if is_pattern(text.as_bytes()) => {
                let glob = GlobBuilder::new(text).literal_separator(true).build();
                let glob = glob.map_err(|error| Failure::usage(error.to_string()))?;
                Ok(Self::Like { matcher: glob.compile_matcher(), dotted: text.starts_with('.') })
            }
            _ => Ok(Self::Is(text.to_vec())),
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        let hidden = name.starts_with(b".");
        match self {
            Self::Any => !hidden,
            Self::Like { matcher, dotted } => {
                (!hidden || *dotted) && matcher.is_match(Path::new(OsStr::from_bytes(name)))
            }
            Self::Is(own) => own == name,
        }
    }
}

/// The paths that a pattern means, in the order of their names.
fn expand(pattern: &[u8], list: &mut List<'_>) -> Result<Vec<Vec<u8>>, Failure> {
    let parts: Vec<&[u8]> = pattern.split(|byte| *byte == b'/').collect();
    // What comes before the first pattern is taken at its word.
    let fixed = parts.iter().position(|part| is_pattern(part)).unwrap_or(parts.len());
    let base = parts[..fixed].join(&b'/');
    let base = if fixed == 1 && base.is_empty() { b"/".to_vec() } else { base };
    let rest = parts[fixed..].iter().filter(|part| !part.is_empty());
    let rest = rest.map(|part| Part::parse(part)).collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::new();
    descend(base, &rest, list, &mut found)?;
    found.sort();
    found.dedup();
    Ok(found)
}

fn descend(
    base: Vec<u8>,
    parts: &[Part],
    list: &mut List<'_>,
    found: &mut Vec<Vec<u8>>,
) -> Result<(), Failure> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if matches!(part, Part::Any) && !rest.is_empty() {
        descend(base.clone(), rest, list, found)?;
    }
    for (name, is_dir) in list(&base)? {
        if !part.matches(&name) {
            continue;
        }
        let mut path = base.clone();
        if !path.is_empty() && !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend(&name);
        match part {
            Part::Any if is_dir => descend(path, parts, list, found)?,
            Part::Any if !rest.is_empty() => {}
            _ if rest.is_empty() => found.push(path),
            _ if is_dir => descend(path, rest, list, found)?,
            _ => {}
        }
    }
    Ok(())
}

/// What was typed for things on the server, patterns replaced by what they mean. A URL is taken at its word.
pub fn locations(typed: &[Location], session: &mut Session) -> Result<Vec<Location>, Failure> {
    let mut all = Vec::new();
    for location in typed {
        match location {
            Location::Path(word) if is_pattern(word.as_bytes()) => {
                all.extend(remote(word, session)?.iter().map(Location::absolute));
            }
            location => all.push(location.clone()),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: [&str; 9] =
        ["a.log", "b.log", ".c.log", "d/", "d/e.log", "d/f/", "d/f/g.log", "[x].log", "d/.h/"];

    fn list(dir: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let dir = std::str::from_utf8(dir).unwrap();
        let dir = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let inside = TREE.iter().filter_map(|path| path.strip_prefix(&*dir)).filter(|path| !path.is_empty());
        let direct = inside.filter(|path| !path.trim_end_matches('/').contains('/'));
        direct.map(|path| (path.trim_end_matches('/').into(), path.ends_with('/'))).collect()
    }

    #[track_caller]
    fn check(pattern: &str, expected: &[&str]) {
        let found = expand(pattern.as_bytes(), &mut |dir| Ok(list(dir))).unwrap_or_default();
        let found: Vec<_> = found.iter().map(|path| std::str::from_utf8(path).unwrap()).collect();
        assert_eq!(found, expected, "{pattern}");
    }

    #[test]
    fn patterns_mean_what_they_mean_to_a_shell() {
        check("*.log", &["[x].log", "a.log", "b.log"]);
        check("?.log", &["a.log", "b.log"]);
        check("[ab].log", &["a.log", "b.log"]);
        check("{a,d/e}.log", &[]);
        check("{a,b}.log", &["a.log", "b.log"]);
        check(".*.log", &[".c.log"]);
        check("*/e.log", &["d/e.log"]);
        check("d/*/g*", &["d/f/g.log"]);
        check("**/*.log", &["[x].log", "a.log", "b.log", "d/e.log", "d/f/g.log"]);
        check("d/**", &["d/e.log", "d/f/g.log"]);
        check("*/nothing", &[]);
    }
}
