//! Bodies over a stream in memory: whole, damaged, cut, aborted and unwanted.
//!
//! Deliberately elsewhere: messages alone (`connection.rs`), listings (`listing.rs`), ranges and parts of files
//! (`blocks.rs`, `parts.rs`).
#![allow(clippy::unwrap_used, reason = "this is how a test fails")]

mod in_step;
mod pipe;

use std::io::{self, Write};

use ftpish_protocol::message::Trailer;
use ftpish_protocol::*;
use in_step::{assert_in_step, body_length, finished, receiving};
use pipe::{Pieces, Pipe};

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

fn receive(connection: &mut Connection<Pipe>, announced: Option<u64>) -> Result<Verified, BodyError> {
    receive_body(connection, &mut io::sink(), Algorithm::Md5, announced, &mut |_, _| true)
}
