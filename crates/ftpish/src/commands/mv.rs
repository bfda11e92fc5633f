//! `mv`: a new name, or a new directory.

use ftpish_client::Error;
use ftpish_protocol::Code;
use ftpish_protocol::message::{Kind, Replace};

use crate::cli::Mv;
use crate::failure::Failure;
use crate::session::{Session, bad_path};

pub fn run(args: &Mv, session: &mut Session) -> Result<(), Failure> {
    let from = session.resolve(&args.from)?;
    let mut to = session.resolve(&args.to)?;
    let failure = |error| Failure::client(format!("cannot move `{from}`"), error);
    let client = session.client()?;
    let into_dir = match client.stat(&to) {
        Ok(entry) => entry.kind == Kind::Dir,
        Err(Error::Refused(refusal)) if refusal.code == Code::NotFound => args.to.is_dir(),
        Err(error) => return Err(failure(error)),
    };
    if let (true, Some(name)) = (into_dir, from.name()) {
        to = to.join(&name).map_err(|error| bad_path(name.as_bytes(), &error))?;
    }
    let replace = if args.no_clobber { Replace::Never } else { Replace::Always };
    client.mv(&from, &to, replace).map_err(failure)
}
