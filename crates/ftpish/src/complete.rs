//! Completion on Tab: commands, and then paths, remote or local as the command wants them.

use std::cell::RefCell;
use std::path::Path;

use clap::CommandFactory as _;
use ftpish_protocol::message::Kind;
use ftpish_protocol::text::escape;
use rustyline::completion::{Completer, Pair};
use rustyline::{Context, Helper};
use walkdir::WalkDir;

use crate::cli::Line;
use crate::session::Session;

/// The most candidates that are looked for: nobody reads more.
const MOST: usize = 500;

/// The most entries that are looked at: a listing without end must not keep a person at the Tab key.
const MOST_SEEN: usize = 200_000;

/// Completes lines for one session.
pub struct Completion<'a> {
    session: &'a RefCell<Session>,
    commands: Vec<String>,
}

/// On which side a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Remote,
    Local,
}

impl<'a> Completion<'a> {
    pub fn new(session: &'a RefCell<Session>) -> Self {
        let mut line = Line::command();
        line.build();
        let commands = line.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        Self { session, commands }
    }

    /// The names in `dir` that begin with `prefix`; directories with a slash.
    fn names(&self, side: Side, dir: &str, prefix: &str) -> Vec<String> {
        let mut names = match side {
            Side::Remote => self.remote_names(dir, prefix),
            Side::Local => local_names(dir, prefix),
        };
        // What is completed is shown as it is: a name that would act on the terminal is typed by whoever means it.
        names.retain(|name| is_shown_as_it_is(name));
        names.sort();
        names
    }

    fn remote_names(&self, dir: &str, prefix: &str) -> Vec<String> {
        // A session that is at work completes nothing.
        let Ok(mut session) = self.session.try_borrow_mut() else { return vec![] };
        let dir = if dir.is_empty() { "." } else { dir };
        let Ok(path) = session.resolve_bytes(dir.as_bytes()) else { return vec![] };
        let Ok(client) = session.client() else { return vec![] };
        let (mut names, mut seen) = (Vec::new(), 0);
        let listed = client.ls(&path, &mut |entry| {
            seen += 1;
            if seen > MOST_SEEN {
                return Err(std::io::ErrorKind::QuotaExceeded.into());
            }
            let name = entry.name.as_ref().and_then(|name| std::str::from_utf8(name.as_bytes()).ok());
            if let Some(name) = name.filter(|name| name.starts_with(prefix) && names.len() < MOST) {
                names.push(if entry.kind == Kind::Dir { format!("{name}/") } else { name.to_owned() });
            }
            Ok(())
        });
        if listed.is_ok() { names } else { vec![] }
    }
}

fn local_names(dir: &str, prefix: &str) -> Vec<String> {
    let dir = if dir.is_empty() { Path::new(".") } else { Path::new(dir) };
    let entries = WalkDir::new(dir).min_depth(1).max_depth(1).into_iter().flatten();
    let names = entries.filter_map(|entry| {
        let name = entry.file_name().to_str().filter(|name| name.starts_with(prefix))?;
        Some(if entry.file_type().is_dir() { format!("{name}/") } else { name.to_owned() })
    });
    names.take(MOST).collect()
}

/// Whether a terminal shows a name, and nothing else happens.
fn is_shown_as_it_is(name: &str) -> bool {
    // The backslash is escaped only to be told from the escapes.
    let name = name.replace('\\', "");
    escape(name.as_bytes()).to_string() == name
}

/// Which side the next word of `command` is on, behind `before` others.
fn side(command: &str, before: usize) -> Option<Side> {
    match command {
        "lcd" | "lls" => Some(Side::Local),
        // The first is the source, the rest may be either; the other side is what is typed more.
        "put" => Some(if before == 0 { Side::Local } else { Side::Remote }),
        "get" => Some(if before == 0 { Side::Remote } else { Side::Local }),
        "verify" => Some(if before == 0 { Side::Local } else { Side::Remote }),
        "ls" | "stat" | "cat" | "mkdir" | "rm" | "mv" | "hash" | "df" | "cd" => Some(Side::Remote),
        _ => None,
    }
}

/// The words of a line up to the cursor, the last one unquoted as far as it goes, and where that one begins.
fn words(line: &str) -> (Vec<String>, String, usize) {
    let (mut words, mut word, mut start) = (Vec::new(), String::new(), line.len());
    let (mut quote, mut in_word) = (None, false);
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        if !in_word && !c.is_whitespace() {
            (in_word, start) = (true, at);
        }
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.push(c),
            (_, '\\') => word.extend(chars.next().map(|(_, c)| c)),
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => {
                if std::mem::take(&mut in_word) {
                    words.push(std::mem::take(&mut word));
                }
                start = line.len();
            }
            (_, c) => word.push(c),
        }
    }
    (words, word, start)
}

impl Completer for Completion<'_> {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (before, word, start) = words(&line[..at]);
        let Some((command, arguments)) = before.split_first() else {
            let names = self.commands.iter().filter(|name| name.starts_with(&word));
            let pair = |name: &String| Pair { display: name.clone(), replacement: format!("{name} ") };
            return Ok((start, names.map(pair).collect()));
        };
        let paths = arguments.iter().filter(|word| !word.starts_with('-')).count();
        let Some(side) = side(command, paths) else { return Ok((start, vec![])) };
        let (dir, prefix) = word.split_at(word.rfind('/').map_or(0, |slash| slash + 1));
        let pairs = self.names(side, dir, prefix).into_iter().map(|name| {
            let quoted = shlex::try_quote(&format!("{dir}{name}")).map_or_else(|_| name.clone(), Into::into);
            // A directory is rarely the end of a path.
            let space = if name.ends_with('/') { "" } else { " " };
            Pair { replacement: format!("{quoted}{space}"), display: name }
        });
        Ok((start, pairs.collect()))
    }
}

impl rustyline::hint::Hinter for Completion<'_> {
    type Hint = String;
}

impl rustyline::highlight::Highlighter for Completion<'_> {}

impl rustyline::validate::Validator for Completion<'_> {}

impl Helper for Completion<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, before: &[&str], word: &str, start: usize) {
        let (found, last, at) = words(line);
        assert_eq!(
            (found, last.as_str(), at),
            (before.iter().map(|w| (*w).to_owned()).collect(), word, start)
        );
    }

    #[test]
    fn the_word_under_the_cursor_is_found_and_unquoted() {
        check("", &[], "", 0);
        check("ge", &[], "ge", 0);
        check("get ", &["get"], "", 4);
        check("get a/b", &["get"], "a/b", 4);
        check("get 'a b", &["get"], "a b", 4);
        check("get a\\ b 'c d' \"e", &["get", "a b", "c d"], "e", 15);
    }

    #[test]
    fn each_word_is_completed_on_its_own_side() {
        assert_eq!(side("get", 0), Some(Side::Remote));
        assert_eq!(side("get", 1), Some(Side::Local));
        assert_eq!(side("put", 0), Some(Side::Local));
        assert_eq!(side("put", 1), Some(Side::Remote));
        assert_eq!(side("lcd", 0), Some(Side::Local));
        assert_eq!(side("exit", 0), None);
    }
}
