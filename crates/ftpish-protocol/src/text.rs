//! Text from a peer, made safe to show: a hostile name cannot drive a terminal or forge a log line.

use std::fmt::{self, Write as _};

/// Shows bytes as text with everything escaped that a terminal or a log might act on: control characters
/// (C0, DEL, C1), line and paragraph separators, bidirectional controls, other invisible format characters,
/// the backslash that escapes begin with, and bytes that are not UTF-8.
pub fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

/// What [`escape`] returns; shown through `Display`.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.utf8_chunks() {
            for c in part.valid().chars() {
                match c {
                    '\n' => out.write_str("\\n")?,
                    '\r' => out.write_str("\\r")?,
                    '\t' => out.write_str("\\t")?,
                    '\\' => out.write_str("\\\\")?,
                    c if c.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(c))?,
                    c if acts_on_terminals(c) => write!(out, "\\u{{{:x}}}", u32::from(c))?,
                    c => out.write_char(c)?,
                }
            }
            for byte in part.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The most characters that are shown of a line that a peer wrote: more is no message, but a flood.
const MOST_SHOWN: usize = 1000;

/// Shows a peer's line [escaped](escape), and of a long one only the beginning.
pub fn brief(line: &str) -> Brief<'_> {
    Brief(line)
}

/// What [`brief`] returns; shown through `Display`.
#[derive(Clone, Copy)]
pub struct Brief<'a>(&'a str);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MOST_SHOWN) {
            None => escape(self.0.as_bytes()).fmt(out),
            Some((end, _)) => write!(out, "{}…", escape(&self.0.as_bytes()[..end])),
        }
    }
}

/// C1 controls; and of Unicode's format characters (category Cf) and separators those that reorder, hide or
/// break text. Zero-width joiners stay: scripts and emoji need them.
fn acts_on_terminals(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], shown: &str) {
        assert_eq!(escape(bytes).to_string(), shown);
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        check(b"report 2026 (final).pdf", "report 2026 (final).pdf");
        check("naïve 日本語 👩‍🚀".as_bytes(), "naïve 日本語 👩‍🚀");
    }

    #[test]
    fn nothing_that_drives_a_terminal_comes_through() {
        check(b"\x1b[31mred\x07", "\\x1b[31mred\\x07");
        check(b"two\nlines\r", "two\\nlines\\r");
        check("\u{9b}31m".as_bytes(), "\\u{9b}31m");
        check("gpj.\u{202e}exe".as_bytes(), "gpj.\\u{202e}exe");
        check("a\u{2028}b".as_bytes(), "a\\u{2028}b");
    }

    #[test]
    fn a_peers_line_is_shown_as_far_as_anybody_reads() {
        let line = "é".repeat(MOST_SHOWN);
        assert_eq!(brief(&line).to_string(), line);
        assert_eq!(brief(&format!("{line}\n")).to_string(), format!("{line}…"));
        assert_eq!(brief("two\nlines").to_string(), "two\\nlines");
    }

    #[test]
    fn bytes_that_are_not_utf8_and_backslashes_stay_distinct() {
        check(b"\xff\x9b", "\\xff\\x9b");
        check(b"\\xff", "\\\\xff");
    }
}
