//! `put` and `upload` to servers that lie about what they stored, refuse late, or never read.

use std::io::{self, Read as _};

use ftpish_client::{Client, Error, Progress, Transferred, Upload};
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Algorithm, Code};
use serde_json::json;

use crate::script::{Peer, Script, end, frame, trailer};

/// More than any socket holds.
const LARGE: u64 = 1 << 40;

fn put(client: &mut Client, size: u64) -> Result<Transferred, Error> {
    let mut source = io::repeat(7).take(size);
    client.put(&mut source, &"a".parse().unwrap(), Algorithm::Md5, Replace::Always, &Progress::default())
}

/// Puts three bytes to a server that plays this when it has read the request.
#[track_caller]
fn check(play: fn(&mut Peer, &serde_json::Value), expected: fn(&Error) -> bool, usable: bool) {
    let script = Script::run(move |peer| {
        let request = peer.request();
        play(peer, &request);
    });
    let mut client = script.client();
    let error = put(&mut client, 3).unwrap_err();
    assert!(expected(&error), "{error:?}");
    assert_eq!(client.is_usable(), usable, "{error}");
}

#[test]
fn an_honest_server_is_believed() {
    let script = Script::run(|peer| {
        let request = peer.request();
        let body = peer.body();
        peer.grant(&request, json!({"size": body.len(), "digest": trailer(&body)["digest"]}));
    });
    let done = put(&mut script.client(), 3).unwrap();
    assert_eq!((done.size, done.digest), (3, Algorithm::Md5.digest(&[7; 3])));
}

#[test]
fn a_server_that_stored_something_else_is_found_out() {
    let another_digest = |peer: &mut Peer, request: &_| {
        peer.body();
        peer.grant(request, json!({"size": 3, "digest": trailer(b"xyz")["digest"]}));
    };
    check(another_digest, |error| matches!(error, Error::Mismatch { .. }), true);
    let another_size = |peer: &mut Peer, request: &_| {
        peer.body();
        peer.grant(request, json!({"size": 2, "digest": trailer(&[7; 3])["digest"]}));
    };
    check(another_size, |error| matches!(error, Error::Unverified(_)), true);
    let another_algorithm = |peer: &mut Peer, request: &_| {
        peer.body();
        peer.grant(request, json!({"size": 3, "digest": Algorithm::Sha256.digest(&[7; 3]).to_string()}));
    };
    check(another_algorithm, |error| matches!(error, Error::Mismatch { .. }), true);
    let its_own_word = |peer: &mut Peer, request: &_| {
        peer.body();
        peer.refuse(request, "mismatch");
    };
    check(its_own_word, |error| matches!(error, Error::Unverified(_)), true);
}

#[test]
fn replies_of_another_form_end_the_connection() {
    let no_fields = |peer: &mut Peer, request: &_| {
        peer.body();
        peer.grant(request, json!({}));
    };
    check(no_fields, |error| matches!(error, Error::Protocol(_)), false);
    let with_a_body = |peer: &mut Peer, request: &_| {
        peer.body();
        peer.grant(request, json!({"body": true, "size": 3, "digest": trailer(&[7; 3])["digest"]}));
    };
    check(with_a_body, |error| matches!(error, Error::Protocol(_)), false);
    let another_id = |peer: &mut Peer, _: &_| {
        peer.body();
        peer.grant(&json!({"id": 70}), json!({"size": 3, "digest": trailer(&[7; 3])["digest"]}));
    };
    check(another_id, |error| matches!(error, Error::Protocol(_)), false);
}

#[test]
fn a_server_that_closes_in_place_of_a_reply_is_a_broken_connection() {
    let close = |peer: &mut Peer, _: &_| {
        peer.body();
        peer.close();
    };
    check(close, |error| matches!(error, Error::Connection(_)), false);
}

#[test]
fn a_refusal_in_the_middle_of_a_large_body_stops_it_and_leaves_the_connection_usable() {
    let script = Script::run(|peer| {
        let request = peer.request();
        for _ in 0..3 {
            peer.piece();
        }
        peer.refuse(&request, "no-space");
        assert_eq!(peer.rest_of_aborted_body()["error"]["code"], "cancelled");
    });
    let mut client = script.client();
    let error = put(&mut client, LARGE).unwrap_err();
    assert!(matches!(&error, Error::Refused(refusal) if refusal.code == Code::NoSpace), "{error:?}");
    assert!(client.is_usable());
    client.df(&"a".parse().unwrap()).unwrap();
}

#[test]
fn a_server_that_says_why_and_closes_in_the_middle_of_a_body_is_heard() {
    let script = Script::run(|peer| {
        peer.request();
        peer.piece();
        peer.send(&frame(&json!({"id": null, "error": {"code": "timeout", "message": "too slow"}})));
        peer.close();
    });
    let mut client = script.client();
    let error = put(&mut client, LARGE).unwrap_err();
    assert!(matches!(&error, Error::Refused(refusal) if refusal.code == Code::Timeout), "{error:?}");
    assert!(!client.is_usable());
}

#[test]
fn a_server_that_refuses_hello_in_the_middle_of_a_body_is_heard() {
    let script = Script::from_the_start(|peer| {
        let hello = peer.request();
        peer.request();
        peer.piece();
        peer.refuse(&hello, "busy");
        peer.close();
    });
    let mut client = script.client();
    let error = put(&mut client, LARGE).unwrap_err();
    assert!(matches!(&error, Error::Refused(refusal) if refusal.code == Code::Busy), "{error:?}");
    assert!(!client.is_usable());
}

#[test]
fn a_server_that_closes_in_the_middle_of_a_body_is_a_broken_connection() {
    let script = Script::run(|peer| {
        peer.request();
        peer.piece();
        peer.close();
    });
    let mut client = script.client();
    let error = put(&mut client, LARGE).unwrap_err();
    assert!(matches!(error, Error::Connection(_)), "{error:?}");
    assert!(!client.is_usable());
}

#[test]
fn a_grant_before_the_body_has_ended_is_no_grant() {
    let script = Script::run(|peer| {
        let request = peer.request();
        peer.piece();
        peer.grant(&request, json!({"size": 1, "digest": trailer(&[7])["digest"]}));
        peer.wait_until_gone();
    });
    let mut client = script.client();
    let error = put(&mut client, LARGE).unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    assert!(!client.is_usable());
}

#[test]
fn a_server_that_never_reads_or_never_answers_is_left() {
    for size in [3, LARGE] {
        let script = Script::run(|peer| {
            peer.request();
            peer.wait_until_gone_unread();
        });
        let mut client = script.impatient_client();
        let error = put(&mut client, size).unwrap_err();
        assert!(matches!(&error, Error::Connection(error) if error.is_timeout()), "{error:?}");
        assert!(!client.is_usable());
    }
}

#[test]
fn what_is_no_file_here_is_refused_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let script = Script::run(|_| {});
    let mut client = script.client();
    for (from, code) in [
        (fifo.as_path(), Code::NotRegular),
        ("/dev/zero".as_ref(), Code::NotRegular),
        (dir.path(), Code::IsDirectory),
        (&dir.path().join("missing"), Code::NotFound),
    ] {
        let (from, to) = (from.to_owned(), "a".parse().unwrap());
        let upload = Upload { digest: Algorithm::Md5, ..Upload::new(from, to) };
        let error = client.upload(&upload, &Progress::default()).unwrap_err();
        let Error::Local { path, refusal } = error else { panic!("{error}") };
        assert_eq!((path, refusal.code), (upload.from, code));
    }
    client.df(&"a".parse().unwrap()).unwrap();
}

#[test]
fn a_local_file_that_changes_while_it_is_sent_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::File::create(&from).unwrap().set_len(8 << 20).unwrap();
    let path = from.clone();
    let script = Script::run(move |peer| {
        let resume = peer.request();
        let reply =
            json!({"body": true, "size": 8 << 20, "mtime": resume["mtime"], "block": 1 << 20, "length": 0});
        peer.grant(&resume, reply);
        peer.send(&end(&json!({"length": 0, "digest": Algorithm::Blake3.digest(b"").to_string()})));
        let request = peer.request();
        peer.piece();
        std::fs::write(&path, "changed").unwrap();
        let why = peer.rest_of_aborted_body();
        assert_eq!(why["error"]["code"], "changed");
        peer.refuse(&request, "cancelled");
    });
    let mut client = script.client();
    let to = "a".parse().unwrap();
    let upload = Upload { digest: Algorithm::Md5, ..Upload::new(from, to) };
    let error = client.upload(&upload, &Progress::default()).unwrap_err();
    assert!(matches!(&error, Error::Local { refusal, .. } if refusal.code == Code::Changed), "{error:?}");
    assert!(client.is_usable());
}
