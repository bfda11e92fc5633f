//! `cat`: files to standard output.

use std::io;

use ftpish_client::Progress;

use super::{each, glob};
use crate::cli::Cat;
use crate::failure::Failure;
use crate::session::Session;

pub fn run(args: &Cat, session: &mut Session) -> Result<(), Failure> {
    each(&glob::locations(&args.files, session)?, session, |location, session| {
        let path = session.resolve(location)?;
        let mut out = Output { inner: io::stdout().lock(), error: None };
        let got = session.client()?.get(&path, args.digest.algorithm, &mut out, &Progress::default());
        out.outcome(got, &format!("cannot get `{path}`")).map(drop)
    })
}

/// Standard output, and what went wrong with it.
pub struct Output<W> {
    pub inner: W,
    pub error: Option<io::Error>,
}

impl<W: io::Write> Output<W> {
    /// Whose fault a transfer's error was.
    pub fn outcome<T>(mut self, got: Result<T, ftpish_client::Error>, tried: &str) -> Result<T, Failure> {
        match self.error.take().or_else(|| self.inner.flush().err()) {
            Some(error) => Err(Failure::output(&error)),
            None => got.map_err(|error| Failure::client(tried, error)),
        }
    }
}

impl<W: io::Write> io::Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).inspect_err(|error| self.error = Some(error.kind().into()))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
