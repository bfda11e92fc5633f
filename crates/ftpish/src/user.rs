//! `user`: the accounts of a users file. A password comes from a prompt or a file descriptor, never from an argument,
//! which the process list would show to everybody.

use std::io::{self, Read as _};
use std::path::Path;

use ftpish_protocol::text::escape;
use ftpish_protocol::{PublicKey, Secret};
use ftpish_server::{Users, UsersError, UsersFile, hash};

use crate::cli::{NewPassword, UserCommand};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::print;

/// How much of a file descriptor is read: more than the longest password.
const MAX_LINE: u64 = 4096;

pub fn run(command: &UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add { new, key } => {
            let mut users = if new.file.exists() { open(&new.file)? } else { UsersFile::new(&new.file) };
            if users.has(&new.name) {
                return Err(Failure::new(Exit::Exists, format!("there is a user `{}` already", new.name))
                    .hint("`user passwd` changes the password, and `user key` adds a key"));
            }
            let added = match key {
                Some(key) => users.add_key(&new.name, &public_key(key)?),
                None => users.set_password(&new.name, &new_password(new)?),
            };
            if !added {
                return Err(Failure::usage("a user's name is 1 to 64 letters, digits, `.`, `_`, `-` or `@`"));
            }
            save(&mut users)
        }
        UserCommand::Key { file, name, key } => {
            let mut users = open(file)?;
            if !users.has(name) {
                return Err(no_such(name));
            }
            users.add_key(name, &public_key(key)?);
            save(&mut users)
        }
        UserCommand::Passwd(args) => {
            let mut users = open(&args.file)?;
            if !users.has(&args.name) {
                return Err(no_such(&args.name));
            }
            users.set_password(&args.name, &new_password(args)?);
            save(&mut users)
        }
        UserCommand::Ls { file } => {
            let users = Users::load(file).map_err(Failure::from)?;
            users.names().try_for_each(|name| print(format_args!("{name}")))
        }
        UserCommand::Rm { file, name } => {
            let mut users = open(file)?;
            if !users.remove(name) {
                return Err(no_such(name));
            }
            save(&mut users)
        }
    }
}

fn open(file: &Path) -> Result<UsersFile, Failure> {
    UsersFile::open(file).map_err(Failure::from)
}

fn save(users: &mut UsersFile) -> Result<(), Failure> {
    users.save().map_err(Failure::from)
}

fn no_such(name: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no user `{}`", escape(name.as_bytes())))
}

/// The hash of the password that is asked for, or that the file descriptor gives.
fn new_password(args: &NewPassword) -> Result<String, Failure> {
    let password = match args.password_fd {
        Some(fd) => from_descriptor(fd)?,
        None => ask_new("New password: ", "--password-fd says where to read it")?,
    };
    hash(&password).ok_or_else(|| Failure::usage("a password has 1 to 1024 bytes"))
}

/// The public key in a file, or in standard input where that is `-`.
fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let cannot = |why: &dyn std::fmt::Display| Failure::usage(format!("cannot use the key `{shown}`: {why}"));
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(MAX_LINE).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_LINE).read_to_string(&mut text))
    };
    read.map_err(|error| cannot(&error))?;
    text.trim().parse().map_err(|error| cannot(&error))
}

/// A secret's first line, from a file descriptor.
pub fn from_descriptor(fd: u16) -> Result<Secret, Failure> {
    let cannot = |error| Failure::usage(format!("cannot read a secret from file descriptor {fd}: {error}"));
    let mut text = String::new();
    let file = std::fs::File::open(format!("/dev/fd/{fd}")).map_err(cannot)?;
    file.take(MAX_LINE).read_to_string(&mut text).map_err(cannot)?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    drop(Secret::new(text));
    Ok(Secret::new(line))
}

/// Asks for a new secret, twice; `otherwise` says what gives it where there is no terminal.
pub fn ask_new(prompt: &str, otherwise: &str) -> Result<Secret, Failure> {
    let typed = ask(prompt, otherwise)?;
    if ask("Again: ", otherwise)? != typed {
        return Err(Failure::usage("the two are not the same"));
    }
    Ok(typed)
}

/// Asks for a secret on the terminal, without echo; `otherwise` says what gives it where there is none.
pub fn ask(prompt: &str, otherwise: &str) -> Result<Secret, Failure> {
    rpassword::prompt_password(prompt).map(Secret::new).map_err(|error| {
        Failure::new(Exit::Login, format!("cannot ask for a secret: {error}"))
            .hint(format!("without a terminal, {otherwise}"))
    })
}

impl From<UsersError> for Failure {
    fn from(error: UsersError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}
