//! `stat`: all that is known about a name.

use ftpish_protocol::message::{Kind, LinkTarget};
use ftpish_protocol::text::escape;
use jiff::tz::TimeZone;

use super::{each, glob, ls};
use crate::cli::Stat;
use crate::failure::Failure;
use crate::session::Session;
use crate::ui::{json, print};

pub fn run(args: &Stat, session: &mut Session) -> Result<(), Failure> {
    each(&glob::locations(&args.paths, session)?, session, |location, session| {
        let path = session.resolve(location)?;
        let entry = session
            .client()?
            .stat(&path)
            .map_err(|error| Failure::client(format!("cannot describe `{path}`"), error))?;
        if args.json {
            return print(json(&entry));
        }
        let kind = match entry.kind {
            Kind::File => "file",
            Kind::Dir => "directory",
            Kind::Link => "link",
            Kind::Other => "special",
        };
        let target =
            entry.target.as_ref().map_or(String::new(), |LinkTarget(to)| format!(" -> {}", escape(to)));
        print(format_args!("path  {path}{target}"))?;
        print(format_args!("kind  {kind}"))?;
        print(format_args!("size  {}", entry.size))?;
        print(format_args!("mode  {} {:03o}", ls::permissions(&entry), entry.mode.bits()))?;
        let nanoseconds = entry.mtime.nanoseconds;
        print(format_args!("time  {}.{nanoseconds:09}", ls::time(entry.mtime, &TimeZone::system())))
    })
}
