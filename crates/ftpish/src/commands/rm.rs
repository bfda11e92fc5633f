//! `rm`: takes names away.

use super::each;
use crate::cli::Rm;
use crate::failure::Failure;
use crate::session::Session;

pub fn run(args: &Rm, session: &mut Session) -> Result<(), Failure> {
    each(&args.paths, session, |location, session| {
        let path = session.resolve(location)?;
        let removed = session.client()?.rm(&path, args.recursive);
        removed.map_err(|error| Failure::client(format!("cannot remove `{path}`"), error))
    })
}
