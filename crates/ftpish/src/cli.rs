//! The command line, and nothing but: what may be typed, in one shot or in the shell.

mod names;
mod serving;
mod transfers;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use ftpish_transport::{Endpoint, Fingerprint};

pub use self::names::{Cat, Df, Hash, Ls, Mkdir, Mv, Rm, Stat, Verify};
pub use self::serving::{Anonymous, KeyCommand, NewPassword, Serve, UserCommand};
pub use self::transfers::{Condition, Get, Links, Overwrite, Put, Sync, TreeArgs};
use crate::exit::EXIT_CODES;
use crate::location::Location;

/// Serve a directory, and move files to and from it: encrypted, verified disk to disk, one port.
#[derive(Debug, Parser)]
#[command(name = "ftpish", version, after_help = EXIT_CODES, max_term_width = 100, args_override_self = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    /// What to do. Without a command, start the shell.
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
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Server address: HOST, HOST:PORT (IPv6 in brackets) or unix:PATH.
    #[arg(long, global = true, env = "FTPISH_SERVER", value_name = "ADDR", default_value = "127.0.0.1:2121")]
    pub server: Endpoint,
    /// User name. The password is read from FTPISH_PASSWORD or the credentials file, or prompted
    /// for.
    #[arg(long, global = true, env = "FTPISH_USER", value_name = "NAME")]
    pub login: Option<String>,
    /// Private key to log in with instead of a password, made by `ftpish key gen` or `ssh-keygen -t
    /// ed25519`. ~/.config/ftpish/id_ed25519 is used by default.
    #[arg(short, long, global = true, env = "FTPISH_IDENTITY", value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Disable encryption. The server must be started with it, too.
    #[arg(long, global = true)]
    pub plaintext: bool,
    /// Fingerprint that the server's key must have.
    #[arg(long, global = true, value_name = "SHA256:…", conflicts_with = "plaintext")]
    pub host_key: Option<Fingerprint>,
    /// Trust and remember the key of a server that was never seen before.
    #[arg(long, global = true)]
    pub accept_new: bool,
    /// Seconds to wait for an answer.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub timeout: Duration,
    /// How often to retry in a row without progress, if the connection breaks or the server is
    /// busy. If given, it also applies to a server that was never reached.
    #[arg(long, global = true, value_name = "N")]
    pub retries: Option<u32>,
    /// Seconds to wait before the first retry; doubled each time, up to 30.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub retry_wait: Duration,
    /// Number of connections for many files or a large one. By default, one, and more as long as
    /// each makes the transfer faster.
    #[arg(short, long, global = true, env = "FTPISH_JOBS", value_name = "N",
          value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: Option<u8>,
    /// Print errors only.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Draw no progress bars.
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Directory for keys, known hosts and the shell's history.
    #[arg(long, global = true, env = "FTPISH_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a directory.
    Serve(Serve),
    #[command(flatten)]
    Verb(Verb),
    /// Start an interactive shell, or run standard input line by line if it is not a terminal.
    Shell,
    /// Manage the users file of `serve --users FILE`.
    #[command(subcommand)]
    User(UserCommand),
    /// Create keys to log in with.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show ftpish at work: a server in this process, real files, every byte verified.
    Demo,
}

/// What is done on a server, in one shot or in the shell: one grammar.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List directories.
    Ls(Ls),
    /// Show details of a file, a directory or a symbolic link.
    Stat(Stat),
    /// Write files to standard output.
    Cat(Cat),
    /// Download files, or whole trees with -r.
    Get(Get),
    /// Upload files, or whole trees with -r.
    Put(Put),
    /// Mirror a directory to or from the server, transferring only what changed.
    Sync(Sync),
    /// Create directories.
    Mkdir(Mkdir),
    /// Remove files, symbolic links and directories.
    Rm(Rm),
    /// Rename, or move into a directory.
    Mv(Mv),
    /// Print digests of files on the server, as md5sum and b3sum do.
    Hash(Hash),
    /// Compare a local file with a remote one, or files with a manifest, without transferring them.
    Verify(Verify),
    /// Show free space, or the user's remaining quota.
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
    /// Change the directory on the server; without an argument, to the root.
    Cd {
        /// The directory.
        dir: Option<Location>,
    },
    /// Print the directory on the server.
    Pwd,
    /// Change the local directory; without an argument, to the home directory.
    Lcd {
        /// The directory.
        dir: Option<PathBuf>,
    },
    /// Print the local directory.
    Lpwd,
    /// List a local directory.
    Lls {
        /// The directory.
        dir: Option<PathBuf>,
    },
    /// Leave the shell, as Ctrl-D does.
    #[command(alias = "quit", alias = "bye")]
    Exit,
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
