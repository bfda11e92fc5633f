//! Passwords that a person keeps in a file, by server: `credentials` in ftpish's directory below XDG's for configuration.
//!
//! ```toml
//! ["nas.example:2121"]
//! user = "ada"
//! password = "…"
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use etcetera::BaseStrategy as _;
use ftpish_protocol::Secret;
use ftpish_protocol::text::escape;
use ftpish_transport::Endpoint;
use serde::Deserialize;

use crate::exit::Exit;
use crate::failure::Failure;

/// The most bytes that the file may have: nobody keeps that many passwords.
const MOST: u64 = 1024 * 1024;

/// How to log in to one server.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Who one is there.
    pub user: String,
    /// What only that user knows.
    pub password: Secret,
}

/// What the file says of a server; nothing where there is no file.
pub fn find(endpoint: &Endpoint) -> Result<Option<Credentials>, Failure> {
    let Ok(base) = etcetera::base_strategy::Xdg::new() else { return Ok(None) };
    let path = base.config_dir().join("ftpish/credentials");
    let mut all = load(&path)
        .map_err(|why| Failure::new(Exit::Login, format!("cannot use `{}`: {why}", path.display())))?;
    Ok(all.remove(&endpoint.to_string()))
}

fn load(path: &Path) -> Result<BTreeMap<String, Credentials>, String> {
    // The mode is asked of the file that is then read, whatever the name means meanwhile.
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        opened => opened.map_err(|error| error.to_string())?,
    };
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err("others may read it: chmod 600 takes that from them".to_owned());
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).map_err(|error| error.to_string())?;
    parse(&text)
}

fn parse(text: &str) -> Result<BTreeMap<String, Credentials>, String> {
    // The parser's own words would quote the line, and that may hold a password.
    let servers: BTreeMap<String, Credentials> =
        toml_edit::de::from_str(text).map_err(|error: toml_edit::de::Error| {
            let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
            format!("line {} does not belong there", before.matches('\n').count() + 1)
        })?;
    let by_endpoint = servers.into_iter().map(|(server, credentials)| {
        let endpoint: Endpoint = server
            .parse()
            .map_err(|error| format!("`{}` is no server: {error}", escape(server.as_bytes())))?;
        Ok((endpoint.to_string(), credentials))
    });
    by_endpoint.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[(&str, &str)], &str>) {
        let found = parse(text).map(|all| {
            let pairs = all.into_iter().map(|(server, found)| (server, found.user));
            pairs.collect::<Vec<_>>()
        });
        let found = found.as_ref().map(|all| all.iter().map(|(s, u)| (&**s, &**u)).collect::<Vec<_>>());
        assert_eq!(found.as_deref().map_err(|why| why.as_str()), expected);
    }

    #[test]
    fn a_server_is_known_by_whatever_names_it_and_no_error_shows_a_password() {
        check("", Ok(&[]));
        let ada = "user = \"ada\"\npassword = \"hunter2\"\n";
        check(
            &format!("[\"nas\"]\n{ada}[\"[::1]:99\"]\n{ada}"),
            Ok(&[("[::1]:99", "ada"), ("nas:2121", "ada")]),
        );
        check("[\"nas\"]\nuser = \"ada\"\npassword = hunter2", Err("line 3 does not belong there"));
        check(&format!("[\"nas\"]\n{ada}pass = 1"), Err("line 4 does not belong there"));
        assert!(
            parse(&format!("[\":x\"]\n{ada}")).err().is_some_and(|why| why.starts_with("`:x` is no server"))
        );
    }
}
