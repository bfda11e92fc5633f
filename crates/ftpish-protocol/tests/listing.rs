//! Listings over a stream in memory: whole, aborted, and malformed.
#![allow(clippy::unwrap_used, reason = "this is how a test fails")]

mod in_step;
#[allow(dead_code, reason = "other tests use the rest")]
mod pipe;

use std::io;

use ftpish_protocol::message::{Entry, Kind, LinkTarget, Mode, Time, Trailer};
use ftpish_protocol::*;
use in_step::{assert_in_step, finished, receiving};
use pipe::Pipe;

#[test]
fn a_listing_arrives_entry_by_entry_with_names_of_any_bytes() {
    let link = Entry { target: Some(LinkTarget(b"\xff/../x\n".into())), ..entry(b"link") };
    let odd = [entry(b"a"), entry(b"caf\xe9"), entry("café \u{202e}\n\"".as_bytes()), link];
    let many: Vec<_> = (0..5000).map(|n| entry(format!("{n:0100}").as_bytes())).collect();
    for entries in [&[][..], &odd, &many] {
        let bytes = listed(entries.iter().cloned().map(Ok));
        for pace in [1000, usize::MAX] {
            let mut arrived = vec![];
            let mut connection = receiving(&bytes, pace);
            let take = &mut |entry: Entry| {
                arrived.push(entry);
                Ok(())
            };
            let count = receive_listing(&mut connection, Algorithm::Md5, take).unwrap();
            assert_eq!(count, entries.len() as u64);
            assert!(arrived == entries);
            assert_in_step(connection);
        }
    }
}

#[test]
fn a_directory_that_cannot_be_read_to_its_end_aborts_the_listing() {
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let mut connection = receiving(&listed([Ok(entry(b"a")), Err(denied())].into_iter()), usize::MAX);
    let error = receive_listing(&mut connection, Algorithm::Md5, &mut |_: Entry| Ok(())).unwrap_err();
    assert!(matches!(error, BodyError::Aborted(refusal) if refusal.code == Code::PermissionDenied));
    assert_in_step(connection);
}

#[test]
fn a_listing_that_is_not_one_is_refused() {
    #[track_caller]
    fn check(lines: &[u8], counted: Option<u64>, code: Code, message: &str) {
        let digest = Algorithm::Md5.digest(lines);
        let mut connection = Connection::new(Pipe::silent());
        send_body(&mut connection, &mut &lines[..], Algorithm::Md5, &mut |_, _| true).unwrap();
        let mut bytes = finished(connection);
        bytes.truncate(4 + lines.len() + 4);
        let mut trailer = Connection::new(Pipe::silent());
        trailer
            .send(&Trailer { length: lines.len() as u64, digest, entries: counted, file: None, head: None })
            .unwrap();
        bytes.extend(finished(trailer));

        let mut connection = receiving(&bytes, usize::MAX);
        let error = receive_listing(&mut connection, Algorithm::Md5, &mut |_: Entry| Ok(())).unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::new(code, message)));
        connection.drain_body().unwrap();
        assert_in_step(connection);
    }
    let line = [&serde_json::to_vec(&entry(b"a")).unwrap()[..], b"\n"].concat();
    check(&line, Some(2), Code::Mismatch, "1 entries arrived, the sender counted 2");
    check(&line, Some(0), Code::Mismatch, "1 entries arrived, the sender counted 0");
    check(&line, None, Code::Mismatch, "1 entries arrived, the sender counted none");
    check(&line[..line.len() - 1], Some(1), Code::Mismatch, "0 entries arrived, the sender counted 1");
    let prefix = "an entry of the listing is malformed: ";
    check(&[b'x'; MAX_HEADER + 1], Some(1), Code::Malformed, &format!("{prefix}it is too long"));
    let climbing = String::from_utf8(line).unwrap().replace("\"a\"", "\"..\"");
    let message = format!("{prefix}a path cannot have the component `..` at line 1 column 12");
    check(climbing.as_bytes(), Some(1), Code::Malformed, &message);
}

/// The bytes of a listing and of the next message.
fn listed(entries: impl Iterator<Item = io::Result<Entry>>) -> Vec<u8> {
    let mut connection = Connection::new(Pipe::silent());
    // The receiver is told of an entry that cannot be read. These tests look at the receiver alone.
    let _ = send_listing(&mut connection, entries, Algorithm::Md5);
    finished(connection)
}

fn entry(name: &[u8]) -> Entry {
    Entry {
        name: Some(Name::parse(name).unwrap()),
        kind: Kind::File,
        size: u64::MAX,
        mtime: Time { seconds: i64::MIN, nanoseconds: 0 },
        mode: Mode::from_bits(0o644),
        target: None,
    }
}
