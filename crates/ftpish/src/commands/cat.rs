//! `cat`: files to standard output.

use ftpish_client::Progress;

use super::output::Output;
use super::{each, glob};
use crate::cli::Cat;
use crate::failure::Failure;
use crate::session::Session;

pub fn run(args: &Cat, session: &mut Session) -> Result<(), Failure> {
    each(&glob::locations(&args.files, session)?, session, |location, session| {
        let path = session.resolve(location)?;
        let mut out = Output::standard().map_err(|error| Failure::output(&error))?;
        let got = session.client()?.get(&path, args.digest.algorithm, &mut out, &Progress::default());
        out.outcome(got, &format!("cannot get `{path}`")).map(drop)
    })
}
