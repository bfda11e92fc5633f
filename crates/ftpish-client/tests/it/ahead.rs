//! Uploads that begin before it is known what the server has, to servers that have something, make no sense, or refuse.

use std::path::Path;

use ftpish_client::{Ahead, Client, Error, Progress, Transferred, Upload};
use ftpish_protocol::{Algorithm, Code};
use serde_json::{Value, json};

use crate::script::{Peer, Script, end};

/// Worth resuming, and no whole number of blocks.
const SIZE: usize = (5 << 20) + 3;

fn bytes() -> Vec<u8> {
    (0..SIZE).map(|i| (i / 1024 % 251) as u8).collect()
}

fn digest() -> String {
    Algorithm::Blake3.digest(&bytes()).to_string()
}

fn upload(client: &mut Client, dir: &Path) -> Result<Transferred, Error> {
    let (from, to) = (dir.join("file"), "file".parse().unwrap());
    std::fs::write(&from, bytes()).unwrap();
    let upload = Upload { ahead: Ahead::Always, ..Upload::new(from, to) };
    client.upload(&upload, &Progress::default())
}

#[track_caller]
fn resume(peer: &mut Peer, ahead: bool) -> Value {
    let request = peer.request();
    assert_eq!((&request["cmd"], request["ahead"].as_bool().unwrap_or_default()), (&json!("resume"), ahead));
    request
}

#[track_caller]
fn part(peer: &mut Peer) -> Value {
    let request = peer.request();
    assert_eq!((&request["cmd"], &request["upload"]), (&json!("part"), &Value::Null));
    request
}

/// Grants a `resume`: nothing is there.
fn grant(peer: &mut Peer, request: &Value, fields: &Value) {
    let mut reply =
        json!({"body": true, "size": SIZE, "mtime": request["mtime"], "block": 1 << 20, "length": 0});
    reply.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    peer.grant(request, reply);
    peer.send(&end(&json!({"length": 0, "digest": Algorithm::Blake3.digest(b"").to_string()})));
}

/// Takes the file when it was asked for, and stores it.
fn store_waited_for(peer: &mut Peer) {
    let request = resume(peer, false);
    grant(peer, &request, &json!({}));
    let put = peer.request();
    assert_eq!((&put["cmd"], &put["ranges"]), (&json!("put"), &json!([[0, SIZE]])));
    assert!(peer.body() == bytes());
    peer.grant(&put, json!({"size": SIZE, "digest": digest()}));
}

#[test]
fn a_new_file_is_sent_to_its_end_with_no_wait_but_for_the_name_of_the_upload() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::run(|peer| {
        let (request, first) = (resume(peer, true), part(peer));
        peer.body();
        grant(peer, &request, &json!({"ahead": true, "upload": "01"}));
        let (mut parts, mut length) = (vec![first], 1 << 20);
        let put = loop {
            let request = peer.request();
            length += peer.body().len();
            if request["cmd"] == "put" {
                break request;
            }
            parts.push(request);
        };
        assert_eq!((length, &put["ranges"]), (SIZE, &json!([])));
        parts.iter().for_each(|part| peer.grant(part, json!({})));
        peer.grant(&put, json!({"size": SIZE, "digest": digest()}));
    });
    let mut client = script.client();
    let done = upload(&mut client, dir.path()).unwrap();
    assert_eq!((done.size, done.moved, done.digest.to_string()), (SIZE as u64, SIZE as u64, digest()));
    assert!(client.is_usable());
}

#[test]
fn a_server_that_has_something_is_heard_in_the_middle_of_a_part_and_asked() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::run(|peer| {
        let request = resume(peer, true);
        peer.refuse(&request, "ask-first");
        let first = part(peer);
        assert_eq!(peer.rest_of_aborted_body()["error"]["code"], "cancelled");
        peer.refuse(&first, "bad-range");
        store_waited_for(peer);
    });
    let mut client = script.client();
    assert_eq!(upload(&mut client, dir.path()).unwrap().digest.to_string(), digest());
    assert!(client.is_usable());
}

#[test]
fn an_answer_that_makes_no_sense_ends_the_connection() {
    for fields in [json!({"upload": "01"}), json!({"ahead": true})] {
        let dir = tempfile::tempdir().unwrap();
        let script = Script::run(move |peer| {
            let request = resume(peer, true);
            grant(peer, &request, &fields);
            peer.wait_until_gone();
        });
        let mut client = script.client();
        let error = upload(&mut client, dir.path()).unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
        assert!(!client.is_usable());
    }
}

#[test]
fn what_would_be_refused_anyway_is_not_asked_again() {
    for (code, is_told) in [("exists", Code::Exists), ("no-space", Code::NoSpace)] {
        let dir = tempfile::tempdir().unwrap();
        let script = Script::run(move |peer| {
            let request = resume(peer, true);
            peer.refuse(&request, code);
            let first = part(peer);
            peer.rest_of_aborted_body();
            peer.refuse(&first, "bad-range");
        });
        let mut client = script.client();
        let error = upload(&mut client, dir.path()).unwrap_err();
        assert!(matches!(&error, Error::Refused(refusal) if refusal.code == is_told), "{error:?}");
        assert!(client.is_usable());
        client.df(&"a".parse().unwrap()).unwrap();
    }
}

#[test]
fn a_refused_greeting_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::from_the_start(|peer| {
        let hello = peer.request();
        peer.refuse(&hello, "busy");
        peer.wait_until_gone();
    });
    let mut client = script.client();
    let error = upload(&mut client, dir.path()).unwrap_err();
    assert!(matches!(&error, Error::Refused(refusal) if refusal.code == Code::Busy), "{error:?}");
    assert!(!client.is_usable());
}

#[test]
fn of_a_part_that_is_refused_behind_the_put_the_reason_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::run(|peer| {
        let request = resume(peer, true);
        grant(peer, &request, &json!({"ahead": true, "upload": "01"}));
        let mut requests: Vec<Value> = vec![];
        while requests.last().is_none_or(|request| request["cmd"] != "put") {
            requests.push(peer.request());
            peer.body();
        }
        peer.grant(&requests[0], json!({}));
        peer.refuse(&requests[1], "no-space");
        requests[2..].iter().for_each(|request| peer.refuse(request, "mismatch"));
    });
    let mut client = script.client();
    let error = upload(&mut client, dir.path()).unwrap_err();
    assert!(matches!(&error, Error::Refused(refusal) if refusal.code == Code::NoSpace), "{error:?}");
    assert!(client.is_usable());
}

#[test]
fn a_local_file_that_changes_while_it_is_sent_ahead_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let script = Script::run(move |peer| {
        let (request, first) = (resume(peer, true), part(peer));
        std::fs::write(&path, "changed").unwrap();
        grant(peer, &request, &json!({"ahead": true, "upload": "01"}));
        let (mut next, mut aborted) = (Some(first), 0);
        while let Some(part) = next {
            assert_eq!(part["cmd"], "part");
            match peer.rest_of_body_or_abort() {
                Some(why) => {
                    assert_eq!(why["error"]["code"], "changed");
                    aborted += 1;
                    peer.refuse(&part, "cancelled");
                }
                None => peer.grant(&part, json!({})),
            }
            next = peer.next();
        }
        assert!(aborted > 0);
    });
    let mut client = script.client();
    let error = upload(&mut client, dir.path()).unwrap_err();
    assert!(matches!(&error, Error::Local { refusal, .. } if refusal.code == Code::Changed), "{error:?}");
    assert!(client.is_usable());
}
