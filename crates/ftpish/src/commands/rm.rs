//! `rm`: takes names away.

use ftpish_client::Error;
use ftpish_protocol::Code;

use super::{each, glob};
use crate::cli::Rm;
use crate::failure::Failure;
use crate::session::Session;

pub fn run(args: &Rm, session: &mut Session) -> Result<(), Failure> {
    each(&glob::locations(&args.paths, session)?, session, |location, session| {
        let path = session.resolve(location)?;
        match session.client()?.rm(&path, args.recursive) {
            Err(Error::Refused(refusal)) if args.force && refusal.code == Code::NotFound => Ok(()),
            removed => removed.map_err(|error| Failure::client(format!("cannot remove `{path}`"), error)),
        }
    })
}
