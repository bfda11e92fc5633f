//! A server and a path in one: `ftpish://[USER[:PASSWORD]@]HOST[:PORT]/PATH[#SHA256:…]`.

use std::str::FromStr;

use ftpish_protocol::{PathError, RemotePath, Secret};
use ftpish_transport::{Endpoint, EndpointError, Fingerprint};
use percent_encoding::percent_decode_str;

/// How a URL begins.
const SCHEME: &str = "ftpish://";

/// How the server's key begins, at the end of a URL. Any other `#` is part of a name.
const KEY: &str = "#SHA256:";

/// A server, and a path on it. The path's bytes are percent-encoded (RFC 3986, section 2.1) where they must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Who the user says to be.
    pub user: Option<String>,
    /// What shows it.
    pub password: Option<Secret>,
    /// The key that the server must have.
    pub host_key: Option<Fingerprint>,
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

    /// The same URL without its password, and the password; `None` where there is none.
    pub fn take_password(text: &str) -> Result<Option<(String, Secret)>, UrlError> {
        let rest = text.strip_prefix(SCHEME).ok_or(UrlError::Scheme)?;
        let authority = rest.split('/').next().unwrap_or(rest);
        let Some((user, password)) = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'))
        else {
            return Ok(None);
        };
        let behind = &rest[user.len() + 1 + password.len()..];
        Ok(Some((format!("{SCHEME}{user}{behind}"), Secret::new(decoded(password)?))))
    }

    /// `text`, which may hold URLs that are none, with nothing left that may be meant as a password.
    pub fn redact(text: &str) -> String {
        let mut parts = text.split(SCHEME);
        let mut shown = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            shown.push_str(SCHEME);
            let (url, behind) = part.split_at(part.find(char::is_whitespace).unwrap_or(part.len()));
            match url.rsplit_once('@').and_then(|(before, host)| Some((before.split_once(':')?.0, host))) {
                Some((user, host)) => shown.extend([user, ":…@", host, behind]),
                None => shown.push_str(part),
            }
        }
        shown
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (text, password) = match Self::take_password(text)? {
            Some((text, password)) => (text, Some(password)),
            None => (text.to_owned(), None),
        };
        let rest = text.strip_prefix(SCHEME).ok_or(UrlError::Scheme)?;
        let (rest, host_key) = match rest.rsplit_once(KEY) {
            Some((rest, key)) => {
                (rest, Some(format!("{}{key}", &KEY[1..]).parse().map_err(|_| UrlError::HostKey)?))
            }
            None => (rest, None),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(decoded(user)?), host),
            None => (None, authority),
        };
        // The `%` of an IPv6 zone (RFC 6874).
        let host = if host.starts_with('[') { host.replacen("%25", "%", 1) } else { host.to_owned() };
        // What does not look like a port may be half a password with a slash in it, and is not to be shown.
        let endpoint = host.parse().map_err(|error| match error {
            EndpointError::Port(_) if path.contains('@') => UrlError::Encoding,
            error => UrlError::Endpoint(error),
        })?;
        let bytes: Vec<u8> = percent_decode_str(path).collect();
        let path = if bytes.is_empty() { RemotePath::root() } else { RemotePath::root().resolve(&bytes)? };
        let is_dir = bytes.is_empty() || bytes.ends_with(b"/");
        Ok(Self { endpoint, user, password, host_key, path, is_dir })
    }
}

fn decoded(text: &str) -> Result<String, UrlError> {
    Ok(percent_decode_str(text).decode_utf8().map_err(|_| UrlError::User)?.into_owned())
}

/// Why text is not a [`ServerUrl`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It does not begin with `ftpish://`.
    #[error("it does not begin with ftpish://")]
    Scheme,
    /// The user's name or the password is not UTF-8.
    #[error("the user or the password is not UTF-8")]
    User,
    /// A password with characters in it that mean something in a URL.
    #[error("`/`, `@`, `:`, `#` and `%` in a user or a password are written %2F, %40, %3A, %23 and %25")]
    Encoding,
    /// What stands behind the path is no fingerprint.
    #[error("`SHA256:` is not followed by a key's fingerprint")]
    HostKey,
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
        check("ftpish://[fe80::1%25eth0]:9/a", "[fe80::1%eth0]:9", None, "a", false);
        check("ftpish://me@[fe80::1%2525]/", "[fe80::1%25]:2121", Some("me"), ".", true);
        check("ftpish://host/a%FF", "host:2121", None, "a\\xff", false);
    }

    #[test]
    fn what_is_no_url_says_why() {
        let why = |text: &str| text.parse::<ServerUrl>().unwrap_err();
        assert_eq!(why("http://host/"), UrlError::Scheme);
        assert_eq!(why("ftpish://me:hun/ter2@host/"), UrlError::Encoding);
        assert_eq!(why("ftpish://me:%FF@host/"), UrlError::User);
        assert_eq!(why("ftpish://host/#SHA256:short"), UrlError::HostKey);
        assert_eq!(why("ftpish:///a"), UrlError::Endpoint(EndpointError::NoHost));
        assert_eq!(why("ftpish://host/../etc"), UrlError::Path(PathError::AboveRoot));
        assert_eq!(why("ftpish://host/a%00"), UrlError::Path(PathError::Nul));
    }

    #[test]
    fn a_password_and_a_key_are_taken_out_and_not_shown() {
        #[track_caller]
        fn check(text: &str, user: &str, password: &str, rest: &str) {
            let (stripped, secret) = ServerUrl::take_password(text).unwrap().unwrap();
            assert_eq!((&*stripped, secret.reveal()), (rest, password));
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.user.as_deref(), Some(user));
            assert_eq!(url.password.as_ref().map(Secret::reveal), Some(password));
            assert!(!format!("{url:?}").contains("hunter"), "{url:?}");
            assert!(!ServerUrl::redact(text).contains("hunter"), "{}", ServerUrl::redact(text));
        }
        check("ftpish://me:hunter2@host/a", "me", "hunter2", "ftpish://me@host/a");
        check("ftpish://m%3Ae:hunter%2F%40%3A@[::1]:9/", "m:e", "hunter/@:", "ftpish://m%3Ae@[::1]:9/");
        check("ftpish://me:hunter:2@host", "me", "hunter:2", "ftpish://me@host");
        check("ftpish://me:hunter@2@host", "me", "hunter@2", "ftpish://me@host");
        check("ftpish://me:@host/a:b@c", "me", "", "ftpish://me@host/a:b@c");
        assert_eq!(ServerUrl::take_password("ftpish://me@host:9/a:b@c"), Ok(None));
        let key = "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";
        let url: ServerUrl = format!("ftpish://host/a#b#{key}").parse().unwrap();
        assert_eq!(
            (url.path.to_string(), url.host_key.map(|k| k.to_string())),
            ("a#b".to_owned(), Some(key.to_owned()))
        );
    }

    #[test]
    fn what_may_be_a_password_is_redacted_even_where_the_url_is_none() {
        #[track_caller]
        fn check(text: &str, shown: &str) {
            assert_eq!(ServerUrl::redact(text), shown);
        }
        check("get a", "get a");
        check("get ftpish://host:9/a", "get ftpish://host:9/a");
        check("`ftpish://me:hun/ter2@host/a`: no", "`ftpish://me:…@host/a`: no");
        check("mv ftpish://a:b@c/ ftpish://d:e@f/", "mv ftpish://a:…@c/ ftpish://d:…@f/");
    }
}
