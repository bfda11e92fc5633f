//! What is left out of a tree: patterns as in a gitignore(5) file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ftpish_protocol::RemotePath;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// A pattern that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct FilterError(#[from] ignore::Error);

/// Which names of a tree are left out, on both sides: they neither move nor are removed.
#[derive(Clone, Debug, Default)]
pub struct Filter(Option<Gitignore>);

impl Filter {
    /// Leaves out what one of the `excluded` patterns matches, but for what one of the `included` ones does. Nothing
    /// is included that lies in an excluded directory.
    pub fn new(excluded: &[String], included: &[String]) -> Result<Self, FilterError> {
        if excluded.is_empty() && included.is_empty() {
            return Ok(Self(None));
        }
        let mut patterns = GitignoreBuilder::new("");
        for pattern in excluded {
            patterns.add_line(None, pattern)?;
        }
        for pattern in included {
            patterns.add_line(None, &format!("!{pattern}"))?;
        }
        Ok(Self(Some(patterns.build()?)))
    }

    /// Whether a path is left out, by a pattern of its own: whoever walks does not go into a directory that is.
    pub(super) fn excludes(&self, path: &RemotePath, is_dir: bool) -> bool {
        let Some(patterns) = self.0.as_ref().filter(|_| !path.is_root()) else { return false };
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        patterns.matched(path, is_dir).is_ignore()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(excluded: &[&str], included: &[&str], path: &str, expected: bool) {
        let owned = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let filter = Filter::new(&owned(excluded), &owned(included)).unwrap();
        let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |dir| (dir, true));
        assert_eq!(filter.excludes(&path.parse().unwrap(), is_dir), expected, "{path}");
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
        check(&["#no", "\\#yes"], &[], "#yes", true);
        check(&["."], &[], ".", false);
    }
}
