//! `mkdir`: new directories.

use super::each;
use crate::cli::Mkdir;
use crate::failure::Failure;
use crate::session::Session;

pub fn run(args: &Mkdir, session: &mut Session) -> Result<(), Failure> {
    each(&args.dirs, session, |location, session| {
        let path = session.resolve(location)?;
        let made = session.client()?.mkdir(&path, args.parents);
        made.map_err(|error| Failure::client(format!("cannot make `{path}`"), error))
    })
}
