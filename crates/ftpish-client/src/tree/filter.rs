//! What is left out of a tree: patterns as in a gitignore(5) file, but each is one pattern, and no line of such a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ftpish_protocol::RemotePath;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// A pattern that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It cannot match a name.
    #[error("the pattern `{0}` matches no name")]
    Nothing(String),
    /// It is none that gitignore(5) knows.
    #[error(transparent)]
    Bad(#[from] ignore::Error),
}

/// Which names of a tree are left out, on both sides: they neither move nor are removed.
#[derive(Clone, Debug, Default)]
pub struct Filter(Option<Arc<Patterns>>);

#[derive(Debug)]
struct Patterns {
    matcher: Gitignore,
    /// What the matcher calls each pattern, what it was given as, and whether it has matched.
    all: Vec<(String, String, AtomicBool)>,
}

impl Filter {
    /// Leaves out what one of the `excluded` patterns matches, but for what one of the `included` ones does. Nothing
    /// is included that lies in an excluded directory.
    pub fn new(excluded: &[String], included: &[String]) -> Result<Self, FilterError> {
        if excluded.is_empty() && included.is_empty() {
            return Ok(Self(None));
        }
        let (mut builder, mut all) = (GitignoreBuilder::new(""), Vec::new());
        let excluded = excluded.iter().map(|pattern| (pattern, ""));
        for (pattern, sign) in excluded.chain(included.iter().map(|pattern| (pattern, "!"))) {
            let line = format!("{sign}{}", line(pattern)?);
            builder.add_line(None, &line)?;
            all.push((line, pattern.clone(), AtomicBool::new(false)));
        }
        Ok(Self(Some(Arc::new(Patterns { matcher: builder.build()?, all }))))
    }

    /// The pattern that leaves a path out, if there is one: whoever walks does not go into a directory that is left out.
    pub(super) fn excludes(&self, path: &RemotePath, is_dir: bool) -> Option<&str> {
        let patterns = self.0.as_ref().filter(|_| !path.is_root())?;
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        let matched = patterns.matcher.matched(path, is_dir);
        let glob = matched.inner()?;
        let mut decided = None;
        for (_, given, used) in patterns.all.iter().filter(|(line, ..)| line == glob.original()) {
            used.store(true, Ordering::Relaxed);
            decided = Some(given.as_str());
        }
        decided.filter(|_| matched.is_ignore())
    }

    /// The patterns that have decided nothing so far.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let all = self.0.iter().flat_map(|patterns| &patterns.all);
        all.filter(|(.., used)| !used.load(Ordering::Relaxed)).map(|(_, given, _)| given.as_str())
    }
}

/// The line of a gitignore(5) file that means this pattern: there, `#` begins a comment and `!` an exception, spaces at the
/// end do not count, and `./` is part of no name.
fn line(pattern: &str) -> Result<String, FilterError> {
    let (anchor, rest) = match pattern.strip_prefix("./") {
        Some(rest) => ("/", rest.trim_start_matches('/')),
        None => ("", pattern),
    };
    if rest.trim_matches('/').is_empty() || rest.trim_matches('/') == "." {
        return Err(FilterError::Nothing(pattern.to_owned()));
    }
    let escape = if anchor.is_empty() && rest.starts_with(['#', '!']) { "\\" } else { "" };
    let name = rest.trim_end_matches(' ');
    // A space that is escaped already has its backslash in front.
    let (name, spaces) = match name.ends_with('\\') && name.len() < rest.len() {
        true => (&rest[..=name.len()], rest.len() - name.len() - 1),
        false => (name, rest.len() - name.len()),
    };
    Ok(format!("{anchor}{escape}{name}{}", "\\ ".repeat(spaces)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|p| (*p).to_owned()).collect()
    }

    #[track_caller]
    fn check(excluded: &[&str], included: &[&str], path: &str, expected: bool) {
        let filter = Filter::new(&owned(excluded), &owned(included)).unwrap();
        let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |dir| (dir, true));
        assert_eq!(filter.excludes(&path.parse().unwrap(), is_dir).is_some(), expected, "{path}");
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        check(&[], &[], "a", false);
        check(&["*.o"], &[], "a/b.o", true);
        check(&["*.o"], &["keep.o"], "a/keep.o", false);
        check(&["/top"], &[], "top", true);
        check(&["/top"], &[], "a/top", false);
        check(&["target/"], &[], "target/", true);
        check(&["target/"], &[], "target", false);
        check(&["a/**/z"], &[], "a/b/c/z", true);
        check(&["\\#yes"], &[], "#yes", true);
    }

    #[test]
    fn a_pattern_is_no_line_of_a_file() {
        check(&["#recycle"], &[], "a/#recycle/", true);
        check(&["!x"], &[], "!x", true);
        check(&["!x"], &[], "x", false);
        check(&["*"], &["#keep", "!keep"], "#keep", false);
        check(&["*"], &["!keep"], "!keep", false);
        check(&["./a"], &[], "a", true);
        check(&["./a"], &[], "b/a", false);
        check(&["./#a"], &[], "#a", true);
        check(&["a "], &[], "a ", true);
        check(&["a "], &[], "a", false);
        check(&["a\\  "], &[], "a  ", true);
        for nothing in ["", "/", "//", ".", "./", "/.", ".//"] {
            let refused = Filter::new(&owned(&[nothing]), &[]);
            assert!(matches!(refused, Err(FilterError::Nothing(_))), "{nothing:?}");
        }
    }

    #[test]
    fn patterns_that_decide_nothing_are_known() {
        let filter = Filter::new(&owned(&["#a", "b", "./c"]), &owned(&["b"])).unwrap();
        assert_eq!(filter.unused().collect::<Vec<_>>(), ["#a", "b", "./c", "b"]);
        assert_eq!(filter.clone().excludes(&"b".parse().unwrap(), false), None);
        assert_eq!(filter.excludes(&"#a".parse().unwrap(), false), Some("#a"));
        assert_eq!(filter.unused().collect::<Vec<_>>(), ["b", "./c"], "the last that matches decides");
    }
}
