//! `put`s that fail: whatever the client does, a name holds all of the old content or all of the new, and nothing is
//! left beside it.

use std::io::{self, Read};
use std::os::unix::fs::symlink;

use ftpish_client::{Client, Error, Progress};
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Algorithm, Code};
use ftpish_server::Policy;
use serde_json::{Value, json};

use crate::harness::{BLOCK, Listen, TestServer, path, pattern};
use crate::raw::{body, code, frame, framed, hello, put, put_header, trailer};

#[test]
fn a_client_that_leaves_at_any_byte_of_its_put_leaves_nothing_behind() {
    let mut server = TestServer::start();
    server.write("old", "old content");
    let before = server.tree();
    for name in ["new", "old"] {
        let whole = put(1, name, b"new content");
        for cut in 0..whole.len() {
            let mut raw = server.raw();
            raw.send(&[&frame(&hello()), &whole[..cut]].concat());
            if cut % 2 == 0 {
                drop(raw);
            } else {
                assert_eq!(raw.finish().len(), 1, "cut at {cut}");
            }
        }
    }
    assert_eq!(server.tree_at_the_end(), before);
}

#[test]
fn a_client_that_vanishes_within_a_large_body_leaves_nothing_behind() {
    let mut server = TestServer::with(|setup| setup.listen = Listen::Ipv4);
    server.write("old", "old content");
    let before = server.tree();
    let content = pattern(3 * BLOCK);
    for (i, sent) in [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK].into_iter().enumerate() {
        let mut request = put_header(1, if i % 2 == 0 { "new" } else { "old" });
        request["size"] = json!(content.len());
        let mut raw = server.greeted();
        raw.send(&[&frame(&request), &framed(&content)[..4 + sent]].concat());
        if i < 3 { raw.vanish() } else { drop(raw) }
    }
    assert_eq!(server.tree_at_the_end(), before);
}

#[test]
fn a_client_that_is_interrupted_leaves_nothing_behind() {
    let mut server = TestServer::with(|setup| {
        setup.listen = Listen::Ipv4;
        setup.encrypted();
    });
    server.write("old", "old content");
    let before = server.tree();
    for blocks in 0..3 {
        let options = server.options();
        let mut client = Client::connect(&options).unwrap();
        let first = io::repeat(7).take(blocks * BLOCK as u64);
        let mut source = first.chain(Then { first: io::empty(), then: || options.interrupt.set() });
        let progress = Progress::default();
        let result = client.put(&mut source, &path("old"), Algorithm::Md5, Replace::Always, &progress);
        assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
        assert!(!client.is_usable());
    }
    assert_eq!(server.tree_at_the_end(), before);
}

/// A source that fails behind its `first` bytes, and does something before.
struct Then<R, F> {
    first: R,
    then: F,
}

impl<R: Read, F: Fn()> Read for Then<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.first.read(buffer)? {
            0 => {
                (self.then)();
                Err(io::Error::from_raw_os_error(5))
            }
            read => Ok(read),
        }
    }
}

/// Sends a body that does not verify: it is refused so, and the connection goes on.
#[track_caller]
fn check_mismatch(fields: Value, body: &[u8], message: &str) {
    let mut server = TestServer::start();
    server.write("old", "old content");
    let before = server.tree();
    let mut raw = server.greeted();
    for name in ["new", "old"] {
        let mut request = put_header(1, name);
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        raw.send(&[&frame(&request), body].concat());
        let reply = raw.receive();
        assert_eq!((code(&reply), &reply["error"]["message"]), ("mismatch", &json!(message)));
        assert_eq!(raw.ask(&json!({"id": 2, "cmd": "df", "path": "."}))["ok"], true);
    }
    drop(raw);
    assert_eq!(server.tree_at_the_end(), before);
}

#[test]
fn a_wrong_digest_stores_nothing_and_tells_both() {
    let body = [
        framed(b"new content"),
        vec![0; 4],
        frame(&json!({"length": 11, "digest": trailer(b"other")["digest"]})),
    ];
    let said = Algorithm::Md5.digest(b"other");
    let computed = Algorithm::Md5.digest(b"new content");
    check_mismatch(
        json!({}),
        &body.concat(),
        &format!("the sender's {said} is not the {computed} of what arrived"),
    );
}

#[test]
fn a_digest_of_another_algorithm_than_the_request_named_stores_nothing() {
    let (said, computed) = (Algorithm::Md5.digest(b"new"), Algorithm::Sha256.digest(b"new"));
    let message = format!("the sender's {said} is not the {computed} of what arrived");
    check_mismatch(json!({"digest": "sha256"}), &body(b"new"), &message);
}

#[test]
fn a_wrong_length_in_the_trailer_stores_nothing() {
    let right = trailer(b"new");
    let wrong = json!({"length": 4, "digest": right["digest"]});
    let digest = Algorithm::Md5.digest(b"new");
    let message = format!("the sender's {digest} is not the {digest} of what arrived");
    let body = [framed(b"new"), vec![0; 4], frame(&wrong)].concat();
    check_mismatch(json!({}), &body, &message);
}

#[test]
fn another_size_than_announced_stores_nothing() {
    check_mismatch(json!({"size": 4}), &body(b"new"), "3 bytes arrived, 4 were announced");
    check_mismatch(json!({"size": 2}), &body(b"new"), "more than the announced 2 bytes arrived");
    check_mismatch(json!({"size": 0}), &body(b"new"), "more than the announced 0 bytes arrived");
    check_mismatch(json!({"size": 1}), &body(b""), "0 bytes arrived, 1 were announced");
    let large =
        [framed(&pattern(1 << 20)), framed(&pattern(1 << 20)), vec![0; 4], frame(&trailer(b""))].concat();
    check_mismatch(json!({"size": BLOCK}), &large, &format!("more than the announced {BLOCK} bytes arrived"));
}

#[test]
fn an_aborted_put_is_cancelled_and_the_connection_goes_on() {
    let mut server = TestServer::start();
    server.write("old", "old content");
    let before = server.tree();
    let mut raw = server.greeted();
    let abort =
        [&[0xff; 4], &frame(&json!({"error": {"code": "io", "message": "disk\u{1b} gone"}}))[..]].concat();
    for sent in [vec![], framed(b"x"), framed(&pattern(1 << 20)), framed(&pattern(BLOCK))] {
        raw.send(&[&frame(&put_header(1, "old")), &sent[..], &abort].concat());
        let reply = raw.receive();
        assert_eq!((&reply["id"], code(&reply)), (&json!(1), "cancelled"));
    }
    assert_eq!(server.tree(), before, "at once: no need to wait for the end of the session");
    raw.send(&put(2, "old", b"new content"));
    assert_eq!(raw.receive()["ok"], true);
    drop(raw);
    server.tree_at_the_end();
    assert_eq!(server.read("old"), b"new content");
}

#[test]
fn a_source_that_fails_aborts_the_body_and_the_client_goes_on() {
    TestServer::each_transport(|server| {
        let mut client = server.client();
        for blocks in [0, 1, 5] {
            let first = io::repeat(7).take(blocks * BLOCK as u64);
            let mut source = Then { first, then: || {} };
            let progress = Progress::default();
            let result = client.put(&mut source, &path("new"), Algorithm::Blake3, Replace::Always, &progress);
            let Err(Error::Local { refusal, .. }) = result else { panic!("{result:?}") };
            assert_eq!((refusal.code, &refusal.message[..]), (Code::Io, "input/output error"));
            assert!(client.is_usable());
        }
        assert!(server.tree().is_empty());
        client
            .put(&mut &b"x"[..], &path("new"), Algorithm::Md5, Replace::Always, &Progress::default())
            .unwrap();
    });
}

/// Far more than a client may send before it looks up.
const LARGE: u64 = 1 << 30;

#[test]
fn a_large_put_that_is_refused_does_not_travel_whole() {
    TestServer::each_transport(|server| {
        std::fs::create_dir(server.path("dir")).unwrap();
        let mut client = server.client();
        for to in ["dir", "missing/new", ".ftpish-0123456789abcdef"] {
            let mut source = io::repeat(7).take(LARGE);
            let progress = Progress::default();
            let result = client.put(&mut source, &path(to), Algorithm::Md5, Replace::Always, &progress);
            assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
            assert!(progress.done() < LARGE && source.limit() > 0);
            assert!(client.is_usable());
        }
        client
            .put(&mut &b"x"[..], &path("new"), Algorithm::Md5, Replace::Always, &Progress::default())
            .unwrap();
    });
}

#[test]
fn a_read_only_server_refuses_a_large_first_put_early() {
    for encrypted in [false, true] {
        let server = TestServer::with(|setup| {
            setup.policy = Policy::read_only();
            if encrypted {
                setup.encrypted();
            }
        });
        let mut client = server.client();
        let mut source = io::repeat(7).take(LARGE);
        let progress = Progress::default();
        let result = client.put(&mut source, &path("new"), Algorithm::Md5, Replace::Always, &progress);
        assert!(progress.done() < LARGE && source.limit() > 0);
        let Err(Error::Refused(refusal)) = result else { panic!("{result:?}") };
        assert_eq!((refusal.code, &refusal.message[..]), (Code::Forbidden, "the server is read-only"));
        assert!(client.is_usable());
        client.df(&path(".")).unwrap();
    }
}

#[test]
fn a_client_that_never_looks_has_its_refused_body_drained() {
    let server = TestServer::with(|setup| setup.policy = Policy::read_only());
    let mut raw = server.greeted();
    raw.send(&frame(&put_header(1, "new")));
    let content = pattern(1 << 20);
    for _ in 0..8 {
        raw.send(&framed(&content));
    }
    let all = content.repeat(8);
    raw.send(
        &[vec![0; 4], frame(&trailer(&all)), frame(&json!({"id": 2, "cmd": "df", "path": "."}))].concat(),
    );
    let reply = raw.receive();
    assert_eq!((&reply["id"], code(&reply)), (&json!(1), "forbidden"));
    let next = raw.receive();
    assert_eq!((&next["id"], &next["ok"]), (&json!(2), &json!(true)), "and no second reply to the put");
    assert!(server.tree().is_empty());
}

#[test]
fn a_put_replaces_a_link_and_never_writes_through_it() {
    let server = TestServer::start();
    std::fs::write(server.path("../secret"), "secret").unwrap();
    symlink("../secret", server.path("out")).unwrap();
    let mut raw = server.greeted();
    raw.send(&put(1, "out", b"content"));
    assert_eq!(raw.receive()["ok"], true);
    assert!(server.path("out").symlink_metadata().unwrap().is_file());
    assert_eq!(std::fs::read(server.path("../secret")).unwrap(), b"secret");
}

#[test]
fn how_a_body_is_cut_into_chunks_has_no_meaning() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    let content = pattern(2 * BLOCK + 3);
    for size in [1000, BLOCK - 1, BLOCK, BLOCK + 1, 1 << 20] {
        raw.send(&frame(&put_header(1, "file")));
        content.chunks(size).for_each(|chunk| raw.send(&framed(chunk)));
        raw.send(&[vec![0; 4], frame(&trailer(&content))].concat());
        let reply = raw.receive();
        assert_eq!((&reply["size"], &reply["digest"]), (&json!(content.len()), &trailer(&content)["digest"]));
        assert!(server.read("file") == content);
    }
    raw.send(&frame(&put_header(2, "file")));
    b"byte by byte".iter().for_each(|byte| raw.send(&framed(&[*byte])));
    raw.send(&[vec![0; 4], frame(&trailer(b"byte by byte"))].concat());
    assert_eq!(raw.receive()["size"], 12);
}

#[test]
fn of_two_writers_of_one_name_the_last_wins_whole() {
    let mut server = TestServer::start();
    let (mut one, mut two) = (server.greeted(), server.greeted());
    let (first, second) = (vec![1; BLOCK], vec![2; BLOCK + 1]);
    one.send(&[frame(&put_header(1, "file")), framed(&first[..1000])].concat());
    two.send(&[frame(&put_header(1, "file")), framed(&second)].concat());
    one.send(&[framed(&first[1000..]), vec![0; 4], frame(&trailer(&first))].concat());
    assert_eq!(one.receive()["ok"], true);
    assert!(server.read("file") == first);
    two.send(&[vec![0; 4], frame(&trailer(&second))].concat());
    assert_eq!(two.receive()["ok"], true);
    assert!(server.read("file") == second);
    drop((one, two));
    assert_eq!(server.tree_at_the_end().len(), 1);
}

#[test]
fn of_two_who_replace_what_they_have_both_seen_one_is_refused() {
    let server = TestServer::start();
    for round in 0..30 {
        server.write("file", "seen");
        let contents = [format!("first {round}"), format!("second {round}")];
        let replies = std::thread::scope(|scope| {
            let putting = contents.each_ref().map(|content| {
                let mut raw = server.greeted();
                scope.spawn(move || {
                    let mut header = put_header(1, "file");
                    header["expect"] = json!(Algorithm::Md5.digest(b"seen").to_string());
                    raw.send(&[frame(&header), body(content.as_bytes())].concat());
                    raw.receive()
                })
            });
            putting.map(|putting| putting.join().unwrap())
        });
        let stored: Vec<_> = (0..2).filter(|index| replies[*index]["ok"] == true).collect();
        let [stored] = stored[..] else { panic!("{replies:?}") };
        assert_eq!(code(&replies[1 - stored]), "changed");
        assert_eq!(server.read("file"), contents[stored].as_bytes());
    }
}

#[test]
fn a_link_whose_file_is_as_expected_is_replaced_and_the_file_is_not() {
    let server = TestServer::start();
    server.write("file", "seen");
    symlink("file", server.path("link")).unwrap();
    let mut raw = server.greeted();
    let mut header = put_header(1, "link");
    header["expect"] = json!(Algorithm::Md5.digest(b"seen").to_string());
    raw.send(&[frame(&header), body(b"new")].concat());
    assert_eq!(raw.receive()["ok"], true);
    assert_eq!([server.read("link"), server.read("file")], [&b"new"[..], b"seen"]);
}
