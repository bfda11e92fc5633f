//! `ls`: what a directory holds, sorted by name as long as it is not too much.

use std::io::{self, IsTerminal as _, Write};

use ftpish_client::Error;
use ftpish_protocol::message::{Entry, Kind, LinkTarget, Time};
use ftpish_protocol::text::escape;
use ftpish_protocol::{Code, Name, RemotePath};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{each, glob};
use crate::cli::Ls;
use crate::failure::Failure;
use crate::location::Location;
use crate::session::Session;
use crate::ui::json;

/// How many entries are held to be sorted; of a larger directory all are shown as they come, and none is held.
const SORTED: usize = 10_000;

pub fn run(args: &Ls, session: &mut Session) -> Result<(), Failure> {
    let here = [Location::Path(".".into())];
    let paths = &glob::locations(if args.paths.is_empty() { &here } else { &args.paths }, session)?[..];
    let mut first = true;
    each(paths, session, |location, session| {
        let path = session.resolve(location)?;
        let mut listing = Listing::new(args);
        if paths.len() > 1 && !args.json {
            let gap = if first { "" } else { "\n" };
            listing.heading = format!("{gap}{path}:\n");
        }
        list(&path, &mut listing, session)?;
        first = false;
        Ok(())
    })
}

fn list(path: &RemotePath, listing: &mut Listing<'_>, session: &mut Session) -> Result<(), Failure> {
    let tried = || format!("cannot list `{path}`");
    let client = session.client()?;
    let listed = match client.ls(path, &mut |entry| listing.take(entry)) {
        // A file is listed as itself, as ls(1) does.
        Err(Error::Refused(refusal)) if refusal.code == Code::NotDirectory => {
            client.stat(path).map(|entry| {
                listing.heading.clear();
                listing.file = Some(path.clone());
                listing.held.push(entry);
            })
        }
        listed => listed.map(drop),
    };
    match listed {
        Err(Error::Local { .. }) if listing.broken_pipe => {
            return Err(Failure::output(&io::ErrorKind::BrokenPipe.into()));
        }
        listed => listed.map_err(|error| Failure::client(tried(), error))?,
    }
    listing.finish().map_err(|error| Failure::output(&error))
}

/// Entries on their way to standard output.
struct Listing<'a> {
    args: &'a Ls,
    /// Comes before the first entry; not at all where nothing can be listed.
    heading: String,
    /// What is listed, where it is no directory.
    file: Option<RemotePath>,
    out: io::BufWriter<io::Stdout>,
    held: Vec<Entry>,
    /// There are more than can be sorted.
    streaming: bool,
    decorate: bool,
    broken_pipe: bool,
    zone: TimeZone,
}

impl<'a> Listing<'a> {
    fn new(args: &'a Ls) -> Self {
        Self {
            args,
            heading: String::new(),
            file: None,
            out: io::BufWriter::new(io::stdout()),
            held: Vec::new(),
            streaming: false,
            decorate: io::stdout().is_terminal(),
            broken_pipe: false,
            zone: TimeZone::system(),
        }
    }

    fn take(&mut self, entry: Entry) -> io::Result<()> {
        if self.held.len() < SORTED && !self.streaming {
            self.held.push(entry);
            return Ok(());
        }
        self.streaming = true;
        let written = self.write_held().and_then(|()| self.write(&entry));
        self.broken_pipe = written.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
        written
    }

    fn finish(&mut self) -> io::Result<()> {
        self.held.sort_by(|a, b| a.name.cmp(&b.name));
        self.write_held()?;
        self.out.flush()
    }

    fn write_held(&mut self) -> io::Result<()> {
        self.out.write_all(std::mem::take(&mut self.heading).as_bytes())?;
        std::mem::take(&mut self.held).iter().try_for_each(|entry| self.write(entry))
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        if self.args.json {
            return writeln!(self.out, "{}", json(entry));
        }
        if self.args.long {
            let (mode, size, time) = (permissions(entry), entry.size, time(entry.mtime, &self.zone));
            write!(self.out, "{mode} {size:>12} {time} ")?;
        }
        let slash = if self.decorate && entry.kind == Kind::Dir { "/" } else { "" };
        let shown = self.file.as_ref().map_or_else(|| name(entry.name.as_ref()), RemotePath::to_string);
        write!(self.out, "{shown}{slash}")?;
        if let (true, Some(LinkTarget(target))) = (self.args.long, &entry.target) {
            write!(self.out, " -> {}", escape(target))?;
        }
        writeln!(self.out)
    }
}

fn name(name: Option<&Name>) -> String {
    name.map_or(".".to_owned(), Name::to_string)
}

/// Kind and permission bits as ls(1) shows them.
pub fn permissions(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::File => '-',
        Kind::Dir => 'd',
        Kind::Link => 'l',
        Kind::Other => '?',
    };
    let bits = (0..9)
        .map(|bit| if entry.mode.bits() & (0o400 >> bit) == 0 { '-' } else { ['r', 'w', 'x'][bit % 3] });
    std::iter::once(kind).chain(bits).collect()
}

/// A time in the person's own zone.
pub fn time(time: Time, zone: &TimeZone) -> String {
    match Timestamp::new(time.seconds, time.nanoseconds.cast_signed()) {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        // Beyond the year 9999 there is no calendar; such times are only ever damage.
        Err(_) => format!("@{}", time.seconds),
    }
}

#[cfg(test)]
mod tests {
    use ftpish_protocol::message::Mode;

    use super::*;

    #[test]
    fn permissions_read_as_ls_shows_them() {
        let entry = |kind, mode| Entry {
            name: None,
            kind,
            size: 0,
            mtime: Time { seconds: 0, nanoseconds: 0 },
            mode: Mode::from_bits(mode),
            target: None,
        };
        assert_eq!(permissions(&entry(Kind::File, 0o644)), "-rw-r--r--");
        assert_eq!(permissions(&entry(Kind::Dir, 0o751)), "drwxr-x--x");
        assert_eq!(permissions(&entry(Kind::Other, 0)), "?---------");
    }

    #[test]
    fn times_no_calendar_knows_are_shown_all_the_same() {
        let at = |seconds| time(Time { seconds, nanoseconds: 0 }, &TimeZone::UTC);
        assert_eq!(at(0), "1970-01-01 00:00:00");
        assert_eq!(at(-1), "1969-12-31 23:59:59");
        assert_eq!(at(i64::MAX), format!("@{}", i64::MAX));
    }
}
