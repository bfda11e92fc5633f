//! `key`: keys that log in, and the files that they lie in. A file of OpenSSH's own is as good.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;
use ftpish_protocol::text::escape;
use ftpish_protocol::{KeyError, PrivateKey, Secret};

use crate::cli::KeyCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{Ui, print};
use crate::user::{ask_new, from_descriptor};

pub fn run(command: &KeyCommand, ui: &Ui) -> Result<(), Failure> {
    let KeyCommand::Gen(args) = command;
    let path = match &args.file {
        Some(path) => path.clone(),
        None => default_path().ok_or_else(|| Failure::usage("there is no home directory: name a file"))?,
    };
    let public = PathBuf::from([path.as_os_str(), ".pub".as_ref()].join("".as_ref()));
    for path in [&path, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
    }
    let passphrase = match args.passphrase_fd {
        Some(fd) => from_descriptor(fd)?,
        None if io::stdin().is_terminal() => {
            ask_new("Passphrase (none if empty): ", "--passphrase-fd says where to read it")?
        }
        None => Secret::new(String::new()),
    };
    let comment = args.comment.clone().unwrap_or_else(who_and_where);
    let made = PrivateKey::generate(&comment).map_err(|error| cannot_use(&path, error))?;
    let passphrase = Some(&passphrase).filter(|phrase| !phrase.reveal().is_empty());
    let text = made.to_openssh(passphrase).map_err(|error| cannot_use(&path, error))?;
    if let Some(dir) = path.parent() {
        let make = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        make.map_err(|error| cannot_make(dir, &error))?;
    }
    write_new(&path, text.reveal(), 0o600)?;
    write_new(&public, &format!("{}\n", made.public()), 0o644)?;
    ui.say(format_args!(
        "the key is in {}, and what a server is to know of it in {}:",
        path.display(),
        public.display()
    ));
    print(format_args!("{}", made.public()))
}

/// As `ssh-keygen` names its keys.
fn who_and_where() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "ftpish".to_owned());
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

/// Where the key is that logs in where nothing else is said.
pub fn default_path() -> Option<PathBuf> {
    let base = etcetera::base_strategy::Xdg::new().ok()?;
    Some(base.config_dir().join("ftpish/id_ed25519"))
}

/// The key in a file that nobody else may read. Its passphrase, if it has one, is asked for.
pub fn load(path: &Path) -> Result<PrivateKey, Failure> {
    // The mode is asked of the file that is then read, whatever the name means meanwhile.
    let file = std::fs::File::open(path).map_err(|error| cannot_use(path, error))?;
    let metadata = file.metadata().map_err(|error| cannot_use(path, error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(cannot_use(path, "others may read it: chmod 600 takes that from them"));
    }
    let text = io::read_to_string(file).map(Secret::new).map_err(|error| cannot_use(path, error))?;
    let asked = || Ok(ask(path)?);
    PrivateKey::open(text.reveal(), asked).map_err(|error| match error {
        Trouble::Asking(failure) => failure,
        Trouble::Key(error) => cannot_use(path, error),
    })
}

fn ask(path: &Path) -> Result<Secret, Failure> {
    let prompt = format!("Passphrase of {}: ", escape(path.as_os_str().as_encoded_bytes()));
    crate::user::ask(&prompt, "a key without a passphrase logs in")
}

/// Why a key could not be opened.
enum Trouble {
    Asking(Failure),
    Key(KeyError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Asking(failure)
    }
}

impl From<KeyError> for Trouble {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

/// Writes a file that was not there, whole or not at all.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> io::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    match write().map_err(|error| cannot_make(path, &error))?.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(lost) => Err(cannot_make(path, &lost.error)),
    }
}

fn exists(path: &Path) -> Failure {
    let path = escape(path.as_os_str().as_encoded_bytes());
    Failure::new(Exit::Exists, format!("there is `{path}` already"))
        .hint("a key that is replaced logs in nowhere any more: name another file, or remove it first")
}

fn cannot_make(path: &Path, error: &io::Error) -> Failure {
    let path = escape(path.as_os_str().as_encoded_bytes());
    Failure::new(Exit::Other, format!("cannot make `{path}`: {error}"))
}

fn cannot_use(path: &Path, why: impl std::fmt::Display) -> Failure {
    let path = escape(path.as_os_str().as_encoded_bytes());
    Failure::new(Exit::Login, format!("cannot use the key `{path}`: {why}"))
}
