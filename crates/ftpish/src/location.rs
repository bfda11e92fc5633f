//! What a person types for something on a server: a path, or a URL that names the server too.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParserFactory};
use ftpish_client::{ServerUrl, UrlError};
use ftpish_protocol::RemotePath;

/// A path or a URL, as it was typed.
#[derive(Clone, Debug)]
pub enum Location {
    /// Relative to where one is, or from the root with a leading slash. Any bytes.
    Path(OsString),
    /// A server and a path on it.
    Url(ServerUrl),
}

impl Location {
    /// Reads one word.
    pub fn parse(word: OsString) -> Result<Self, UrlError> {
        match word.to_str() {
            Some(text) if ServerUrl::is_url(text) => text.parse().map(Self::Url),
            _ => Ok(Self::Path(word)),
        }
    }

    /// What a path on the server is written as, wherever one is.
    pub fn absolute(path: &RemotePath) -> Self {
        let mut word = OsString::from("/");
        word.push(OsStr::from_bytes(path.as_bytes()));
        Self::Path(word)
    }

    /// Whether it is written as a directory: with a slash at the end.
    pub fn is_dir(&self) -> bool {
        match self {
            Self::Path(path) => path.as_bytes().ends_with(b"/"),
            Self::Url(url) => url.is_dir,
        }
    }
}

impl ValueParserFactory for Location {
    type Parser = clap::builder::ValueParser;

    fn value_parser() -> Self::Parser {
        OsStringValueParser::new().try_map(Self::parse).into()
    }
}
