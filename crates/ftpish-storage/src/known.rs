//! Files with several names that a walk has met, so that it can tell them when it meets them again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use cap_std::fs::{Metadata, MetadataExt as _};
use ftpish_protocol::RemotePath;

/// How many bytes the paths of files may have, and [`EACH`] besides, that are kept in mind: tens of thousands of files,
/// and what one walk on a server may cost. What is met beyond that is told as a file of its own.
const MOST: usize = 4 * 1024 * 1024;

/// About how many bytes one costs besides its path.
const EACH: usize = 96;

/// The first names of files that have more which were not yet met.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By device and inode: the first name, and how many are still to come.
    files: HashMap<(u64, u64), (RemotePath, u64)>,
    bytes: usize,
}

impl Known {
    /// Takes note of a file. Its first name, if this is another.
    pub(crate) fn meet(&mut self, path: &RemotePath, found: &Metadata) -> Option<RemotePath> {
        if found.nlink() < 2 || !found.is_file() {
            return None;
        }
        let cost = |path: &RemotePath| EACH + path.as_bytes().len();
        match self.files.entry((found.dev(), found.ino())) {
            Entry::Vacant(place) => {
                if self.bytes + cost(path) <= MOST {
                    self.bytes += cost(path);
                    place.insert((path.clone(), found.nlink() - 1));
                }
                None
            }
            Entry::Occupied(mut known) => {
                let (first, to_come) = known.get_mut();
                *to_come -= 1;
                if *to_come > 0 {
                    return Some(first.clone());
                }
                let (first, _) = known.remove();
                self.bytes -= cost(&first);
                Some(first)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cap_std::ambient_authority;
    use cap_std::fs::Dir;

    use super::*;

    #[test]
    fn what_is_kept_in_mind_is_bounded_and_given_back() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(scratch.path(), ambient_authority()).unwrap();
        let mut known = Known::default();
        let long = |name: &str| RemotePath::parse(format!("{}{name}", "a/".repeat(1900)).as_bytes()).unwrap();
        let fits = MOST / (EACH + 3800);
        let name = |index: usize, of: &str| format!("{index:04}{of}");
        for index in 0..fits + 50 {
            fs::write(scratch.path().join(name(index, "a")), "").unwrap();
            dir.hard_link(name(index, "a"), &dir, name(index, "b")).unwrap();
        }
        let mut meet = |index: usize, of: &str| {
            let found = dir.symlink_metadata(name(index, of)).unwrap();
            let first = known.meet(&long(&name(index, of)), &found);
            (first, known.bytes, known.files.len())
        };
        for index in 0..fits + 50 {
            assert_eq!(meet(index, "a").0, None);
        }
        let mut told = 0;
        for index in 0..fits + 50 {
            let (first, bytes, _) = meet(index, "b");
            assert!(bytes <= MOST);
            told += usize::from(first.is_some());
            assert!(first.is_none_or(|first| first == long(&name(index, "a"))), "{index}");
        }
        assert!((fits - 10..=fits).contains(&told), "{told} of {fits}");
        // Those that were not kept in mind at first were then met for the first time, so to speak.
        for index in 0..fits + 50 {
            meet(index, "a");
        }
        assert!(known.bytes <= MOST && known.files.len() <= fits);
    }
}
