//! Words for what looks at names on the server, and changes them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use ftpish_protocol::Algorithm;

use crate::location::Location;

#[derive(Debug, Args)]
pub struct Ls {
    /// Files or directories to list; by default the current directory.
    pub paths: Vec<Location>,
    /// Show permissions, size and time.
    #[arg(short, long)]
    pub long: bool,
    /// Show hidden names; they are shown anyway.
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Stat {
    /// Files, directories or symbolic links.
    #[arg(required = true)]
    pub paths: Vec<Location>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Cat {
    /// Files.
    #[arg(required = true)]
    pub files: Vec<Location>,
    #[command(flatten)]
    pub digest: Digest,
}

#[derive(Debug, Args)]
pub struct Mkdir {
    /// Directories to create.
    #[arg(required = true)]
    pub dirs: Vec<Location>,
    /// Create missing parents, and ignore directories that exist.
    #[arg(short, long)]
    pub parents: bool,
}

#[derive(Debug, Args)]
pub struct Rm {
    /// Files, symbolic links or directories to remove.
    #[arg(required = true)]
    pub paths: Vec<Location>,
    /// Remove directories with everything in them.
    #[arg(short, long)]
    pub recursive: bool,
    /// Ignore names that do not exist.
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Mv {
    /// Files or directories to rename.
    pub from: Location,
    /// New name, or a directory to move into.
    pub to: Location,
    /// Do not replace an existing name.
    #[arg(short, long)]
    pub no_clobber: bool,
}

#[derive(Debug, Args)]
pub struct Hash {
    /// Files.
    #[arg(required = true)]
    pub files: Vec<Location>,
    #[command(flatten)]
    pub digest: Digest,
    /// Print digests of all files below directories.
    #[arg(short, long)]
    pub recursive: bool,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Local file, then remote file. With --manifest: the directory that its paths are relative to;
    /// by default the current one.
    #[arg(value_name = "PATH", num_args = 0..=2)]
    pub paths: Vec<OsString>,
    /// Check the files of a manifest that `get --manifest` or `put --manifest` wrote.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// The directory is on the server.
    #[arg(long, requires = "manifest")]
    pub remote: bool,
}

#[derive(Debug, Args)]
pub struct Df {
    /// A path on the file system; by default the current directory.
    pub path: Option<Location>,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Digest {
    /// Digest to verify with: blake3, sha256 or md5.
    #[arg(long = "digest", value_name = "DIGEST", default_value = "blake3")]
    pub algorithm: Algorithm,
}
