//! Bodies over a stream in memory: whole, damaged, cut, aborted and unwanted. Behind each body that leaves the
//! connection in step stands one more message, which must be received.
#![allow(clippy::unwrap_used, reason = "this is how a test fails")]

mod pipe;

use std::io::{self, Read, Write};

use ftpish_protocol::message::{Entry, Kind, LinkTarget, Mode, Time, Trailer, Working};
use ftpish_protocol::*;
use pipe::{Pieces, Pipe};

/// The message that stands behind each body.
const NEXT: Working = Working { id: 7, working: 7 };

#[test]
fn a_body_of_any_size_arrives_verified_with_any_digest() {
    for algorithm in Algorithm::ALL {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            let data = noise(size);
            let bytes = sent(&[&data], algorithm);
            for (pace, announced) in [(usize::MAX, None), (4099, Some(size as u64))] {
                let mut arrived = vec![];
                let mut connection = receiving(&bytes, pace);
                let verified =
                    receive_body(&mut connection, &mut arrived, algorithm, announced, &mut |_, _| true)
                        .unwrap();
                assert_eq!(verified.length(), size as u64);
                assert_eq!(verified.digest(), algorithm.digest(&data));
                assert!(arrived == data, "{algorithm} of {size} bytes at a pace of {pace}");
                assert_in_step(connection);
            }
        }
    }
}

/// A request, and a reply with a body: moved a step at a time, with a rest before each.
#[test]
fn whoever_rests_in_the_middle_of_anything_knows_all_that_the_trailer_is_held_against() {
    let content = vec![7; 300_000];
    let mut asked = Vec::new();
    let mut client = Connection::new(Pipe::silent());
    client.send(&serde_json::json!({"id": 1, "cmd": "get", "path": "a"})).unwrap();
    client.flush().unwrap();
    std::mem::swap(&mut asked, &mut client.stream().written);
    let mut server = Connection::new(Pipe::new(&asked, 1000));
    let request = server.receive().unwrap().unwrap();
    server.answer(Some(&request));
    server.rest();
    server.queue(&serde_json::json!({"id": 1, "ok": true, "body": true}));
    server.rest();
    let (mut sender, mut source) = (BodySender::new(&server, Algorithm::Md5), &content[..]);
    while sender.step(&mut server, &mut source).unwrap() {
        server.flush().unwrap();
        server.rest();
    }
    sender.finish(&mut server, None);
    server.flush().unwrap();
    let mut client = Connection::new(Pipe::new(&server.stream().written, 1000));
    client.answer(Some(&request));
    client.receive().unwrap().unwrap();
    client.begin_body();
    let (mut receiver, mut received) = (BodyReceiver::new(&client, Algorithm::Md5, None), Vec::new());
    loop {
        client.rest();
        receiver.rest();
        if !receiver.step(&mut client, &mut received).unwrap() {
            break;
        }
    }
    client.rest();
    let (verified, trailer) = receiver.finish(&mut client).unwrap();
    assert_eq!((verified.length(), trailer.head.is_some()), (content.len() as u64, true));
    assert!(received == content);
}

#[test]
fn a_body_arrives_over_a_stream_of_single_bytes() {
    let data = noise(BLOCK + 1);
    let mut connection = receiving(&sent(&[&data], Algorithm::Blake3), 1);
    let mut arrived = vec![];
    let verified = receive_body(&mut connection, &mut arrived, Algorithm::Blake3, None, &mut |_, _| true);
    assert_eq!(verified.unwrap().length(), data.len() as u64);
    assert!(arrived == data);
    assert_in_step(connection);
}

#[test]
fn many_small_bodies_follow_each_other() {
    let mut connection = Connection::new(Pipe::silent());
    for size in 0..100 {
        send(&mut connection, &[&noise(size)], Algorithm::Md5).unwrap();
    }
    assert!(connection.stream().written.is_empty(), "they leave together");
    let mut connection = receiving(&finished(connection), 1000);
    for size in 0..100_u64 {
        connection.begin_body();
        assert_eq!(receive(&mut connection, Some(size)).unwrap().length(), size);
    }
    assert_in_step(connection);
}

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

/// A peer that has closed: nothing can be written, and what it said last lies here.
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

#[test]
fn a_source_that_fails_is_told_in_band() {
    let full = noise(BLOCK);
    let cases: [&[&[u8]]; 4] = [&[], &[b"some"], &[b"some", b"more"], &[&full, &full, b"more"]];
    for pieces in cases {
        let mut connection = Connection::new(Pipe::silent());
        let then = Some(Refusal::new(Code::Changed, "grew while it was read").into_io());
        let source = &mut Pieces { pieces, then };
        let error = send_body(&mut connection, source, Algorithm::Md5, &mut |_, _| true).unwrap_err();
        assert!(matches!(&error, SendError::Source(_)), "{error}");
        assert_eq!(error.to_string(), "grew while it was read");

        let bytes = finished(connection);
        let mut connection = receiving(&bytes, 11);
        let error = receive(&mut connection, None).unwrap_err();
        assert!(matches!(&error, BodyError::Aborted(refusal) if refusal.code == Code::Changed), "{error}");
        assert_eq!(error.refusal(), None, "the sender knows");
        assert_in_step(connection);

        let mut connection = receiving(&bytes, 11);
        connection.drain_body().unwrap();
        assert_in_step(connection);
    }
}

#[test]
fn a_sender_that_is_stopped_aborts_its_body() {
    let mut connection = Connection::new(Pipe::silent());
    let source = &mut Pieces { pieces: &[b"1", b"2", b"3"], then: None };
    let error = send_body(&mut connection, source, Algorithm::Md5, &mut |_, sent| sent < 2).unwrap_err();
    assert!(matches!(error, SendError::Stopped));
    let mut connection = receiving(&finished(connection), usize::MAX);
    let error = receive(&mut connection, None).unwrap_err();
    assert!(matches!(error, BodyError::Aborted(refusal) if refusal.code == Code::Cancelled));
    assert_in_step(connection);
}

#[test]
fn a_body_that_nobody_wants_any_more_is_drained() {
    let data = noise(2 * BLOCK + 5);
    for room in [0, 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 4] {
        let mut connection = receiving(&sent(&[&data], Algorithm::Md5), 100_000);
        let sink = &mut Full { room };
        let error = receive_body(&mut connection, sink, Algorithm::Md5, None, &mut |_, _| true).unwrap_err();
        assert!(matches!(error, BodyError::Sink(_)), "{error}");
        assert_eq!(error.refusal().unwrap().code, Code::NoSpace);
        connection.drain_body().unwrap();
        assert_in_step(connection);
    }

    let mut connection = receiving(&sent(&[&data], Algorithm::Md5), 100_000);
    let watch = &mut |_: &mut Connection<Pipe>, received| received < 2 * BLOCK as u64;
    let error = receive_body(&mut connection, &mut io::sink(), Algorithm::Md5, None, watch).unwrap_err();
    assert!(matches!(error, BodyError::Stopped));
    connection.drain_body().unwrap();
    assert_in_step(connection);
}

#[test]
fn a_body_of_another_length_than_announced_is_refused() {
    #[track_caller]
    fn check(size: usize, announced: usize, message: &str) {
        let mut arrived = vec![];
        let mut connection = receiving(&sent(&[&noise(size)], Algorithm::Md5), 5000);
        let announced = announced as u64;
        let error =
            receive_body(&mut connection, &mut arrived, Algorithm::Md5, Some(announced), &mut |_, _| true)
                .unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::new(Code::Mismatch, message)));
        assert!(arrived.len() as u64 <= announced, "no byte beyond the announced ones is written");
        connection.drain_body().unwrap();
        assert_in_step(connection);
    }
    check(1, 0, "more than the announced 0 bytes arrived");
    check(3, 2, "more than the announced 2 bytes arrived");
    check(BLOCK, BLOCK - 1, "more than the announced 262143 bytes arrived");
    check(BLOCK + 1, BLOCK, "more than the announced 262144 bytes arrived");
    check(3 * BLOCK, 5, "more than the announced 5 bytes arrived");
    check(0, 1, "0 bytes arrived, 1 were announced");
    check(BLOCK - 1, BLOCK, "262143 bytes arrived, 262144 were announced");
    check(BLOCK, BLOCK + 1, "262144 bytes arrived, 262145 were announced");
    check(5, usize::MAX, "5 bytes arrived, 18446744073709551615 were announced");
}

#[test]
fn a_trailer_that_tells_of_other_bytes_is_refused() {
    #[track_caller]
    fn check(length: u64, digest: Digest) {
        let mut connection = Connection::new(Pipe::silent());
        send(&mut connection, &[b"abc"], Algorithm::Md5).unwrap();
        let mut bytes = finished(connection);
        bytes.truncate(LENGTH + 3 + LENGTH);
        let mut trailer = Connection::new(Pipe::silent());
        trailer.send(&Trailer { length, digest, entries: None, file: None, head: None }).unwrap();
        bytes.extend(finished(trailer));

        let mut connection = receiving(&bytes, usize::MAX);
        let error = receive(&mut connection, None).unwrap_err();
        assert!(matches!(error, BodyError::Mismatch { .. }), "{error}");
        assert_eq!(error.refusal().unwrap().code, Code::Mismatch);
        assert_in_step(connection);
    }
    const LENGTH: usize = 4;
    check(3, Algorithm::Md5.digest(b"abd"));
    check(3, Algorithm::Sha256.digest(b"abc"));
    check(2, Algorithm::Md5.digest(b"abc"));
}

#[test]
fn a_mismatch_shows_both_digests() {
    let (sent, received) = (Algorithm::Md5.digest(b"a"), Algorithm::Md5.digest(b"b"));
    assert_eq!(
        BodyError::Mismatch { sent, received }.to_string(),
        "the sender's md5:0cc175b9c0f1b6a831c399e269772661 is not the md5:92eb5ffee6ae2fec3ad71c777531578f \
         of what arrived"
    );
}

#[test]
fn a_flipped_bit_is_never_verified() {
    let bytes = sent(&[b"hello ", b"world\n"], Algorithm::Md5);
    let body = body_length(&bytes);
    // A field of another name is ignored, and says nothing of the message before the body: which has arrived as it was.
    let head = bytes.windows(4).position(|name| name == b"head").unwrap();
    for bit in (0..8 * body).filter(|bit| !(head..head + 4).contains(&(bit / 8))) {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(receive(&mut receiving(&damaged, usize::MAX), None).is_err(), "bit {bit}");
    }
}

#[test]
fn a_bit_flipped_in_the_message_before_a_body_or_in_the_request_it_answers_is_never_verified() {
    let mut request = Connection::new(Pipe::silent());
    request.send(&serde_json::json!({"id": 1, "cmd": "get", "path": "a"})).unwrap();
    let asked = request.last_sent();
    let mut sender = Connection::new(Pipe::silent());
    sender.answer(Some(&asked));
    sender
        .send(&serde_json::json!({"id": 1, "body": true, "ok": true, "mtime": [1, 0], "mode": "644"}))
        .unwrap();
    send_body(&mut sender, &mut &b"hello"[..], Algorithm::Md5, &mut |_, _| true).unwrap();
    sender.flush().unwrap();
    let bytes = std::mem::take(&mut sender.stream().written);
    let verified = |bytes: &[u8], asked: Option<&Header>| {
        let mut receiver = Connection::new(Pipe::new(bytes, usize::MAX));
        receiver.answer(asked);
        receiver.receive().unwrap().unwrap();
        receiver.begin_body();
        receive_body(&mut receiver, &mut std::io::sink(), Algorithm::Md5, None, &mut |_, _| true)
    };
    assert!(verified(&bytes, Some(&asked)).is_ok());
    let head = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    for bit in 8 * 4..8 * (4 + head) {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(verified(&damaged, Some(&asked)), Err(BodyError::Head)), "bit {bit}");
    }
    request.send(&serde_json::json!({"id": 1, "cmd": "get", "path": "c"})).unwrap();
    assert!(matches!(verified(&bytes, Some(&request.last_sent())), Err(BodyError::Head)));
    assert!(matches!(verified(&bytes, None), Err(BodyError::Head)));
}

#[test]
fn a_body_that_is_cut_is_never_verified() {
    let small = sent(&[b"hello ", b"world\n"], Algorithm::Md5);
    for cut in 0..body_length(&small) {
        assert_cut(&small, cut);
    }
    let large = sent(&[&noise(2 * BLOCK)], Algorithm::Md5);
    let chunk = 4 + BLOCK;
    for cut in [3, 4, 5, chunk - 1, chunk, chunk + 1, chunk + 4, 2 * chunk - 1, 2 * chunk, 2 * chunk + 4] {
        assert_cut(&large, cut);
    }
}

#[track_caller]
fn assert_cut(bytes: &[u8], cut: usize) {
    let error = receive(&mut receiving(&bytes[..cut], 777), None).unwrap_err();
    assert!(matches!(error, BodyError::Connection(Error::Closed)), "cut at {cut}: {error}");
    assert!(receiving(&bytes[..cut], 777).drain_body().is_err(), "cut at {cut}");
}

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
        send(&mut connection, &[lines], Algorithm::Md5).unwrap();
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

/// A sink that takes so many bytes, and no more.
struct Full {
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes without a pattern that a mistake in their order could hide in.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(size)
    .collect()
}

fn send(
    connection: &mut Connection<Pipe>,
    pieces: &[&[u8]],
    algorithm: Algorithm,
) -> Result<Sent, SendError> {
    // A source gives what there is room for, and a piece may be larger.
    let mut source: Box<dyn io::Read> = Box::new(io::empty());
    for piece in pieces {
        source = Box::new(io::Read::chain(source, *piece));
    }
    send_body(connection, &mut source, algorithm, &mut |_, _| true)
}

/// The bytes of a body, and of the message behind it.
fn sent(pieces: &[&[u8]], algorithm: Algorithm) -> Vec<u8> {
    let mut connection = Connection::new(Pipe::silent());
    send(&mut connection, pieces, algorithm).unwrap();
    finished(connection)
}

/// The bytes of a listing, and of the message behind it.
fn listed(entries: impl Iterator<Item = io::Result<Entry>>) -> Vec<u8> {
    let mut connection = Connection::new(Pipe::silent());
    // An entry that cannot be read is told to the receiver, and the sender's error is of no interest here.
    let _ = send_listing(&mut connection, entries, Algorithm::Md5);
    finished(connection)
}

/// All that was written, and one more message.
fn finished(mut connection: Connection<Pipe>) -> Vec<u8> {
    connection.send(&NEXT).unwrap();
    connection.flush().unwrap();
    std::mem::take(&mut connection.stream().written)
}

/// How many of these bytes are the body.
fn body_length(bytes: &[u8]) -> usize {
    bytes.len() - finished(Connection::new(Pipe::silent())).len()
}

/// A connection that stands before a body of these bytes.
fn receiving(bytes: &[u8], pace: usize) -> Connection<Pipe> {
    let mut connection = Connection::new(Pipe::new(bytes, pace));
    connection.begin_body();
    connection
}

fn receive(connection: &mut Connection<Pipe>, announced: Option<u64>) -> Result<Verified, BodyError> {
    receive_body(connection, &mut io::sink(), Algorithm::Md5, announced, &mut |_, _| true)
}

#[track_caller]
fn assert_in_step(mut connection: Connection<Pipe>) {
    assert!(!connection.in_body());
    let next: Working = connection.receive().unwrap().expect("one more message").decode().unwrap();
    assert_eq!(next, NEXT);
    assert!(connection.receive().unwrap().is_none(), "and then the end");
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
