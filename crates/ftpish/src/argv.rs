//! Passwords that were pasted in a URL: taken out of the arguments before anything else, since the process list shows
//! those to everybody, and usage errors quote them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use ftpish_client::ServerUrl;
use ftpish_protocol::Secret;

use crate::exit::Exit;
use crate::failure::Failure;

/// Where a password is looked for. Only the same user, and root, may read another process's environment.
pub const PASSWORD: &str = "FTPISH_PASSWORD";

/// Where there is a password in the arguments, starts the program anew, as the same process, with it in the
/// environment in place of the arguments.
pub fn hide_passwords() -> Result<(), Failure> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (words, Some(password)) = without_password(words)? else { return Ok(()) };
    let cannot = |error| {
        Failure::new(Exit::Other, format!("cannot hide the password of a URL from the process list: {error}"))
            .hint(format!("give it in {PASSWORD}, or wait to be asked for it"))
    };
    let program = std::env::current_exe().map_err(cannot)?;
    let name = std::env::args_os().next().unwrap_or_default();
    Err(cannot(Command::new(program).arg0(name).args(words).env(PASSWORD, password.reveal()).exec()))
}

/// The words without the passwords in them, and the password. One command works with one server, so there is one.
fn without_password(words: Vec<OsString>) -> Result<(Vec<OsString>, Option<Secret>), Failure> {
    let (mut plain, mut found) = (Vec::with_capacity(words.len()), None);
    for word in words {
        let taken = match word.to_str().filter(|text| ServerUrl::is_url(text)) {
            Some(text) => {
                ServerUrl::take_password(text).map_err(|error| Failure::usage(error.to_string()))?
            }
            None => None,
        };
        let Some((text, password)) = taken else {
            plain.push(word);
            continue;
        };
        plain.push(text.into());
        if found.replace(password).is_some_and(|other| Some(&other) != found.as_ref()) {
            return Err(Failure::usage(
                "the URLs have different passwords: one command works with one server",
            ));
        }
    }
    Ok((plain, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(words: &[&str]) -> Result<(Vec<OsString>, Option<String>), String> {
        without_password(words.iter().map(OsString::from).collect())
            .map(|(words, password)| (words, password.map(|secret| secret.reveal().to_owned())))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn one_password_is_taken_out_of_all_words() {
        let (words, password) = taken(&["get", "ftpish://a:b@c/d", "ftpish://a:b@c/e", "f:g@h"]).unwrap();
        assert_eq!(words, ["get", "ftpish://a@c/d", "ftpish://a@c/e", "f:g@h"].map(OsString::from));
        assert_eq!(password.as_deref(), Some("b"));
        assert_eq!(taken(&["ls", "ftpish://a@c/d"]).unwrap().1, None);
        assert!(
            taken(&["ftpish://a:b@c", "ftpish://a:hunter2@c"]).unwrap_err().contains("different passwords")
        );
    }
}
