//! Several connections to servers that know nothing of them, or lie about the parts of a file.

use std::fs;
use std::path::Path;

use ftpish_client::{Ahead, Client, Download, Error, Jobs, Options, Progress, Transferred, Upload};
use ftpish_protocol::{Algorithm, Code};
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

/// Answers every `get` as a server did that knew of no subtrees, but for what `change` makes of its fields.
fn serve(peer: &mut Peer, file: &[u8], change: impl Fn(&mut Value, usize)) {
    while let Some(request) = peer.next() {
        let offset = request["offset"].as_u64().unwrap_or(0) as usize;
        let length = request["length"].as_u64().map_or(file.len() - offset, |length| length as usize);
        if offset + length > file.len() {
            peer.refuse(&request, "bad-range");
            continue;
        }
        let mut fields = json!({"body": true, "size": file.len(), "length": length, "mtime": [1, 0],
                                "mode": "644", "tag": "one"});
        change(&mut fields, offset);
        peer.grant(&request, fields);
        peer.send(&body(&file[offset..offset + length], &json!({})));
    }
}

#[test]
fn a_server_that_knows_of_no_subtrees_is_asked_for_ranges() {
    for size in [0, 5, 5 << 20, 8 << 20, SIZE, LARGE] {
        let (dir, file) = (tempfile::tempdir().unwrap(), bytes(size));
        let there = file.clone();
        let script = Script::run(move |peer| serve(peer, &there, |_, _| {}));
        let done = download(&script, &dir.path().join("file")).unwrap();
        assert_eq!((done.size, done.digest), (size as u64, Algorithm::Blake3.digest(&file)));
        assert!(fs::read(dir.path().join("file")).unwrap() == file);
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
fn a_part_with_a_digest_of_another_kind_than_was_said_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::run(|peer| {
        serve(peer, &bytes(SIZE), |fields, _| fields["subtree"] = json!(true));
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
