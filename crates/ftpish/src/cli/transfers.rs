//! Words for what moves files: `get`, `put`, `sync`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::names::Digest;

#[derive(Debug, Args)]
pub struct Get {
    /// Remote files. The last of several arguments is the destination: a local file, a directory,
    /// or - for standard output.
    #[arg(required = true, value_name = "FILE")]
    pub words: Vec<OsString>,
    #[command(flatten)]
    pub digest: Digest,
    #[command(flatten)]
    pub overwrite: OverwriteArg,
    /// Do not wait for the disk. After a power failure, downloaded files may be lost.
    #[arg(long)]
    pub no_sync: bool,
    /// Repair the existing file: compare it block by block, and transfer only what differs.
    #[arg(long)]
    pub repair: bool,
    /// Write a manifest of the transferred files for `verify --manifest`: one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Copy directories with everything in them.
    #[arg(short, long, conflicts_with = "repair")]
    pub recursive: bool,
    #[command(flatten)]
    pub tree: TreeArgs,
}

/// What of a tree moves, and how.
#[derive(Clone, Debug, Args)]
pub struct TreeArgs {
    /// Leave out what this pattern matches, as gitignore does: `*.o` anywhere, `/build` only at the
    /// top of the tree, `build/` only directories, with everything in them. Can be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Do not leave out what this pattern matches, even if --exclude does. It does not reach into
    /// an excluded directory.
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// How to treat symbolic links in a tree.
    #[arg(long, value_enum, value_name = "HOW", default_value = "keep")]
    pub links: Links,
    /// Copy hard links as hard links. By default each name is copied as a file of its own.
    #[arg(short = 'H', long)]
    pub hard_links: bool,
    /// Copy permission bits exactly. By default new files get the source's bits under the
    /// receiver's umask or default ACL, and existing files keep their own.
    #[arg(long)]
    pub perms: bool,
    /// Leave out other file systems, and bind mounts, on either side.
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
    /// Print what would be done, and do nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print each thing that is done, in the words of --dry-run, instead of progress bars. With
    /// --dry-run, also print what is left out and why.
    #[arg(short, long)]
    pub verbose: bool,
    /// Fail if the receiving file system does not keep times or permission bits. By default that is
    /// a warning.
    #[arg(long)]
    pub strict: bool,
}

impl TreeArgs {
    /// An option that was given and does nothing but in a tree, if there is one.
    pub fn for_trees(&self) -> Option<&'static str> {
        let given = [
            (!self.exclude.is_empty(), "--exclude"),
            (!self.include.is_empty(), "--include"),
            (self.links != Links::Keep, "--links"),
            (self.hard_links, "--hard-links"),
            (self.one_file_system, "--one-file-system"),
            (self.dry_run, "--dry-run"),
        ];
        given.into_iter().find_map(|(is_given, option)| is_given.then_some(option))
    }
}

/// What becomes of symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Links {
    /// Leave them out.
    Skip,
    /// Copy them as symbolic links.
    Keep,
    /// Copy what they point at: in a local tree wherever that is, on the server only within the
    /// served directory.
    Follow,
}

#[derive(Debug, Args)]
pub struct Sync {
    /// Directory to copy: a local one, or one on the server, written with a colon in front or as a
    /// URL.
    pub from: OsString,
    /// Directory to make like it, on the other side; created if it does not exist.
    pub to: OsString,
    #[command(flatten)]
    pub digest: Digest,
    /// Compare files by digest, and not by size and time. Both sides read all of them.
    #[arg(short, long)]
    pub checksum: bool,
    /// Remove what the source does not have, after everything else.
    #[arg(long, group = "removal")]
    pub delete: bool,
    /// Remove what the source does not have before anything is transferred, to make room. Both
    /// trees are listed twice.
    #[arg(long, group = "removal")]
    pub delete_before: bool,
    /// Remove nothing if it would be more than this many names.
    #[arg(long, value_name = "N", default_value = "1000", requires = "removal")]
    pub max_delete: u64,
    /// Keep what is replaced or removed in this directory, inside the destination.
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<OsString>,
    /// Do not wait for the disk. After a power failure, downloaded files may be lost.
    #[arg(long)]
    pub no_sync: bool,
    #[command(flatten)]
    pub tree: TreeArgs,
}

#[derive(Debug, Args)]
pub struct Put {
    /// Local files, or - for standard input. The last of several arguments is the remote
    /// destination.
    #[arg(required = true, value_name = "LOCAL")]
    pub words: Vec<OsString>,
    #[command(flatten)]
    pub digest: Digest,
    #[command(flatten)]
    pub overwrite: OverwriteArg,
    /// Store only if the file does not exist (absent), or still has this digest
    /// (unchanged=blake3:…).
    #[arg(long = "if", value_name = "CONDITION", conflicts_with = "when")]
    pub condition: Option<Condition>,
    /// Repair the existing file: compare it block by block, and transfer only what differs.
    #[arg(long)]
    pub repair: bool,
    /// Write a manifest of the transferred files for `verify --manifest`: one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Copy directories with everything in them.
    #[arg(short, long, conflicts_with_all = ["repair", "condition"])]
    pub recursive: bool,
    #[command(flatten)]
    pub tree: TreeArgs,
}

/// What must hold of the file that is there, for another to take its name.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// There is none.
    Absent,
    /// It has this digest.
    Unchanged(ftpish_protocol::Digest),
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "absent" => Ok(Self::Absent),
            Some(("unchanged", digest)) => {
                digest.parse().map(Self::Unchanged).map_err(|error| error.to_string())
            }
            _ => Err("expected `absent` or `unchanged=DIGEST`".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub struct OverwriteArg {
    /// When to replace an existing file.
    #[arg(long = "overwrite", value_enum, value_name = "WHEN", default_value = "always")]
    pub when: Overwrite,
}

/// Whether a file that exists is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Overwrite {
    /// Ask on a terminal, else keep it.
    Ask,
    /// Replace it.
    Always,
    /// Keep it.
    Never,
    /// Replace it if it is older.
    Newer,
}
