//! Several connections to servers that name no upload, or lie about the parts of a file.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use ftpish_client::{Ahead, Client, Download, Error, Jobs, Options, Progress, Transferred, Upload};
use ftpish_protocol::blocks::is_subtree;
use ftpish_protocol::{Algorithm, Code, Connection, send_subtree};
use serde_json::{Value, json};

use crate::script::{Peer, Script, end, framed};

/// A part, and a bit.
const SIZE: usize = (9 << 20) + 3;

/// What is worth several connections to a server.
const LARGE: usize = (33 << 20) + 5;

/// There is room for one connection to a script, so the others never come to be.
fn client(script: &Script) -> Client {
    Client::connect(&Options { jobs: Jobs::up_to(3), ..script.options() }).unwrap()
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i / 1024 % 251) as u8).collect()
}

fn download(script: &Script, to: &Path) -> Result<Transferred, Error> {
    let download = Download { sync: false, ..Download::new("file".parse().unwrap(), to) };
    client(script).download(&download, &Progress::default())
}

fn upload(script: &Script, from: &Path) -> Result<Transferred, Error> {
    let upload = Upload { ahead: Ahead::Never, ..Upload::new(from, "file".parse().unwrap()) };
    client(script).upload(&upload, &Progress::default())
}

/// A body with a BLAKE3 trailer.
fn body(bytes: &[u8], more: &Value) -> Vec<u8> {
    let mut trailer = json!({"length": bytes.len(), "digest": Algorithm::Blake3.digest(bytes).to_string()});
    trailer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let chunks = bytes.chunks(1 << 20).flat_map(framed);
    chunks.chain(end(&trailer)).collect()
}

/// Answers every `get` of a part, or of nothing, but for what `change` makes of its fields.
fn serve(peer: &mut Peer, file: &[u8], change: impl Fn(&mut Value, u64)) {
    let size = file.len() as u64;
    while let Some(request) = peer.next() {
        let offset = request["offset"].as_u64().unwrap_or(0);
        let part = offset..offset + request["length"].as_u64().unwrap();
        let is_question = part.is_empty();
        assert!(is_question || part.end <= size && is_subtree(&part, size), "{part:?}");
        let mut fields = json!({"body": true, "size": size, "length": part.end - offset, "mtime": [1, 0],
                                "mode": "644", "tag": "one", "subtree": !is_question});
        change(&mut fields, offset);
        peer.grant(&request, fields);
        let bytes = &file[usize::try_from(offset).unwrap()..usize::try_from(part.end).unwrap()];
        if is_question {
            peer.send(&body(bytes, &json!({})));
            continue;
        }
        let nowhere = &mut Connection::new(Cursor::new(Vec::new()));
        let proof = send_subtree(nowhere, &mut &*bytes, offset, &mut |_, _| true).unwrap().digest;
        peer.send(&body(bytes, &json!({"digest": proof.to_string()})));
    }
}

#[test]
fn parts_of_two_files_are_not_joined() {
    for (field, other) in [("tag", json!("another")), ("mtime", json!([2, 0])), ("size", json!(SIZE + 1))] {
        let dir = tempfile::tempdir().unwrap();
        let script = Script::run(move |peer| {
            serve(peer, &bytes(SIZE), |fields, offset| {
                if offset > 0 {
                    fields[field] = other.clone();
                }
            });
        });
        let error = download(&script, &dir.path().join("file")).unwrap_err();
        assert!(matches!(&error, Error::Refused(refusal) if refusal.code == Code::Changed), "{error:?}");
        assert!(!dir.path().join("file").exists());
    }
}

#[test]
fn bytes_in_place_of_a_part_are_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::run(|peer| {
        serve(peer, &bytes(SIZE), |fields, _| fields["subtree"] = json!(false));
    });
    let error = download(&script, &dir.path().join("file")).unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    assert!(!dir.path().join("file").exists());
}

#[test]
fn a_part_with_a_digest_of_another_kind_than_was_said_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::run(|peer| {
        let request = peer.request();
        let fields = json!({"body": true, "size": SIZE, "length": 8 << 20, "mtime": [1, 0], "mode": "644",
                            "tag": "one", "subtree": true});
        peer.grant(&request, fields);
        peer.send(&body(&bytes(8 << 20), &json!({})));
    });
    let error = download(&script, &dir.path().join("file")).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
    assert!(!dir.path().join("file").exists());
}

/// Answers a `resume` with these fields besides: nothing is there.
fn resumed(peer: &mut Peer, fields: &Value) {
    let request = peer.request();
    assert_eq!((&request["cmd"], &request["parts"]), (&json!("resume"), &json!(true)));
    let mut reply =
        json!({"body": true, "size": LARGE, "mtime": request["mtime"], "block": 1 << 20, "length": 0});
    reply.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    peer.grant(&request, reply);
    peer.send(&body(&[], &json!({})));
}

#[test]
fn a_server_that_names_no_upload_gets_all_over_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), bytes(LARGE)).unwrap();
    let script = Script::run(|peer| {
        resumed(peer, &json!({}));
        let request = peer.request();
        assert_eq!((&request["cmd"], &request["ranges"]), (&json!("put"), &json!([[0, LARGE]])));
        let digest = Algorithm::Blake3.digest(&peer.body());
        peer.grant(&request, json!({"size": LARGE, "digest": digest.to_string()}));
    });
    let done = upload(&script, &dir.path().join("file")).unwrap();
    assert_eq!((done.size, done.digest), (LARGE as u64, Algorithm::Blake3.digest(&bytes(LARGE))));
}

#[test]
fn a_part_that_is_refused_ends_the_upload_and_leaves_the_connection_usable() {
    for (code, is_told) in [("no-space", Code::NoSpace), ("bad-range", Code::BadRange)] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), bytes(LARGE)).unwrap();
        let script = Script::run(move |peer| {
            resumed(peer, &json!({"upload": "01"}));
            for _ in 0..2 {
                let request = peer.request();
                assert_eq!((&request["cmd"], &request["upload"]), (&json!("part"), &json!("01")));
                peer.body();
                peer.refuse(&request, code);
            }
        });
        let error = upload(&script, &dir.path().join("file")).unwrap_err();
        assert!(matches!(&error, Error::Refused(refusal) if refusal.code == is_told), "{error:?}");
    }
}

#[test]
fn a_server_that_grants_all_parts_and_stores_another_file_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), bytes(LARGE)).unwrap();
    let script = Script::run(|peer| {
        resumed(peer, &json!({"upload": "01"}));
        loop {
            let request = peer.request();
            peer.body();
            if request["cmd"] == "put" {
                assert_eq!(request["ranges"], json!([]));
                break peer.grant(
                    &request,
                    json!({"size": LARGE, "digest": Algorithm::Blake3.digest(b"").to_string()}),
                );
            }
            peer.grant(&request, json!({}));
        }
    });
    let error = upload(&script, &dir.path().join("file")).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
}
