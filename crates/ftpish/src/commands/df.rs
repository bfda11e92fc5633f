//! `df`: the space of the server's file system.

use crate::cli::Df;
use crate::failure::Failure;
use crate::location::Location;
use crate::session::Session;
use crate::ui::{bytes, print};

pub fn run(args: &Df, session: &mut Session) -> Result<(), Failure> {
    let here = Location::Path(".".into());
    let path = session.resolve(args.path.as_ref().unwrap_or(&here))?;
    let space = session.client()?.df(&path);
    let space =
        space.map_err(|error| Failure::client(format!("cannot tell the space of `{path}`"), error))?;
    let shown = |count: u64| bytes(count as f64);
    let used = space.total.saturating_sub(space.free);
    print(format_args!("{:>12} {:>12} {:>12}", "size", "used", "available"))?;
    print(format_args!("{:>12} {:>12} {:>12}", shown(space.total), shown(used), shown(space.available)))
}
