//! Words for those who run a server: `serve`, `user`, `key`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ftpish_protocol::message::Mode;
use ftpish_transport::Endpoint;

#[derive(Debug, Args)]
pub struct Serve {
    /// Directory to serve.
    #[arg(default_value = ".")]
    pub root: PathBuf,
    /// Address to listen on: ADDR:PORT (IPv6 in brackets), :PORT for every address, or unix:PATH.
    /// Can be repeated.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2121")]
    pub listen: Vec<Endpoint>,
    /// Deny all changes.
    #[arg(long)]
    pub read_only: bool,
    /// Allow clients that do not log in, also from other machines: to read, or to write as well.
    #[arg(long, value_name = "RIGHT", num_args = 0..=1, default_missing_value = "read")]
    pub anonymous: Option<Anonymous>,
    /// Users file, managed by `ftpish user`. Only these users are served, unless --anonymous is
    /// given as well.
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// Maximum number of connections. Further clients are told that the server is busy. An idle
    /// connection takes a few KiB.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
    /// Maximum number of connections from one address, or from one /64 network of IPv6.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_per_address: u16,
    /// Drop root's rights and become this user, once the addresses are bound and the key is read.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Permission bits to remove from everything that clients store, in octal. By default, the
    /// umask of this process applies to new files, unless the directory has a default ACL or the
    /// client uses --perms.
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub umask: Option<Mode>,
    /// Permission bits to add to every new file, in octal.
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub force_mode: Option<Mode>,
    /// Permission bits to add to every new directory, in octal.
    #[arg(long, value_name = "MODE", value_parser = mode)]
    pub force_dir_mode: Option<Mode>,
    /// Do not wait for the disk. After a power failure, files that were acknowledged may be lost.
    #[arg(long)]
    pub no_sync: bool,
    /// Log each request.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Permission bits as `chmod` takes them.
fn mode(octal: &str) -> Result<Mode, String> {
    Mode::try_from(octal.to_owned()).map_err(str::to_owned)
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user with all rights; edit the file to grant fewer.
    Add {
        #[command(flatten)]
        new: NewPassword,
        /// Public key to log in with instead of a password: a file, or `-` for standard input.
        #[arg(long, value_name = "FILE.pub", conflicts_with = "password_fd")]
        key: Option<PathBuf>,
    },
    /// Change a user's password.
    Passwd(NewPassword),
    /// Add a key that the user can log in with.
    Key {
        /// Users file.
        file: PathBuf,
        /// Name of the user.
        name: String,
        /// Public key: a file, or `-` for standard input.
        #[arg(value_name = "FILE.pub")]
        key: PathBuf,
    },
    /// List the users.
    Ls {
        /// Users file.
        file: PathBuf,
    },
    /// Remove a user.
    Rm {
        /// Users file.
        file: PathBuf,
        /// Name of the user.
        name: String,
    },
}

#[derive(Debug, Args)]
pub struct NewPassword {
    /// Users file.
    pub file: PathBuf,
    /// Name of the user.
    pub name: String,
    /// Read the password from this file descriptor instead of prompting for it.
    #[arg(long, value_name = "N")]
    pub password_fd: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key, and print its public half for `ftpish user key` on the server.
    Gen(NewKey),
}

#[derive(Debug, Args)]
pub struct NewKey {
    /// File to create; by default ~/.config/ftpish/id_ed25519.
    pub file: Option<PathBuf>,
    /// Comment of the public key; by default USER@HOST.
    #[arg(long)]
    pub comment: Option<String>,
    /// Read the passphrase from this file descriptor instead of prompting for it.
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<u16>,
}

/// What everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Anonymous {
    Read,
    Write,
}
