//! What a directory holds, to be compared with what it held before.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ftpish_protocol::{Algorithm, Digest};

/// Everything below a directory by its path.
pub type Tree = BTreeMap<PathBuf, Node>;

/// What a name stands for; of what we may not read ourselves, as much as can be told. The times of directories are left out: a file that comes and goes changes them.
#[derive(Debug, PartialEq, Eq)]
pub enum Node {
    File { mode: u32, mtime: (i64, i64), inode: u64, size: u64, digest: Option<Digest> },
    Dir { mode: u32, inode: u64 },
    Other { mode: u32, inode: u64, target: Option<PathBuf> },
}

pub fn of(top: &Path) -> Tree {
    let mut tree = Tree::new();
    collect(top, top, &mut tree);
    tree
}

fn collect(top: &Path, dir: &Path, tree: &mut Tree) {
    let Some(entries) = readable(fs::read_dir(dir)) else { return };
    for found in entries {
        let path = found.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let (mode, inode) = (metadata.mode(), metadata.ino());
        let node = if metadata.is_file() {
            let digest = readable(fs::read(&path)).map(|bytes| Algorithm::Blake3.digest(&bytes));
            let size = metadata.len();
            Node::File { mode, mtime: (metadata.mtime(), metadata.mtime_nsec()), inode, size, digest }
        } else if metadata.is_dir() {
            collect(top, &path, tree);
            Node::Dir { mode, inode }
        } else {
            Node::Other { mode, inode, target: fs::read_link(&path).ok() }
        };
        tree.insert(path.strip_prefix(top).unwrap().to_owned(), node);
    }
}

fn readable<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        result => Some(result.unwrap()),
    }
}
