//! `download` from servers that fail in every way: the old file stays as it was, and nothing is left beside it.

use std::path::Path;

use ftpish_client::{Client, Download, Error, Progress};
use ftpish_protocol::{Algorithm, Code};
use serde_json::{Value, json};

use crate::script::{Peer, Script, body, contents, end, file, frame, framed, trailer};

pub fn download(client: &mut Client, to: &Path) -> Result<(), Error> {
    let from = "file".parse().unwrap();
    let download = Download { digest: Algorithm::Md5, sync: false, ..Download::new(from, to) };
    client.download(&download, &Progress::default()).map(drop)
}

/// Downloads to a new name and over an old file, each from a server that plays this. The error must be as `expected`,
/// and the connection of use where it is `usable`.
#[track_caller]
fn check(play: fn(&mut Peer), expected: fn(&Error) -> bool, usable: bool) {
    check_with(Script::client, play, expected, usable);
}

#[track_caller]
fn check_with(
    connect: fn(&Script) -> Client,
    play: fn(&mut Peer),
    expected: fn(&Error) -> bool,
    usable: bool,
) {
    for target in ["new", "old"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("old"), "old content").unwrap();
        let before = contents(dir.path());
        let script = Script::run(play);
        let mut client = connect(&script);
        let error = download(&mut client, &dir.path().join(target)).unwrap_err();
        assert!(expected(&error), "{error:?}");
        assert_eq!(contents(dir.path()), before, "{error}");
        assert_eq!(client.is_usable(), usable, "{error}");
        let next = client.df(&"a".parse().unwrap());
        assert_eq!(next.is_ok(), usable, "{next:?}");
    }
}

fn is_broken(error: &Error) -> bool {
    matches!(error, Error::Connection(_))
}

fn is_protocol(error: &Error) -> bool {
    matches!(error, Error::Protocol(_))
}

fn is_timeout(error: &Error) -> bool {
    matches!(error, Error::Connection(error) if error.is_timeout())
}

#[test]
fn an_honest_server_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::run(|peer| {
        peer.announce(11);
        peer.send(&body(b"new content"));
    });
    let mut client = script.client();
    download(&mut client, &dir.path().join("new")).unwrap();
    assert_eq!(contents(dir.path()), [("new".to_owned(), "new content".to_owned())]);
    assert!(client.is_usable());
}

#[test]
fn more_bytes_than_announced_are_refused() {
    let play = |peer: &mut Peer| {
        peer.announce(10);
        peer.send(&body(b"new content"));
    };
    check(play, |error| matches!(error, Error::Unverified(_)), false);
    let endless = |peer: &mut Peer| {
        peer.announce(10);
        while peer.try_send(&framed(&[0; 65536])).is_ok() {}
    };
    check(endless, |error| matches!(error, Error::Unverified(_)), false);
}

#[test]
fn fewer_bytes_than_announced_are_refused_and_the_connection_goes_on() {
    let play = |peer: &mut Peer| {
        peer.announce(12);
        peer.send(&body(b"new content"));
    };
    check(play, |error| matches!(error, Error::Unverified(_)), true);
}

#[test]
fn a_wrong_trailer_is_refused_and_the_connection_goes_on() {
    let is_mismatch = |error: &Error| matches!(error, Error::Mismatch { .. });
    let wrong_digest = |peer: &mut Peer| {
        peer.announce(11);
        peer.send(&[framed(b"new content"), end(&trailer(b"new-content"))].concat());
    };
    check(wrong_digest, is_mismatch, true);
    let wrong_length = |peer: &mut Peer| {
        peer.announce(11);
        let trailer = json!({"length": 12, "digest": trailer(b"new content")["digest"]});
        peer.send(&[framed(b"new content"), end(&trailer)].concat());
    };
    check(wrong_length, is_mismatch, true);
    let wrong_algorithm = |peer: &mut Peer| {
        peer.announce(11);
        let digest = Algorithm::Sha256.digest(b"new content").to_string();
        peer.send(&[framed(b"new content"), end(&json!({"length": 11, "digest": digest}))].concat());
    };
    check(wrong_algorithm, is_mismatch, true);
}

#[test]
fn a_mismatch_shows_both_digests_and_says_that_nothing_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::run(|peer| {
        peer.announce(3);
        peer.send(
            &[framed(b"new"), end(&json!({"length": 3, "digest": trailer(b"old")["digest"]}))].concat(),
        );
    });
    let error = download(&mut script.client(), &dir.path().join("new")).unwrap_err();
    let (sent, received) = (Algorithm::Md5.digest(b"old"), Algorithm::Md5.digest(b"new"));
    let text = format!("verification failed: {sent} was sent, {received} arrived; nothing was written");
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_trailer_of_another_form_ends_the_connection() {
    let no_json = |peer: &mut Peer| {
        peer.announce(3);
        peer.send(&[framed(b"new"), vec![0; 4], framed(b"no json")].concat());
    };
    check(no_json, is_broken, false);
    let another_message = |peer: &mut Peer| {
        peer.announce(3);
        peer.send(&[framed(b"new"), end(&json!({"id": 2, "ok": true}))].concat());
    };
    check(another_message, is_broken, false);
    let digest_of_wrong_length = |peer: &mut Peer| {
        peer.announce(3);
        peer.send(&[framed(b"new"), end(&json!({"length": 3, "digest": "md5:00"}))].concat());
    };
    check(digest_of_wrong_length, is_broken, false);
}

#[test]
fn a_server_that_closes_anywhere_leaves_nothing_behind() {
    let whole = [frame(&json!({"id": 1, "ok": true})), body(b"new content")].concat();
    let header = frame(&json!({"id": 1, "ok": true})).len();
    for cut in 0..whole.len() - header {
        let dir = tempfile::tempdir().unwrap();
        let script = Script::run(move |peer| {
            peer.announce(11);
            peer.send(&body(b"new content")[..cut]);
            peer.close();
        });
        let mut client = script.client();
        let error = download(&mut client, &dir.path().join("new")).unwrap_err();
        assert!(matches!(error, Error::Connection(ftpish_protocol::Error::Closed)), "{error:?}");
        assert!(contents(dir.path()).is_empty() && !client.is_usable());
    }
}

#[test]
fn a_server_that_closes_before_its_reply_is_whole_is_a_broken_connection() {
    for cut in [0, 3, 4, 5, 40] {
        let dir = tempfile::tempdir().unwrap();
        let script = Script::run(move |peer| {
            let request = peer.request();
            let mut reply = file(11);
            reply["id"] = request["id"].clone();
            reply["ok"] = json!(true);
            peer.send(&frame(&reply)[..cut]);
            peer.close();
        });
        let error = download(&mut script.client(), &dir.path().join("new")).unwrap_err();
        assert!(is_broken(&error), "{error:?}");
        assert!(contents(dir.path()).is_empty());
    }
}

#[test]
fn an_aborted_body_is_a_refusal_and_the_connection_goes_on() {
    let play = |peer: &mut Peer| {
        peer.announce(11);
        let why = json!({"error": {"code": "changed", "message": "the file changed while it was read"}});
        peer.send(&[framed(b"new"), vec![0xff; 4], frame(&why)].concat());
    };
    let is_changed =
        |error: &Error| matches!(error, Error::Refused(refusal) if refusal.code == Code::Changed);
    check(play, is_changed, true);
}

#[test]
fn a_refusal_in_place_of_a_body_leaves_the_connection_usable() {
    let play = |peer: &mut Peer| {
        let request = peer.request();
        peer.refuse(&request, "not-found");
    };
    check(play, |error| matches!(error, Error::Refused(refusal) if refusal.code == Code::NotFound), true);
}

#[test]
fn a_chunk_over_the_cap_ends_the_connection() {
    let play = |peer: &mut Peer| {
        peer.announce(2 << 20);
        peer.send(&[0, 0x10, 0, 1]);
    };
    check(
        play,
        |error| matches!(error, Error::Connection(ftpish_protocol::Error::ChunkTooLarge { .. })),
        false,
    );
}

#[test]
fn a_file_that_cannot_fit_here_is_a_local_refusal() {
    let play = |peer: &mut Peer| peer.announce(1 << 62);
    check(play, |error| matches!(error, Error::Local { .. }), false);
}

#[test]
fn a_server_that_stops_within_a_body_is_left() {
    let play = |peer: &mut Peer| {
        peer.announce(11);
        peer.send(&framed(b"new content")[..8]);
        peer.wait_until_gone();
    };
    check_with(Script::impatient_client, play, is_timeout, false);
}

#[test]
fn a_server_that_never_answers_is_left() {
    check_with(Script::impatient_client, Peer::wait_until_gone, is_timeout, false);
    let dripping = |peer: &mut Peer| {
        peer.send(&[0, 0, 0xff, 0xff]);
        peer.drip(b' ');
    };
    check_with(Script::impatient_client, dripping, is_timeout, false);
}

/// Answers a `get` with this reply, its `id` set if it has none, and a body behind it.
#[track_caller]
fn check_reply(reply: Value) {
    let dir = tempfile::tempdir().unwrap();
    let shown = reply.to_string();
    let script = Script::run(move |peer| {
        let request = peer.request();
        let mut reply = reply;
        if reply["id"].is_null() {
            reply["id"] = request["id"].clone();
        }
        peer.send(&[frame(&reply), body(b"new content")].concat());
    });
    let mut client = script.client();
    let error = download(&mut client, &dir.path().join("new")).unwrap_err();
    assert!(is_protocol(&error), "{shown}: {error:?}");
    assert!(contents(dir.path()).is_empty() && !client.is_usable());
}

#[test]
fn replies_of_another_form_end_the_connection() {
    check_reply(json!({}));
    check_reply(json!({"ok": true}));
    check_reply(json!({"ok": true, "body": true}));
    check_reply(
        json!({"ok": "true", "body": true, "size": 11, "length": 11, "mtime": [0, 0], "mode": "644"}),
    );
    check_reply(json!({"ok": false, "body": true, "size": 11, "length": 11, "mtime": [0, 0], "mode": "644"}));
    check_reply(json!({"ok": true, "size": 11, "length": 11, "mtime": [0, 0], "mode": "644"}));
    check_reply(
        json!({"ok": true, "body": true, "size": 11, "length": "11", "mtime": [0, 0], "mode": "644"}),
    );
    check_reply(json!({"ok": true, "body": true, "size": 11, "length": -11, "mtime": [0, 0], "mode": "644"}));
    check_reply(
        json!({"ok": true, "body": true, "size": 11, "length": 11, "mtime": [0, 1_000_000_000], "mode": "644"}),
    );
    check_reply(json!({"ok": true, "body": true, "size": 11, "length": 11, "mtime": 0, "mode": "644"}));
    check_reply(json!({"ok": true, "body": true, "size": 11, "length": 11, "mtime": [0, 0], "mode": 420}));
    check_reply(json!({"error": "no"}));
    check_reply(json!({"error": {"code": 7, "message": "no"}}));
    check_reply(
        json!({"id": 99, "ok": true, "body": true, "size": 11, "length": 11, "mtime": [0, 0], "mode": "644"}),
    );
    check_reply(
        json!({"id": "1", "ok": true, "body": true, "size": 11, "length": 11, "mtime": [0, 0], "mode": "644"}),
    );
}

#[test]
fn a_setuid_mode_is_stored_without_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let script = Script::run(|peer| {
        let request = peer.request();
        peer.grant(&request, json!({"body": true, "size": 3, "length": 3, "mtime": [1, 0], "mode": "6755"}));
        peer.send(&body(b"new"));
    });
    let to = dir.path().join("new");
    download(&mut script.client(), &to).unwrap();
    assert_eq!(to.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
}
