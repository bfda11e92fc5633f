//! Listings: bodies of one JSON object a line, an [`Entry`] or a [`Node`], streamed. Neither end holds more than a block
//! of them.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::{BodySender, receive_with_trailer};
use crate::message::{Entry, Node};
use crate::{Algorithm, BodyError, Code, Connection, MAX_HEADER, Refusal, SendError};

/// What a line of a listing may hold.
pub trait Line: Serialize + DeserializeOwned {
    /// Why it cannot stand in a listing, if it cannot.
    fn fault(&self) -> Option<&'static str>;
}

impl Line for Entry {
    fn fault(&self) -> Option<&'static str> {
        self.name.is_none().then_some("it has no name")
    }
}

impl Line for Node {
    fn fault(&self) -> Option<&'static str> {
        None
    }
}

/// Sends `entries` as a body whose trailer counts them. An error among them aborts the body.
pub fn send_listing<S: Read + Write, L: Line>(
    connection: &mut Connection<S>,
    entries: impl Iterator<Item = io::Result<L>>,
    algorithm: Algorithm,
) -> Result<u64, SendError> {
    let mut sender = BodySender::new(connection, algorithm);
    let mut lines = Lines::new(entries);
    while sender.step(connection, &mut lines)? {}
    sender.finish(connection, Some(lines.count()));
    Ok(lines.count())
}

/// Receives a listing and gives each entry to `take` as it comes. That all came is known only when this
/// returns: the number of entries then. Lines that are no entries, and a count that is not theirs, are
/// [`BodyError::Sink`].
pub fn receive_listing<S: Read + Write, L: Line>(
    connection: &mut Connection<S>,
    algorithm: Algorithm,
    take: &mut dyn FnMut(L) -> io::Result<()>,
) -> Result<u64, BodyError> {
    let mut sink = Entries { take, partial: Vec::new(), count: 0 };
    let (_, trailer) = receive_with_trailer(connection, &mut sink, algorithm, None, &mut |_, _| true)?;
    match trailer.entries {
        Some(count) if count == sink.count && sink.partial.is_empty() => Ok(count),
        announced => {
            let announced = announced.map_or("none".to_owned(), |count| count.to_string());
            let why = format!("{} entries arrived, the sender counted {announced}", sink.count);
            Err(BodyError::Sink(Refusal::new(Code::Mismatch, why).into_io()))
        }
    }
}

/// Entries as the bytes of their lines: what a [`BodySender`] sends for a listing.
pub struct Lines<I> {
    entries: I,
    line: Vec<u8>,
    taken: usize,
    count: u64,
}

impl<I> Lines<I> {
    /// The lines of these entries.
    pub fn new(entries: I) -> Self {
        Self { entries, line: Vec::new(), taken: 0, count: 0 }
    }

    /// How many entries were taken.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl<L: Line, I: Iterator<Item = io::Result<L>>> Read for Lines<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.taken == self.line.len() {
                self.line.clear();
                self.taken = 0;
                match self.entries.next() {
                    None => break,
                    Some(entry) => serde_json::to_writer(&mut self.line, &entry?)?,
                }
                self.line.push(b'\n');
                self.count += 1;
            }
            let take = (buffer.len() - filled).min(self.line.len() - self.taken);
            buffer[filled..filled + take].copy_from_slice(&self.line[self.taken..self.taken + take]);
            self.taken += take;
            filled += take;
        }
        Ok(filled)
    }
}

/// The bytes of lines as entries.
struct Entries<'a, L> {
    take: &'a mut dyn FnMut(L) -> io::Result<()>,
    /// The line that is not yet whole: at most [`MAX_HEADER`] bytes.
    partial: Vec<u8>,
    count: u64,
}

impl<L: Line> Write for Entries<'_, L> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            if self.partial.len() + piece.len() > MAX_HEADER {
                return Err(malformed("it is too long"));
            }
            if !piece.ends_with(b"\n") {
                self.partial.extend_from_slice(piece);
                continue;
            }
            let entry: Result<L, _> = if self.partial.is_empty() {
                serde_json::from_slice(piece)
            } else {
                self.partial.extend_from_slice(piece);
                let entry = serde_json::from_slice(&self.partial);
                self.partial.clear();
                entry
            };
            let entry = entry.map_err(malformed)?;
            if let Some(fault) = entry.fault() {
                return Err(malformed(fault));
            }
            (self.take)(entry)?;
            self.count += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn malformed(why: impl std::fmt::Display) -> io::Error {
    Refusal::new(Code::Malformed, format!("an entry of the listing is malformed: {why}")).into_io()
}
