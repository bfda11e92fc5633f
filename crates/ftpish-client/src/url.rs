//! A server and a path in one: `ftpish://[USER@]HOST[:PORT]/PATH`.

use std::str::FromStr;

use ftpish_protocol::{PathError, RemotePath};
use ftpish_transport::{Endpoint, EndpointError};
use percent_encoding::percent_decode_str;

/// How a URL begins.
const SCHEME: &str = "ftpish://";

/// A server, and a path on it. The path's bytes are percent-encoded (RFC 3986, section 2.1) where they must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Who the user says to be.
    pub user: Option<String>,
    /// The path below the server's root.
    pub path: RemotePath,
    /// Whether the path ends in a slash, so that it means a directory.
    pub is_dir: bool,
}

impl ServerUrl {
    /// Whether `text` means to be a URL at all, rather than a path.
    pub fn is_url(text: &str) -> bool {
        text.starts_with(SCHEME)
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix(SCHEME).ok_or(UrlError::Scheme)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(UrlError::Password);
        }
        let user = match user {
            None => None,
            Some(user) => {
                Some(percent_decode_str(user).decode_utf8().map_err(|_| UrlError::User)?.into_owned())
            }
        };
        let bytes: Vec<u8> = percent_decode_str(path).collect();
        let path = if bytes.is_empty() { RemotePath::root() } else { RemotePath::root().resolve(&bytes)? };
        let is_dir = bytes.is_empty() || bytes.ends_with(b"/");
        Ok(Self { endpoint: host.parse()?, user, path, is_dir })
    }
}

/// Why text is not a [`ServerUrl`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It does not begin with `ftpish://`.
    #[error("it does not begin with ftpish://")]
    Scheme,
    /// It holds a password, which the process list would show to everybody.
    #[error("a password does not belong in a URL")]
    Password,
    /// The user's name is not UTF-8.
    #[error("the user is not UTF-8")]
    User,
    /// The host or the port.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The path.
    #[error(transparent)]
    Path(#[from] PathError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, endpoint: &str, user: Option<&str>, path: &str, is_dir: bool) {
        let url: ServerUrl = text.parse().unwrap();
        let seen = (url.endpoint.to_string(), url.user.as_deref(), url.path.to_string(), url.is_dir);
        assert_eq!(seen, (endpoint.to_owned(), user, path.to_owned(), is_dir));
    }

    #[test]
    fn every_part_is_found() {
        check("ftpish://host", "host:2121", None, ".", true);
        check("ftpish://host/", "host:2121", None, ".", true);
        check("ftpish://me@host:99/a%20b/c", "host:99", Some("me"), "a b/c", false);
        check("ftpish://[::1]:99/a/", "[::1]:99", None, "a", true);
        check("ftpish://host/a%FF", "host:2121", None, "a\\xff", false);
    }

    #[test]
    fn what_is_no_url_says_why() {
        let why = |text: &str| text.parse::<ServerUrl>().unwrap_err();
        assert_eq!(why("http://host/"), UrlError::Scheme);
        assert_eq!(why("ftpish://me:secret@host/"), UrlError::Password);
        assert_eq!(why("ftpish:///a"), UrlError::Endpoint(EndpointError::NoHost));
        assert_eq!(why("ftpish://host/../etc"), UrlError::Path(PathError::AboveRoot));
        assert_eq!(why("ftpish://host/a%00"), UrlError::Path(PathError::Nul));
    }
}
