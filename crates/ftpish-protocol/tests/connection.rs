//! Messages over a stream in memory: cut at every offset, too long, cut off by the end, and received although nothing can
//! be written.
#![allow(clippy::unwrap_used, reason = "this is how a test fails")]

mod in_step;
#[allow(dead_code, reason = "other tests use the rest")]
mod pipe;

use std::io::{self, Read, Write};

use ftpish_protocol::message::Working;
use ftpish_protocol::*;
use in_step::{NEXT, finished};
use pipe::Pipe;

#[test]
fn messages_arrive_however_they_are_cut_and_the_connection_rests_in_between() {
    let two = [finished(Connection::new(Pipe::silent())), finished(Connection::new(Pipe::silent()))].concat();
    for cut in 0..=two.len() {
        let mut connection = Connection::new(Pipe::new(&two[..cut], 3).unfinished());
        let whole = cut / (two.len() / 2);
        for _ in 0..whole {
            assert_eq!(connection.arrive().unwrap(), Arrived::Whole);
            assert_eq!(connection.arrive().unwrap(), Arrived::Whole, "nothing is taken");
            assert!(connection.receive().unwrap().is_some());
        }
        assert_eq!(connection.arrive().unwrap(), Arrived::Part);
        connection.rest();
        assert_eq!(connection.has_input(), cut % (two.len() / 2) > 0);
        connection.stream().go_on(&two[cut..]);
        for _ in whole..2 {
            assert_eq!(connection.arrive().unwrap(), Arrived::Whole);
            assert!(connection.receive().unwrap().is_some());
        }
        assert_eq!(connection.arrive().unwrap(), Arrived::End);
    }
}

#[test]
fn a_message_that_is_too_long_or_cut_by_the_end_arrives_as_its_error() {
    let mut connection = Connection::new(Pipe::new(&u32::MAX.to_be_bytes(), 1).unfinished());
    assert_eq!(connection.arrive().unwrap(), Arrived::Whole);
    assert!(matches!(connection.receive(), Err(Error::HeaderTooLarge { .. })));
    for cut in [&[0][..], &[0, 0, 0, 9, b'{']] {
        let mut connection = Connection::new(Pipe::new(cut, 1));
        assert_eq!(connection.arrive().unwrap(), Arrived::Whole);
        assert!(matches!(connection.receive(), Err(Error::Closed)));
    }
}

/// A peer that has closed: writes fail, and what it sent before can still be read.
struct Closed(Pipe);

impl Read for Closed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn last_words_are_received_although_nothing_can_be_written_any_more() {
    let last_words = finished(Connection::new(Pipe::silent()));
    let mut connection = Connection::new(Closed(Pipe::new(&last_words, 7)));
    connection.queue(&NEXT);
    assert!(matches!(connection.flush(), Err(Error::Io(_))));
    let heard: Working = connection.receive().unwrap().unwrap().decode().unwrap();
    assert_eq!(heard, NEXT);
    let end = connection.receive().unwrap_err();
    assert!(matches!(&end, Error::Io(error) if error.kind() == io::ErrorKind::BrokenPipe), "{end}");
}
