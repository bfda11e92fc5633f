//! Standard output for data, standard error for talk. Whatever a peer named comes out escaped.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use ftpish_client::{ServerUrl, Transferred};
use ftpish_protocol::message::{Entry, Unset};
use ftpish_protocol::text::escape;

use crate::cli::Global;
use crate::failure::Failure;

/// How to talk to the person, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    quiet: bool,
    /// Whether bars may be drawn.
    pub bars: bool,
    /// Whether questions can be asked.
    pub interactive: bool,
}

impl Ui {
    pub fn new(global: &Global) -> Self {
        let talks = io::stderr().is_terminal();
        Self {
            quiet: global.quiet,
            bars: talks && !global.quiet && !global.no_progress,
            interactive: talks && io::stdin().is_terminal(),
        }
    }

    /// Says something that is no data, unless told to be quiet.
    pub fn say(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }

    /// Says what was not done, and what to do.
    pub fn failure(&self, failure: &Failure) {
        report(failure);
    }

    /// Says that a file arrived, how fast where it had the time for itself, and what proves it.
    pub fn transferred(&self, name: impl std::fmt::Display, done: &Transferred, took: Option<Duration>) {
        let (size, digest) = (bytes(done.size as f64), done.digest);
        let (algorithm, hex) = (digest.algorithm(), digest.hex());
        let pace = took.map_or(String::new(), |took| pace(done.moved, took));
        let kept = match done.size - done.moved.min(done.size) {
            0 => String::new(),
            kept => format!("  {} were there", bytes(kept as f64)),
        };
        self.say(format_args!("{name}  {size}{pace}{kept}  verified {algorithm} {hex}"));
    }

    /// Says how fast files arrived that moved together.
    pub fn arrived(&self, files: u64, size: u64, took: Duration) {
        self.say(arrived(files, size, took));
    }

    /// Says what a file has not got besides its bytes, if it is not all that it was to get.
    pub fn unset(&self, name: impl std::fmt::Display, unset: Unset) {
        let what = match unset {
            Unset { mtime: true, mode: true } => "time and permission bits",
            Unset { mtime: true, mode: false } => "time",
            Unset { mtime: false, mode: true } => "permission bits",
            Unset { mtime: false, mode: false } => return,
        };
        self.say(format_args!("warning: the file system there has not kept the {what} of {name}"));
    }

    /// Asks a question that is answered with yes or no, and whose last line is where the answer is typed. Anything
    /// but a yes is a no.
    pub fn confirm(&self, question: &str) -> bool {
        if !self.interactive {
            return false;
        }
        let Ok(mut editor) = rustyline::DefaultEditor::new() else { return false };
        let question = match question.rsplit_once('\n') {
            Some((about, question)) => {
                let _ = writeln!(io::stderr().lock(), "{about}");
                question
            }
            None => question,
        };
        let answer = editor.readline(&format!("{question} [y/N] ")).unwrap_or_default();
        matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

/// Says why something was not done.
pub fn report(failure: &Failure) {
    let _ = io::stderr().lock().write_all(describe(failure).as_bytes());
}

/// Why something was not done, in lines for standard error, without the passwords of URLs that it may quote.
pub fn describe(failure: &Failure) -> String {
    if failure.is_broken_pipe() {
        return String::new();
    }
    let why = format!("ftpish: {}\n", ServerUrl::redact(&failure.to_string()));
    failure.hint.iter().fold(why, |lines, hint| format!("{lines}hint: {hint}\n"))
}

/// Says what was wrong with the command line, or what was asked about it, and ends.
pub fn usage(error: &clap::Error) -> ! {
    let text = error.to_string();
    let shown = ServerUrl::redact(&text);
    if shown == text {
        error.exit();
    }
    let _ = write!(io::stderr().lock(), "{shown}");
    std::process::exit(error.exit_code());
}

/// How many files arrived, and how fast.
pub fn arrived(files: u64, size: u64, took: Duration) -> String {
    let verified = if files == 1 { "verified" } else { "each verified" };
    let (files, total) = (counted(files, "file", "files"), bytes(size as f64));
    format!("{files}  {total}{}  {verified}", pace(size, took))
}

/// A number of things, by the word for one or for many.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// How long it took, and how fast that was.
fn pace(moved: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    format!("  {seconds:.2} s  {}/s", bytes(moved as f64 / seconds.max(1e-6)))
}

/// A number of bytes for people: `17 B`, `1.5 KiB`, `64.0 MiB`.
pub fn bytes(count: f64) -> String {
    let mut count = count;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if count < 1023.95 {
            return if unit == "B" { format!("{count:.0} B") } else { format!("{count:.1} {unit}") };
        }
        count /= 1024.0;
    }
    format!("{count:.1} PiB")
}

/// Writes one line of data. A reader that has seen enough ends the command without a word.
pub fn print(line: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{line}").map_err(|error| Failure::output(&error))
}

/// One line of JSON, in which whatever a terminal might act on is escaped: what JSON itself lets pass, too.
pub fn json(entry: &Entry) -> String {
    let text = serde_json::to_string(entry).expect("entries have string keys");
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let shown = escape(c.encode_utf8(&mut [0; 4]).as_bytes()).to_string();
        if matches!(c, ' '..='~') || shown.chars().eq([c]) {
            safe.push(c);
        } else {
            // Such a character can only stand in a string, where JSON takes UTF-16 escapes.
            safe.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_short_and_never_show_1024_of_a_unit() {
        for (count, shown) in [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (1024.0, "1.0 KiB"),
            (1536.0, "1.5 KiB"),
            (1_048_575.0, "1.0 MiB"),
            (67_108_864.0, "64.0 MiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
    }
}
