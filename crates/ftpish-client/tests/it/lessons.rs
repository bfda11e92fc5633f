//! What other programs learned the hard way, from the side of the client: it trusts a server with nothing but bytes
//! that it asked for, under the name that it was given.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use ftpish_client::{Client, Download, Error, Progress};
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Algorithm, RemotePath};
use serde_json::{Value, json};

use crate::downloads::download;
use crate::script::{Peer, Script, body, contents, end, file, frame, framed, trailer};

/// Numbers at and beyond the boundaries of every type, and what is none.
const NUMBERS: [&str; 15] = [
    "0",
    "1",
    "-1",
    "2147483648",
    "9007199254740992",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "-1e400",
    "1.5",
    "\"1\"",
    "true",
    "[]",
    "{}",
];

/// What came is no message of the protocol's.
fn is_malformed(error: &Error) -> bool {
    use ftpish_protocol::Error::{HeaderTooLarge, Malformed};
    matches!(error, Error::Protocol(_) | Error::Connection(Malformed(_) | HeaderTooLarge { .. }))
}

fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

/// CVE-2019-6111 and CVE-2018-20685 of scp, CVE-2026-0964 of libssh: the server said which name to write.
#[test]
fn a_server_that_names_another_file_is_not_heard() {
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = outside.path().join("elsewhere");
    let long = "n".repeat(300);
    for name in ["b", "../b", elsewhere.to_str().unwrap(), "", ".", "..", "/", "a\0b", &long] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("here")).unwrap();
        let to = dir.path().join("here/a");
        let name = name.to_owned();
        let script = Script::run(move |peer| {
            let request = peer.request();
            let mut fields = file(3);
            for field in ["name", "path", "to", "target", "filename"] {
                fields[field] = json!(name);
            }
            fields["kind"] = json!("dir");
            peer.grant(&request, fields);
            peer.send(&body(b"new"));
        });
        download(&mut script.client(), &to).unwrap();
        assert_eq!(contents(&dir.path().join("here")), [("a".to_owned(), "new".to_owned())]);
        assert_eq!(contents(dir.path()).len(), 1);
        assert_eq!(contents(outside.path()), []);
    }
}

/// CVE-2024-12087 and CVE-2024-12088 of rsync: links where the receiver writes, made while it receives.
#[test]
fn a_link_that_appears_at_the_target_is_replaced_and_never_written_through() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("victim"), "theirs").unwrap();
    let (to, victim) = (dir.path().join("a"), outside.path().join("victim"));
    let link = to.clone();
    let script = Script::run(move |peer| {
        peer.announce(6);
        peer.send(&framed(b"new"));
        symlink(&victim, &link).unwrap();
        peer.send(&framed(b"new"));
        peer.send(&end(&trailer(b"newnew")));
    });
    download(&mut script.client(), &to).unwrap();
    assert_eq!(contents(dir.path()), [("a".to_owned(), "newnew".to_owned())]);
    assert_eq!(contents(outside.path()), [("victim".to_owned(), "theirs".to_owned())]);
}

/// The same with the directory above: it is held open, so that a link in its place leads nobody astray.
#[test]
fn a_directory_swapped_for_a_link_while_a_file_arrives_leads_nowhere() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, moved) = (dir.path().join("here"), dir.path().join("moved"));
    fs::create_dir(&here).unwrap();
    let (swapped, away, out) = (here.clone(), moved.clone(), outside.path().to_owned());
    let script = Script::run(move |peer| {
        peer.announce(3);
        fs::rename(&swapped, &away).unwrap();
        symlink(&out, &swapped).unwrap();
        peer.send(&body(b"new"));
    });
    // It may come too late to hold the directory, and then stores nothing; it never stores it outside.
    let _ = download(&mut script.client(), &here.join("a"));
    assert_eq!(contents(outside.path()), []);
}

/// CVE-2024-12084 of rsync: a checksum longer than its algorithm's ran over the buffer for it.
#[test]
fn digests_of_any_other_length_are_no_digests() {
    for length in [0, 1, 30, 31, 33, 34, 62, 64, 66, 128, 60_000] {
        for algorithm in ["md5", "blake3", "sha256", "md5md5", ""] {
            if (algorithm, length) == ("md5", 32) || algorithm.len() > 4 && length == 64 {
                continue;
            }
            let digest = format!("{algorithm}:{}", "a".repeat(length));
            let hashed = json!({"size": 1, "digest": digest});
            let script = Script::run(move |peer| {
                let request = peer.request();
                peer.grant(&request, hashed);
            });
            let error = script.client().hash(&path("a"), Algorithm::Md5, &Progress::default()).unwrap_err();
            assert!(matches!(error, Error::Protocol(_)), "{algorithm} {length}: {error:?}");
            let digest = format!("{algorithm}:{}", "a".repeat(length));
            let script = Script::run(move |peer| {
                peer.announce(3);
                peer.send(&[framed(b"new"), end(&json!({"length": 3, "digest": digest}))].concat());
            });
            let dir = tempfile::tempdir().unwrap();
            let error = download(&mut script.client(), &dir.path().join("a")).unwrap_err();
            assert!(is_malformed(&error), "{algorithm} {length}: {error:?}");
            assert_eq!(contents(dir.path()), []);
        }
    }
}

/// What a client is made to ask, and a reply to it whose numbers are in order.
type Asked = (&'static str, fn(&mut Client, &Path) -> Result<(), Error>, Value);

fn all_replies() -> Vec<Asked> {
    let entry = json!({"name": "a", "kind": "file", "size": 3, "mtime": [1, 2], "mode": "644"});
    let cut = json!({"body": true, "size": 3 << 20, "mtime": [1, 2], "block": 1 << 20, "length": 96});
    let md5 = Algorithm::Md5.digest(b"new").to_string();
    vec![
        ("stat", |client, _| client.stat(&path("a")).map(drop), json!({"entry": entry})),
        ("df", |client, _| client.df(&path("a")).map(drop), json!({"total": 3, "free": 2, "available": 1})),
        (
            "hash",
            |client, _| client.hash(&path("a"), Algorithm::Md5, &Progress::default()).map(drop),
            json!({"size": 3, "digest": md5}),
        ),
        ("get", |client, dir| download(client, &dir.join("a")).map(drop), file(3)),
        (
            "put",
            |client, _| {
                let progress = Progress::default();
                client.put(&mut &b"new"[..], &path("a"), Algorithm::Md5, Replace::Always, &progress).map(drop)
            },
            json!({"size": 3, "digest": md5}),
        ),
        (
            "blocks",
            |client, dir| {
                let to = dir.join("mended");
                fs::write(&to, "old").unwrap();
                let download = Download { sync: false, repair: true, ..Download::new(path("a"), &to) };
                let mended = client.download(&download, &Progress::default()).map(drop);
                assert_eq!(fs::read(&to).unwrap(), b"old", "nothing was proven");
                fs::remove_file(to).unwrap();
                mended
            },
            cut,
        ),
    ]
}

/// Every place in `value` that holds a number.
fn numbers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| numbers(item, &format!("{at}/{i}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| numbers(field, &format!("{at}/{name}"), found));
        }
        _ => {}
    }
}

/// Takes a request, with the body behind it, if there is one.
fn take(peer: &mut Peer) -> Value {
    let request = peer.request();
    if request["body"] == true {
        peer.body();
    }
    request
}

/// CVE-2026-43618 and CVE-2026-53792 of rsync, dufs 690, proftpd 2286: numbers from the wire that wrapped around.
#[test]
fn no_number_in_any_reply_makes_the_client_panic_or_write() {
    for (what, ask, reply) in all_replies() {
        let mut places = vec!["/id".to_owned(), "/working".to_owned()];
        numbers(&reply, "", &mut places);
        for place in places {
            for number in NUMBERS {
                let mut reply = reply.clone();
                let script = Script::from_the_start({
                    let place = place.clone();
                    move |peer| {
                        peer.greet();
                        let request = take(peer);
                        reply["ok"] = json!(true);
                        reply["id"] = request["id"].clone();
                        if place == "/working" {
                            reply["working"] = json!(0);
                        }
                        *reply.pointer_mut(&place).unwrap() = json!("NUMBER");
                        peer.send(&framed(reply.to_string().replace("\"NUMBER\"", number).as_bytes()));
                        peer.send(&body(b"new"));
                        peer.close();
                    }
                });
                let dir = tempfile::tempdir().unwrap();
                let outcome = ask(&mut script.client(), dir.path());
                let stored = contents(dir.path());
                if outcome.is_err() {
                    assert_eq!(stored, [], "{what} {place} {number}");
                } else {
                    let expected = [("a".to_owned(), "new".to_owned())];
                    assert!(stored.is_empty() || stored == expected, "{what} {place} {number}: {stored:?}");
                }
                let is_number = number.parse::<u64>().is_ok();
                assert!(is_number || number == "-1" || outcome.is_err(), "{what} {place} {number}");
            }
        }
    }
}

#[test]
fn no_number_in_a_greeting_or_a_trailer_makes_the_client_panic() {
    for number in NUMBERS {
        let hello =
            r#"{"id":0,"ok":true,"version":NUMBER,"agent":"","digests":[],"commands":[],"login":false}"#;
        let script = Script::from_the_start(move |peer| {
            peer.request();
            peer.send(&framed(hello.replace("NUMBER", number).as_bytes()));
            peer.close();
        });
        assert!(script.client().df(&path("a")).is_err(), "{number}");
        for field in ["length", "entries"] {
            let line = format!(
                "{}\n",
                json!({"name": "a", "kind": "file", "size": 1, "mtime": [0, 0], "mode": "644"})
            );
            let mut told = trailer(line.as_bytes());
            told["entries"] = json!(1);
            told[field] = json!("NUMBER");
            let told = told.to_string().replace("\"NUMBER\"", number);
            let script = Script::from_the_start(move |peer| {
                peer.greet();
                let request = peer.request();
                peer.grant(&request, json!({"body": true}));
                peer.send(&[framed(line.as_bytes()), vec![0; 4], framed(told.as_bytes())].concat());
                peer.close();
            });
            let listed = script.client().ls(&path("."), &mut |_| Ok(()));
            assert_eq!(listed.is_ok(), field == "entries" && number == "1", "{field} {number}: {listed:?}");
        }
    }
}

/// GHSA advisories against JSON readers, and M of our own: what must not reach the parser, or not come back from it.
#[test]
fn messages_that_are_made_to_exhaust_are_refused_for_their_length_depth_or_doubles() {
    let nested = |depth: usize| format!(r#"{{"id":1,"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    for said in [
        (64_u32 << 20).to_be_bytes().to_vec(),
        u32::MAX.to_be_bytes().to_vec(),
        framed(nested(30_000).as_bytes()),
        // Deeper than a message may be long: the length alone says so.
        framed(nested(100_000).as_bytes()),
        framed(br#"{"id":1,"id":1,"ok":true,"total":3,"free":2,"available":1}"#),
        framed(br#"{"id":1,"ok":true,"total":3,"total":3,"free":2,"available":1}"#),
        frame(&json!([1, true])),
    ] {
        let script = Script::run(move |peer| {
            peer.request();
            peer.send(&said);
        });
        let error = script.client().df(&path("a")).unwrap_err();
        assert!(is_malformed(&error), "{error:?}");
    }
}

/// Where entries are held to be sorted, each may only be so large.
#[test]
fn a_link_that_holds_more_than_any_link_can_is_refused() {
    for (length, fits) in [(4096, true), (4097, false), (60_000, false)] {
        let target = "t".repeat(length);
        let entry =
            json!({"name": "a", "kind": "link", "size": 1, "mtime": [0, 0], "mode": "777", "target": target});
        let script = Script::run(move |peer| {
            let request = peer.request();
            peer.grant(&request, json!({"entry": entry}));
        });
        assert_eq!(script.client().stat(&path("a")).is_ok(), fits, "{length}");
    }
}
