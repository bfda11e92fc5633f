//! Peers that are too slow: every wait for them ends, they are told so where they still can be, and what they began
//! comes to nothing.

use std::time::Duration;

use ftpish_server::Limits;
use serde_json::{Value, json};

use crate::harness::{Listen, Setup, TestServer, eventually, pattern};
use crate::raw::{Raw, code, frame, framed, hello, put_header};

/// Long enough for a peer that does its part; short enough to wait for it.
const SHORT: Duration = Duration::from_millis(100);

/// Far longer than a test may take: a deadline of this length that is waited for is the wrong one.
const LONG: Duration = Duration::from_secs(3600);

fn with(limits: impl FnOnce(&mut Limits)) -> TestServer {
    with_setup(|setup| limits(&mut setup.limits))
}

fn with_setup(change: impl FnOnce(&mut Setup)) -> TestServer {
    TestServer::with(|setup| {
        let drain = setup.limits.drain;
        setup.limits =
            Limits { greeting: LONG, request: LONG, idle: LONG, pace: LONG, drain, ..Limits::default() };
        change(setup);
    })
}

/// The last word is `timeout`, about no request, and then the connection ends.
#[track_caller]
fn expect_timeout(replies: Vec<Value>) {
    let last = replies.last().expect("a word before the end");
    assert_eq!((&last["id"], code(last)), (&Value::Null, "timeout"), "{last}");
}

/// What the server still says, without our saying that no more comes.
#[track_caller]
fn hear_out(mut raw: Raw) -> Vec<Value> {
    std::iter::from_fn(|| raw.next()).collect()
}

#[test]
fn a_peer_that_says_nothing_is_left_at_the_greetings_end() {
    let server = with(|limits| limits.greeting = SHORT);
    expect_timeout(hear_out(server.raw()));
}

#[test]
fn a_peer_that_drips_its_hello_is_left_at_the_greetings_end() {
    let server = with(|limits| limits.greeting = SHORT);
    let mut raw = server.raw();
    raw.send(&4_000_u32.to_be_bytes());
    raw.drip(b' ');
    expect_timeout(hear_out(raw));
}

#[test]
fn refused_requests_do_not_move_the_greetings_end() {
    let server = with(|limits| limits.greeting = SHORT);
    let mut raw = server.raw();
    let mut replies = vec![];
    loop {
        let sent = raw.try_send(&frame(&json!({"id": 1, "cmd": "df", "path": "."})));
        match raw.next() {
            Some(reply) if reply["id"] == 1 => assert_eq!(code(&reply), "hello-first"),
            Some(reply) => replies.push(reply),
            None => break,
        }
        if sent.is_err() {
            break;
        }
    }
    expect_timeout(replies);
}

#[test]
fn a_peer_that_never_begins_tls_is_left_at_the_greetings_end() {
    let server = with_setup(|setup| {
        setup.limits.greeting = SHORT;
        setup.encrypted();
    });
    assert!(hear_out(server.raw()).is_empty(), "nothing that is not TLS can be said");
    let mut raw = server.raw();
    // A handshake record of the largest size, one byte after the other.
    raw.send(&[22, 3, 1, 0x40, 0]);
    raw.drip(0);
    assert!(hear_out(raw).is_empty());
}

#[test]
fn a_request_that_drips_is_left_at_the_requests_end() {
    let mut server = with(|limits| limits.request = SHORT);
    let mut raw = server.greeted();
    let request = frame(&json!({"id": 1, "cmd": "mkdir", "path": "new", "padding": "x".repeat(50_000)}));
    raw.send(&request[..40_000]);
    raw.drip(b'x');
    expect_timeout(hear_out(raw));
    assert!(server.tree_at_the_end().is_empty());
}

#[test]
fn an_idle_client_is_left_after_a_while_and_told_why() {
    for encrypted in [false, true] {
        let server = with_setup(|setup| {
            setup.limits.idle = SHORT;
            if encrypted {
                setup.encrypted();
            }
        });
        if encrypted {
            let mut client = server.client();
            client.df(&".".parse().unwrap()).unwrap();
            eventually("the farewell", || (!client.is_usable()).then_some(()));
        } else {
            expect_timeout(hear_out(server.greeted()));
        }
    }
}

/// A `put` of a body whose length is known.
fn sized(path: &str, size: usize) -> Value {
    let mut request = put_header(1, path);
    request["size"] = json!(size);
    request
}

#[test]
fn a_body_that_is_still_being_made_may_pause_for_longer_but_not_for_ever() {
    let mut server = with(|limits| (limits.pace, limits.idle) = (Duration::ZERO, SHORT));
    let mut raw = server.greeted();
    raw.send(&[frame(&put_header(1, "new")), framed(b"half")].concat());
    expect_timeout(hear_out(raw));
    assert!(server.tree_at_the_end().is_empty());
}

#[test]
fn a_body_that_stops_is_left_and_nothing_of_it_stays() {
    let mut server = with(|limits| limits.pace = SHORT);
    server.write("old", "old content");
    let before = server.tree();
    for sent in [0, 1, 100_000] {
        let mut raw = server.greeted();
        raw.send(&[&frame(&sized("old", 200_000)), &framed(&pattern(200_000))[..4 + sent]].concat());
        expect_timeout(hear_out(raw));
    }
    assert_eq!(server.tree_at_the_end(), before);
}

#[test]
fn a_body_that_drips_is_left_and_nothing_of_it_stays() {
    let mut server = with(|limits| limits.pace = SHORT);
    let mut raw = server.greeted();
    raw.send(&[frame(&sized("new", 1 << 20)), framed(&pattern(1 << 20))[..20_000].to_vec()].concat());
    raw.drip(b'x');
    expect_timeout(hear_out(raw));
    assert!(server.tree_at_the_end().is_empty());
}

#[test]
fn a_refused_body_that_drips_is_left_too() {
    let mut server = with(|limits| limits.pace = SHORT);
    let mut raw = server.greeted();
    raw.send(&[frame(&put_header(1, "missing/new")), framed(&pattern(1 << 20))[..20_000].to_vec()].concat());
    assert_eq!(code(&raw.receive()), "not-found");
    raw.drip(b'x');
    expect_timeout(hear_out(raw));
    assert!(server.tree_at_the_end().is_empty());
}

/// Asks for more than any socket holds, and reads none of it.
#[track_caller]
fn check_unread(listen: Listen) {
    let mut server = with_setup(|setup| {
        setup.listen = listen;
        setup.limits.pace = SHORT;
    });
    server.write_sparse("large", 64 << 20);
    let mut raw = server.greeted();
    raw.send(&frame(&json!({"id": 1, "cmd": "get", "path": "large", "digest": "blake3"})));
    raw.receive();
    assert!(server.stop(), "the session ended before the drain's end");
}

#[test]
fn a_peer_that_never_reads_a_large_get_is_left_on_a_unix_socket() {
    check_unread(Listen::Unix);
}

#[test]
fn a_peer_that_never_reads_a_large_get_is_left_on_tcp() {
    check_unread(Listen::Ipv4);
}

#[test]
fn a_peer_that_never_reads_its_many_small_replies_is_left() {
    let mut server = with(|limits| limits.pace = SHORT);
    server.write_sparse("file", 50_000);
    let mut raw = server.greeted();
    let request = frame(&json!({"id": 1, "cmd": "get", "path": "file", "digest": "blake3"}));
    raw.send(&request.repeat(64));
    eventually("as much as the socket holds", || (raw.waiting() > 140_000).then_some(()));
    assert!(server.stop(), "the session ended before the drain's end");
}

#[test]
fn a_slow_peer_takes_nothing_from_the_others() {
    let server = with(|_| {});
    let mut slow = server.raw();
    slow.send(&frame(&hello())[..10]);
    let mut stuck = server.greeted();
    stuck.send(&frame(&put_header(1, "stuck")));
    let mut client = server.client();
    let progress = ftpish_client::Progress::default();
    let replace = ftpish_protocol::message::Replace::Never;
    client
        .put(&mut &b"x"[..], &"new".parse().unwrap(), ftpish_protocol::Algorithm::Md5, replace, &progress)
        .unwrap();
}

/// Takes nothing for a while, and says so each time.
struct Pager {
    pauses: usize,
    pause: Duration,
    read: Vec<u8>,
}

impl std::io::Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.pauses > 0 && !self.read.is_empty() {
            self.pauses -= 1;
            std::thread::park_timeout(self.pause);
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        self.read.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_that_takes_nothing_for_long_but_says_that_it_is_alive_is_waited_for() {
    for encrypted in [false, true] {
        let server = with_setup(|setup| {
            setup.listen = Listen::Ipv4;
            setup.limits.pace = Duration::from_millis(300);
            if encrypted {
                setup.encrypted();
            }
        });
        server.write("large", pattern(32 << 20));
        let mut client = server.client();
        // Four times as long as a client may take that says nothing.
        let mut pager = Pager { pauses: 40, pause: Duration::from_millis(30), read: Vec::new() };
        let (digest, progress) = (ftpish_protocol::Algorithm::Blake3, ftpish_client::Progress::default());
        client.get(&"large".parse().unwrap(), digest, &mut pager, &progress).unwrap();
        assert!(pager.pauses == 0 && pager.read == server.read("large"));
        // What it said lies in front of the next request.
        client.df(&".".parse().unwrap()).unwrap();
    }
}

#[test]
fn a_client_that_takes_nothing_and_says_that_it_is_alive_is_waited_for_up_to_a_limit() {
    let mut server = with(|limits| (limits.pace, limits.stall) = (SHORT, 3 * SHORT));
    server.write_sparse("large", 64 << 20);
    let mut raw = server.greeted();
    raw.send(&frame(&json!({"id": 1, "cmd": "get", "path": "large", "digest": "blake3"})));
    raw.receive();
    while raw.try_send(&frame(&json!({"alive": true}))).is_ok() {
        std::thread::park_timeout(SHORT / 10);
    }
    assert!(server.stop());
}

#[test]
fn saying_that_it_is_alive_makes_no_client_less_idle() {
    let server = with(|limits| limits.idle = SHORT);
    let mut raw = server.greeted();
    while raw.try_send(&frame(&json!({"alive": true}))).is_ok() && !raw.is_readable(1) {}
    expect_timeout(hear_out(raw));
}
