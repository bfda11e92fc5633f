//! The command line, and nothing but: what may be typed, in one shot or in the shell.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use ftpish_protocol::Algorithm;
use ftpish_protocol::message::Mode;
use ftpish_transport::{Endpoint, Fingerprint};

use crate::exit::EXIT_CODES;
use crate::location::Location;

/// Serve a directory, and move files to and from it: encrypted, verified disk to disk, one port.
#[derive(Debug, Parser)]
#[command(name = "ftpish", version, after_help = EXIT_CODES, max_term_width = 100, args_override_self = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    /// What to do; the shell where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// What the words of a command line mean, the first being the program's name.
    pub fn of<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let mut command = Self::offered();
        let matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }

    /// The command line with its help. Each command takes all options that may stand anywhere, so that an alias can hold
    /// them, and offers those which do something there.
    fn offered() -> clap::Command {
        let command = Self::command();
        let anywhere: Vec<_> =
            command.get_arguments().filter(|option| option.is_global_set()).cloned().collect();
        command.mut_subcommands(|command| {
            let name = command.get_name().to_owned();
            let idle = anywhere.iter().filter(|option| !has_effect(option.get_id().as_str(), &name));
            command.args(idle.map(|option| option.clone().hide(true)).collect::<Vec<_>>())
        })
    }
}

/// Whether an option that may stand anywhere does something for a command.
fn has_effect(option: &str, command: &str) -> bool {
    const ALONE: [&str; 3] = ["user", "key", "demo"];
    const TRANSFERS: [&str; 4] = ["get", "put", "sync", "shell"];
    match option {
        "quiet" => command != "user",
        "no_progress" => TRANSFERS.contains(&command) || ["cat", "hash", "verify", "demo"].contains(&command),
        "jobs" | "retries" | "retry_wait" => TRANSFERS.contains(&command),
        "plaintext" | "state_dir" => !ALONE.contains(&command),
        _ => command != "serve" && !ALONE.contains(&command),
    }
}

/// What may stand before or behind any command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The server: HOST, HOST:PORT (IPv6 addresses in brackets) or unix:PATH.
    #[arg(long, global = true, env = "FTPISH_SERVER", value_name = "ADDR", default_value = "127.0.0.1:2121")]
    pub server: Endpoint,
    /// Who to log in as. The password comes from FTPISH_PASSWORD or the credentials file, or is asked for.
    #[arg(long, global = true, env = "FTPISH_USER", value_name = "NAME")]
    pub login: Option<String>,
    /// Log in by this key in place of a password: one that `ftpish key gen` or `ssh-keygen -t ed25519` made. The one in
    /// ~/.config/ftpish/id_ed25519 need not be named.
    #[arg(short, long, global = true, env = "FTPISH_IDENTITY", value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Neither encrypt nor ask for the server's key. Both ends must say so.
    #[arg(long, global = true)]
    pub plaintext: bool,
    /// The server's key must be this one.
    #[arg(long, global = true, value_name = "SHA256:…", conflicts_with = "plaintext")]
    pub host_key: Option<Fingerprint>,
    /// Trust and remember the key of a server that was never seen before; with --plaintext there is none.
    #[arg(long, global = true)]
    pub accept_new: bool,
    /// How long to wait for an answer, in seconds.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,
    /// How often a transfer is tried again in a row without getting further, when the connection breaks or the server
    /// is busy. Named, it holds for a server that was never reached, too.
    #[arg(long, global = true, value_name = "N")]
    pub retries: Option<u32>,
    /// How long to wait before the first retry, in seconds; then twice as long each time, up to 30 seconds.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub retry_wait: Duration,
    /// How many connections a get, a put or a sync may use, for many files or a large one; where it is not named, one,
    /// and more as long as each makes it faster.
    #[arg(short, long, global = true, env = "FTPISH_JOBS", value_name = "N",
          value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: Option<u8>,
    /// Say nothing but errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Draw no bars.
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Where keys, known hosts and the shell's history are kept.
    #[arg(long, global = true, env = "FTPISH_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a directory.
    Serve(Serve),
    #[command(flatten)]
    Verb(Verb),
    /// Work with a server interactively; or, if standard input is no terminal, run it line by line.
    Shell,
    /// Say who may log in to a server that is started with `serve --users FILE`.
    #[command(subcommand)]
    User(UserCommand),
    /// Make keys that log in, in place of passwords.
    #[command(subcommand)]
    Key(KeyCommand),
    /// See it work: a server in this process, real files, every byte verified.
    Demo,
}

/// What is done on a server, in one shot or in the shell: one grammar.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List a directory.
    Ls(Ls),
    /// Describe a file, a directory or a link.
    Stat(Stat),
    /// Write files to standard output.
    Cat(Cat),
    /// Fetch files, or whole trees.
    Get(Get),
    /// Store files, or whole trees.
    Put(Put),
    /// Make one tree like another: only what differs moves. One of the two is on the server.
    Sync(Sync),
    /// Make directories.
    Mkdir(Mkdir),
    /// Remove files, links and directories.
    Rm(Rm),
    /// Rename, or move into a directory.
    Mv(Mv),
    /// Digest files on the server's disk, as md5sum and b3sum do.
    Hash(Hash),
    /// Compare a local file with a remote one, or files with a manifest; only digests move.
    Verify(Verify),
    /// Tell the space of the server's file system, or of the user's quota.
    Df(Df),
}

/// A line of the shell.
#[derive(Debug, Parser)]
#[command(
    name = "",
    no_binary_name = true,
    disable_version_flag = true,
    disable_help_flag = true,
    args_override_self = true
)]
pub struct Line {
    #[command(subcommand)]
    pub command: ShellCommand,
}

#[derive(Debug, Subcommand)]
#[command(override_usage = "COMMAND [ARGUMENT]...", subcommand_value_name = "COMMAND")]
pub enum ShellCommand {
    #[command(flatten)]
    Verb(Verb),
    /// Go to a directory on the server; to its root where none is named.
    Cd {
        /// The directory.
        dir: Option<Location>,
    },
    /// Tell the directory on the server.
    Pwd,
    /// Go to a local directory; home where none is named.
    Lcd {
        /// The directory.
        dir: Option<PathBuf>,
    },
    /// Tell the local directory.
    Lpwd,
    /// List a local directory.
    Lls {
        /// The directory.
        dir: Option<PathBuf>,
    },
    /// Leave; so does Ctrl-D.
    #[command(alias = "quit", alias = "bye")]
    Exit,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// The directory to serve.
    #[arg(default_value = ".")]
    pub root: PathBuf,
    /// Where to listen: ADDR:PORT (IPv6 in brackets), :PORT for every address, unix:PATH; may be repeated.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2121")]
    pub listen: Vec<Endpoint>,
    /// Let clients change nothing.
    #[arg(long)]
    pub read_only: bool,
    /// Listen where other machines can connect, and let whoever does read, or write too.
    #[arg(long, value_name = "RIGHT", num_args = 0..=1, default_missing_value = "read")]
    pub anonymous: Option<Anonymous>,
    /// Who may log in: a file that `ftpish user` makes. With --anonymous, whoever does not log in is served, too.
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// How many clients may be connected; the next are told that the server is busy. One that says nothing costs some KiB.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
    /// How many of them may come from one address, or one /64 of IPv6. All that comes through a relay has the relay's.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_per_address: u16,
    /// Become this user once the addresses are bound and the key is read; started as root, to listen on a port
    /// below 1024.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Permission bits that nothing gets which clients store, in octal. Without it, the umask of this process holds for what is
    /// new, unless the directory has a default ACL, and clients that say --perms are not held to it.
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub umask: Option<Mode>,
    /// Permission bits that every new file gets, in octal.
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub force_mode: Option<Mode>,
    /// Permission bits that every new directory gets, in octal.
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub force_dir_mode: Option<Mode>,
    /// Do not wait for the disk: after a power failure, files that were acknowledged may be gone.
    #[arg(long)]
    pub no_sync: bool,
    /// Log each request, too.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Permission bits as `chmod` takes them.
fn mode(octal: &str) -> Result<Mode, String> {
    Mode::try_from(octal.to_owned()).map_err(str::to_owned)
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user who may do everything; the file says how to allow less.
    Add {
        #[command(flatten)]
        new: NewPassword,
        /// The public key that logs in, in place of a password: a file, or `-` for standard input.
        #[arg(long, value_name = "FILE.pub", conflicts_with = "password_fd")]
        key: Option<PathBuf>,
    },
    /// Change a user's password.
    Passwd(NewPassword),
    /// Let a user log in by a key, too.
    Key {
        /// The users file.
        file: PathBuf,
        /// Whom.
        name: String,
        /// The public key: a file, or `-` for standard input.
        #[arg(value_name = "FILE.pub")]
        key: PathBuf,
    },
    /// List the users.
    Ls {
        /// The users file.
        file: PathBuf,
    },
    /// Remove a user.
    Rm {
        /// The users file.
        file: PathBuf,
        /// Whom.
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct NewPassword {
    /// The users file.
    pub file: PathBuf,
    /// Whose password it is.
    pub name: String,
    /// Read the password from this file descriptor, in place of asking for it.
    #[arg(long, value_name = "N")]
    pub password_fd: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print what `ftpish user key` is to be told on the server.
    Gen(NewKey),
}

#[derive(Debug, Args)]
pub struct NewKey {
    /// Where it is to be; ~/.config/ftpish/id_ed25519 where absent.
    pub file: Option<PathBuf>,
    /// What is to stand behind it in lists of keys; who you are on which machine, where absent.
    #[arg(long)]
    pub comment: Option<String>,
    /// Read the passphrase from this file descriptor, in place of asking for it.
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<u16>,
}

/// What everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Anonymous {
    Read,
    Write,
}

#[derive(Debug, Args)]
pub struct Ls {
    /// What to list; where you are if nothing is named.
    pub paths: Vec<Location>,
    /// With permissions, size and time.
    #[arg(short, long)]
    pub long: bool,
    /// Names with a dot in front, too: they are shown anyway.
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Stat {
    /// What to describe.
    #[arg(required = true)]
    pub paths: Vec<Location>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Cat {
    /// The files.
    #[arg(required = true)]
    pub files: Vec<Location>,
    #[command(flatten)]
    pub digest: Digest,
}

#[derive(Debug, Args)]
pub struct Get {
    /// Files, and then where to: the last of several is a local file, a directory, or - for standard output.
    #[arg(required = true, value_name = "FILE")]
    pub words: Vec<OsString>,
    #[command(flatten)]
    pub digest: Digest,
    #[command(flatten)]
    pub overwrite: OverwriteArg,
    /// Do not wait for the disk: after a power failure, what was fetched may be gone.
    #[arg(long)]
    pub no_sync: bool,
    /// Mend the file that is there: compare it block by block, and move only what differs.
    #[arg(long)]
    pub repair: bool,
    /// Note each file in a manifest, for `verify --manifest`: one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Directories too, with all they hold.
    #[arg(short, long, conflicts_with = "repair")]
    pub recursive: bool,
    #[command(flatten)]
    pub tree: TreeArgs,
}

/// What of a tree moves, and how.
#[derive(Clone, Debug, Args)]
pub struct TreeArgs {
    /// In a tree: leave out what this pattern matches, as git ignores files: `*.o` anywhere, `/build` at the top of the tree
    /// alone, `build/` only a directory, with all that is in it; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// In a tree: do not leave out what this pattern matches, whatever --exclude says of it; what lies in a directory that is
    /// left out stays out.
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// In a tree: what becomes of symbolic links.
    #[arg(long, value_enum, value_name = "HOW", default_value = "keep")]
    pub links: Links,
    /// In a tree: names of one file stay names of one file. Without it, each is copied for itself.
    #[arg(short = 'H', long)]
    pub hard_links: bool,
    /// Give files and directories the exact permission bits of the source. Without it, new ones get them as far as the
    /// receiving side's umask or default ACL permits, and existing ones keep theirs.
    #[arg(long)]
    pub perms: bool,
    /// In a tree: leave out what is on another file system than its top, on either side; bind mounts too.
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
    /// In a tree: do nothing, and say what would be done.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// In a tree: say each thing that is done, in the words of --dry-run, and with both, what is left out and why. No bars are
    /// drawn.
    #[arg(short, long)]
    pub verbose: bool,
    /// Let it be an error that the receiving file system has not kept a time or permission bits. Without it, that is a warning.
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
    /// They are left out.
    Skip,
    /// They are made anew, as they are.
    Keep,
    /// What they stand for is moved in their place: of a local tree wherever they lead, of one on the server as far as
    /// they lead to what is served.
    Follow,
}

#[derive(Debug, Args)]
pub struct Sync {
    /// The directory to copy: a local one, or one on the server, with a colon in front or as a URL.
    pub from: OsString,
    /// The directory that is to be like it, on the other side; it is made where it is missing.
    pub to: OsString,
    #[command(flatten)]
    pub digest: Digest,
    /// Tell files that are the same by their digests, and not by size and time; both sides read them.
    #[arg(short, long)]
    pub checksum: bool,
    /// Remove what the source does not have, when all else is done.
    #[arg(long, group = "removal")]
    pub delete: bool,
    /// The same before anything moves: where only that makes room. Both trees are listed twice.
    #[arg(long, group = "removal")]
    pub delete_before: bool,
    /// With --delete: remove nothing if it would be more than so many names.
    #[arg(long, value_name = "N", default_value = "1000", requires = "removal")]
    pub max_delete: u64,
    /// Keep what is replaced or removed below this directory of the destination, which itself is left alone.
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<OsString>,
    /// Do not wait for the disk: after a power failure, what was fetched may be gone.
    #[arg(long)]
    pub no_sync: bool,
    #[command(flatten)]
    pub tree: TreeArgs,
}

#[derive(Debug, Args)]
pub struct Put {
    /// Local files, and then where to: the last of several is remote; - is standard input, and needs a name.
    #[arg(required = true, value_name = "LOCAL")]
    pub words: Vec<OsString>,
    #[command(flatten)]
    pub digest: Digest,
    #[command(flatten)]
    pub overwrite: OverwriteArg,
    /// Store only if there is no such file (absent), or if it still has the digest that it had
    /// (unchanged=blake3:…, as a manifest notes it).
    #[arg(long = "if", value_name = "CONDITION", conflicts_with = "when")]
    pub condition: Option<Condition>,
    /// Mend the file that is there: compare it block by block, and move only what differs.
    #[arg(long)]
    pub repair: bool,
    /// Note each file in a manifest, for `verify --manifest`: one JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Directories too, with all they hold.
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

#[derive(Debug, Args)]
pub struct Mkdir {
    /// The directories to make.
    #[arg(required = true)]
    pub dirs: Vec<Location>,
    /// Make missing parents too, and do not mind what exists.
    #[arg(short, long)]
    pub parents: bool,
}

#[derive(Debug, Args)]
pub struct Rm {
    /// What to remove.
    #[arg(required = true)]
    pub paths: Vec<Location>,
    /// Remove directories with all they hold.
    #[arg(short, long)]
    pub recursive: bool,
    /// Do not mind what is not there.
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Mv {
    /// What to rename.
    pub from: Location,
    /// Its new name, or the directory to move it into.
    pub to: Location,
    /// Replace nothing.
    #[arg(short, long)]
    pub no_clobber: bool,
}

#[derive(Debug, Args)]
pub struct Hash {
    /// The files.
    #[arg(required = true)]
    pub files: Vec<Location>,
    #[command(flatten)]
    pub digest: Digest,
    /// Digest all files below directories, too.
    #[arg(short, long)]
    pub recursive: bool,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// The local file, then the remote one. With --manifest: the local directory that its paths are in; where one is
    /// if none is named.
    #[arg(value_name = "PATH", num_args = 0..=2)]
    pub paths: Vec<OsString>,
    /// Check the files that a `get` or a `put` with --manifest noted.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// With --manifest: the directory is the server's.
    #[arg(long, requires = "manifest")]
    pub remote: bool,
}

#[derive(Debug, Args)]
pub struct Df {
    /// A path on the file system; where you are if nothing is named.
    pub path: Option<Location>,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Digest {
    /// What proves the bytes: blake3, sha256 or md5.
    #[arg(long = "digest", value_name = "DIGEST", default_value = "blake3")]
    pub algorithm: Algorithm,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct OverwriteArg {
    /// Whether to replace a file that exists.
    #[arg(long = "overwrite", value_enum, value_name = "WHEN", default_value = "always")]
    pub when: Overwrite,
}

/// Whether a file that exists is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Overwrite {
    /// Ask, on a terminal.
    Ask,
    /// Yes.
    Always,
    /// No: keep it.
    Never,
    /// Only if it is older.
    Newer,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 0.01..=86_400.0) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected 0.01 to 86400 seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::offered().debug_assert();
        Line::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_a_fraction_and_are_more_than_none() {
        assert_eq!(seconds("60"), Ok(Duration::from_secs(60)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for nonsense in ["0", "-1", "0.001", "86401", "inf", "NaN", "soon", ""] {
            assert!(seconds(nonsense).is_err(), "{nonsense}");
        }
    }
}
