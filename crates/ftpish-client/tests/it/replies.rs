//! What any request may be answered with: other ids, none, progress, farewells, and nothing at all.

use ftpish_client::{Client, Error, Options, Progress, Security, Timeouts, Trust};
use ftpish_protocol::message::Space;
use ftpish_protocol::{Algorithm, Code};
use serde_json::{Value, json};

use crate::script::{Peer, SHORT, Script, frame, framed};

fn space() -> Value {
    json!({"total": 3, "free": 2, "available": 1})
}

fn ask(client: &mut Client) -> Result<Space, Error> {
    client.df(&"a".parse().unwrap())
}

/// Asks a server that plays this behind `hello`.
#[track_caller]
fn check(play: impl FnOnce(&mut Peer) + Send + 'static, expected: fn(&Error) -> bool, usable: bool) {
    let script = Script::run(play);
    let mut client = script.client();
    let error = ask(&mut client).unwrap_err();
    assert!(expected(&error), "{error:?}");
    assert_eq!(client.is_usable(), usable, "{error}");
    assert_eq!(ask(&mut client).is_ok(), usable);
}

fn is_login_required(error: &Error) -> bool {
    matches!(error, Error::Refused(refusal) if refusal.code == Code::LoginRequired)
}

fn is_protocol(error: &Error) -> bool {
    matches!(error, Error::Protocol(_))
}

#[test]
fn a_reply_to_another_request_or_to_none_ends_the_connection() {
    for id in [json!(0), json!(2), json!(u64::MAX), Value::Null] {
        let reply = move |peer: &mut Peer| {
            peer.request();
            let mut reply = space();
            reply["ok"] = json!(true);
            reply["id"] = id;
            peer.send(&frame(&reply));
        };
        check(reply, is_protocol, false);
    }
    let progress_of_none = |peer: &mut Peer| {
        let request = peer.request();
        peer.send(&frame(&json!({"working": 1})));
        peer.grant(&request, space());
    };
    check(progress_of_none, is_protocol, false);
}

#[test]
fn an_error_about_the_connection_is_told_and_ends_it() {
    for code in ["malformed", "timeout", "shutting-down", "too-large"] {
        let farewell = move |peer: &mut Peer| {
            peer.request();
            peer.refuse(&json!({"id": null}), code);
        };
        check(
            farewell,
            |error| matches!(error, Error::Refused(refusal) if refusal.message == "because"),
            false,
        );
    }
}

#[test]
fn codes_that_close_the_connection_are_known_to_do_so() {
    for code in ["busy", "shutting-down", "timeout", "too-large"] {
        let refuse = move |peer: &mut Peer| {
            let request = peer.request();
            peer.refuse(&request, code);
        };
        check(refuse, |error| matches!(error, Error::Refused(_)), false);
    }
}

#[test]
fn a_code_from_the_future_is_a_refusal_like_any_other() {
    let refuse = |peer: &mut Peer| {
        let request = peer.request();
        peer.refuse(&request, "from-the-future");
    };
    check(refuse, |error| matches!(error, Error::Refused(refusal) if refusal.code == Code::Unknown), true);
}

#[test]
fn a_hostile_message_is_shown_escaped() {
    let script = Script::run(|peer| {
        let request = peer.request();
        let error = json!({"code": "io", "message": "\u{1b}]0;owned\u{7}\nroot# "});
        peer.send(&frame(&json!({"id": request["id"], "error": error})));
    });
    assert_eq!(ask(&mut script.client()).unwrap_err().to_string(), "\\x1b]0;owned\\x07\\nroot# ");
}

#[test]
fn nothing_that_a_hostile_reply_holds_drives_a_terminal() {
    let bad = "\u{1b}[2J\u{202e}\n";
    // Fields are sent in the order of their names.
    let behind = format!("z{bad}");
    for fields in [
        json!({"entry": {"name": {"b64": "YQ==", behind.clone(): "x"}, "kind": "file", "size": 1, "mtime": [0, 0], "mode": "644"}}),
        json!({"entry": {"name": bad.to_owned() + "/", "kind": bad, "size": 1, "mtime": [0, 0], "mode": "644"}}),
        json!({"entry": {"name": "a", "kind": bad, "size": bad, "mtime": [0, 0], "mode": "644"}}),
        json!({"entry": {"name": "a", "kind": "file", "size": 1, "mtime": bad, "mode": "644"}}),
        json!({"entry": {"name": "a", "kind": "file", "size": 1, "mtime": [0, 0], "mode": bad}}),
        json!({"entry": {"name": "a", "kind": {bad: 1}, "size": 1, "mtime": [0, 0], "mode": "644"}}),
        json!({"id": bad}),
        json!({"ok": bad}),
        json!({"error": {"code": bad, "message": bad}}),
        json!({"error": {"code": {bad: bad}, "message": bad}}),
    ] {
        let script = Script::run(move |peer| {
            let request = peer.request();
            peer.grant(&request, fields);
        });
        let shown = script.client().stat(&"a".parse().unwrap()).unwrap_err().to_string();
        assert!(!shown.contains(|c: char| c.is_control() || c == '\u{202e}'), "{shown:?}");
    }
}

#[test]
fn messages_that_are_none_end_the_connection() {
    for bytes in
        [framed(b"no json"), framed(b"[1]"), framed(b""), framed(b"{\"id\":1"), framed(&[b'['; 60_000])]
    {
        let play = move |peer: &mut Peer| {
            peer.request();
            peer.send(&bytes);
        };
        check(play, is_protocol, false);
    }
    let over_the_cap = |peer: &mut Peer| {
        peer.request();
        peer.send(&[0, 1, 0, 1]);
    };
    let is_too_large =
        |error: &Error| matches!(error, Error::Connection(ftpish_protocol::Error::HeaderTooLarge { .. }));
    check(over_the_cap, is_too_large, false);
}

#[test]
fn unknown_fields_are_ignored_and_progress_is_not_the_reply() {
    let script = Script::run(|peer| {
        let request = peer.request();
        for done in [0, 5, 1_u64 << 40] {
            peer.send(&frame(&json!({"id": request["id"], "working": done, "mood": "fine"})));
        }
        let digest = Algorithm::Md5.digest(b"x").to_string();
        peer.grant(&request, json!({"size": 1, "digest": digest, "future": {"a": [1]}}));
    });
    let progress = Progress::default();
    let hashed = script.client().hash(&"a".parse().unwrap(), Algorithm::Md5, &progress).unwrap();
    assert_eq!((hashed.size, progress.done()), (1, 1 << 40));
}

#[test]
fn a_digest_of_another_algorithm_than_asked_for_is_no_answer() {
    let script = Script::run(|peer| {
        let request = peer.request();
        peer.grant(&request, json!({"size": 1, "digest": Algorithm::Sha256.digest(b"x").to_string()}));
    });
    let error =
        script.client().hash(&"a".parse().unwrap(), Algorithm::Md5, &Progress::default()).unwrap_err();
    assert!(is_protocol(&error), "{error}");
}

#[test]
fn a_reply_that_comes_byte_by_byte_is_the_same_reply() {
    let script = Script::run(|peer| {
        let request = peer.request();
        let mut reply = space();
        reply["ok"] = json!(true);
        reply["id"] = request["id"].clone();
        frame(&reply).into_iter().for_each(|byte| peer.send(&[byte]));
    });
    assert_eq!(ask(&mut script.client()).unwrap().total, 3);
}

#[test]
fn a_connection_with_something_unasked_in_it_is_not_used_again() {
    let script = Script::run(|peer| {
        let request = peer.request();
        let mut both =
            frame(&json!({"id": request["id"], "ok": true, "total": 3, "free": 2, "available": 1}));
        both.extend(frame(&json!({"id": null, "error": {"code": "shutting-down", "message": "bye"}})));
        peer.send(&both);
    });
    let mut client = script.client();
    ask(&mut client).unwrap();
    assert!(!client.is_usable());
}

#[test]
fn a_server_that_refuses_hello_is_told_of_and_left() {
    let script = Script::from_the_start(|peer| {
        let hello = peer.request();
        peer.refuse(&hello, "busy");
        peer.wait_until_gone();
    });
    let mut client = script.client();
    let error = ask(&mut client).unwrap_err();
    assert!(matches!(&error, Error::Refused(refusal) if refusal.code == Code::Busy), "{error}");
    assert!(!client.is_usable());
}

/// Answers `hello` with these fields: no server of which this client could make anything.
#[track_caller]
fn check_welcome(fields: Value, expected: fn(&Error) -> bool) {
    let shown = fields.to_string();
    let script = Script::from_the_start(move |peer| {
        let hello = peer.request();
        peer.grant(&hello, fields);
        if let Some(request) = peer.next() {
            peer.grant(&request, space());
        }
    });
    let mut client = script.client();
    let error = ask(&mut client).err();
    assert!(error.as_ref().is_some_and(expected), "{shown}: {error:?}");
    assert!(!client.is_usable());
}

#[test]
fn a_server_that_wants_a_login_or_speaks_another_version_is_left() {
    check_welcome(
        json!({"version": 1, "agent": "a", "digests": ["md5"], "commands": [], "login": true}),
        is_login_required,
    );
    check_welcome(
        json!({"version": 2, "agent": "a", "digests": ["md5"], "commands": [], "login": false}),
        is_protocol,
    );
    check_welcome(
        json!({"version": 1, "agent": "a", "digests": "md5", "commands": [], "login": false}),
        is_protocol,
    );
    check_welcome(json!({"version": 1}), is_protocol);
}

#[test]
fn a_server_that_says_nothing_at_all_is_left() {
    let script = Script::from_the_start(Peer::wait_until_gone);
    let mut client = script.impatient_client();
    let error = ask(&mut client).unwrap_err();
    assert!(matches!(&error, Error::Connection(error) if error.is_timeout()), "{error}");
    assert!(!client.is_usable());
}

/// Begins TLS with a server that plays this in its place.
fn handshake(play: impl FnOnce(&mut Peer) + Send + 'static) -> Error {
    let script = Script::from_the_start(play);
    let timeouts = Timeouts { connect: SHORT, reply: SHORT, pace: SHORT };
    let secure = Options { timeouts, ..Options::new(script.endpoint.clone(), Security::Tls(Trust::Any)) };
    Client::connect(&secure).err().expect("no TLS")
}

#[test]
fn a_server_that_never_finishes_the_handshake_is_left() {
    for plays in [
        Peer::wait_until_gone as fn(&mut Peer),
        Peer::close,
        |peer| peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        |peer| while peer.try_send(&[22, 3, 3, 0x40, 0]).is_ok() {},
    ] {
        let error = handshake(plays);
        assert!(matches!(error, Error::Handshake { .. }), "{error}");
    }
}

#[test]
fn a_place_where_nobody_listens_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = ftpish_transport::Endpoint::Unix(dir.path().join("nobody"));
    let error = Client::connect(&Options::new(nobody.clone(), Security::Plaintext)).err().unwrap();
    assert!(matches!(&error, Error::Connect { endpoint, .. } if *endpoint == nobody), "{error}");
}

/// Takes nothing the first time that it is given something.
struct Paused(bool, Vec<u8>);

impl std::io::Write for Paused {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if std::mem::take(&mut self.0) {
            return Err(std::io::ErrorKind::WouldBlock.into());
        }
        self.1.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_that_takes_nothing_for_a_while_says_that_it_is_alive_to_servers_that_know_that() {
    for (features, said) in [(&["alive"][..], Some(json!({"alive": true}))), (&[], None)] {
        let script = Script::from_the_start(move |peer| {
            peer.greet_as_one_that_knows(features);
            let request = peer.request();
            let file = json!({"body": true, "size": 3, "length": 3, "mtime": [0, 0], "mode": "644"});
            peer.grant(&request, file);
            peer.send(&crate::script::body(b"all"));
            assert_eq!(peer.next(), said);
        });
        let (mut client, mut out) = (script.client(), Paused(true, Vec::new()));
        let path = "file".parse().unwrap();
        client.get(&path, Algorithm::Md5, &mut out, &Progress::default()).unwrap();
        assert_eq!(out.1, b"all");
    }
}
