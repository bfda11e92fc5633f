//! A file in parts, over several connections: what a part is, who may send it, and which of two is believed.

use std::fs;

use ftpish_client::{Ahead, Client, Download, Jobs, Options, Progress, Upload};
use ftpish_protocol::blocks::{Assembly, Blocks, MIN_BLOCK};
use ftpish_protocol::{Algorithm, Meter};
use ftpish_server::Limits;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestServer, path, pattern};
use crate::raw::{Raw, code, frame, framed};

/// Three blocks and a bit.
const SIZE: usize = 3 * MIN_BLOCK as usize + 17;

/// The digest of one of its blocks.
fn digest(bytes: &[u8], index: usize) -> String {
    let blocks = Blocks::of(bytes.len() as u64).unwrap();
    let digests = Assembly::of(&mut &bytes[..], blocks, &Meter::default()).unwrap().to_bytes();
    let hex: String = digests[index * 32..][..32].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("blake3:{hex}")
}

fn block(bytes: &[u8], index: usize) -> &[u8] {
    bytes.chunks(MIN_BLOCK as usize).nth(index).unwrap()
}

/// Opens an upload of a file of [`SIZE`] bytes, and tells what it is named.
#[track_caller]
fn open(raw: &mut Raw, name: &str) -> Value {
    let resume =
        json!({"id": 1, "cmd": "resume", "path": name, "size": SIZE, "mtime": [1, 0], "parts": true});
    let reply = raw.ask(&resume);
    assert_eq!(reply["ok"], true, "{reply}");
    raw.body(Algorithm::Blake3).unwrap();
    reply["upload"].clone()
}

fn header(name: &str, upload: &Value, index: usize, attempt: u64) -> Value {
    let (offset, end) = (index * MIN_BLOCK as usize, ((index + 1) * MIN_BLOCK as usize).min(SIZE));
    json!({"id": 2, "cmd": "part", "body": true, "path": name, "upload": upload, "offset": offset,
           "length": end - offset, "attempt": attempt})
}

/// The body of one block of `bytes`.
fn body(bytes: &[u8], index: usize) -> Vec<u8> {
    let block = block(bytes, index);
    let trailer = json!({"length": block.len(), "digest": digest(bytes, index)});
    [framed(block), vec![0; 4], frame(&trailer)].concat()
}

/// Sends one block of `bytes`.
fn send(raw: &mut Raw, name: &str, upload: &Value, bytes: &[u8], index: usize, attempt: u64) -> Value {
    raw.send(&[frame(&header(name, upload, index, attempt)), body(bytes, index)].concat());
    raw.receive()
}

/// Takes the upload up with no more bytes.
fn finish(raw: &mut Raw, name: &str, bytes: &[u8]) -> Value {
    let put = json!({"id": 3, "cmd": "put", "body": true, "path": name, "digest": "blake3", "size": SIZE, "ranges": []});
    let (nothing, file) = (Algorithm::Blake3.digest(b""), Algorithm::Blake3.digest(bytes));
    let trailer = json!({"length": 0, "digest": nothing.to_string(), "file": file.to_string()});
    raw.send(&[frame(&put), vec![0; 4], frame(&trailer)].concat());
    raw.receive()
}

#[test]
fn parts_over_several_connections_become_one_file() {
    let server = TestServer::start();
    let (bytes, mut leader, mut other) = (pattern(SIZE), server.greeted(), server.greeted());
    let upload = open(&mut leader, "file");
    for (index, raw) in [(3, 0), (0, 1), (2, 1), (1, 0)] {
        let raw = if raw == 0 { &mut leader } else { &mut other };
        assert_eq!(send(raw, "file", &upload, &bytes, index, 0)["ok"], true);
    }
    let stored = finish(&mut leader, "file", &bytes);
    assert_eq!(stored["digest"], Algorithm::Blake3.digest(&bytes).to_string(), "{stored}");
    assert!(server.read("file") == bytes);
    assert_eq!(server.tree().len(), 1);
    assert_eq!(code(&send(&mut other, "file", &upload, &bytes, 0, 1)), "bad-range", "it has ended");
}

#[test]
fn an_upload_that_has_begun_is_taken_to_its_end_by_a_server_that_drains() {
    let mut server = TestServer::start();
    let (bytes, mut leader, mut other) = (pattern(SIZE), server.greeted(), server.greeted());
    let upload = open(&mut leader, "file");
    assert_eq!(send(&mut other, "file", &upload, &bytes, 0, 0)["ok"], true);
    let idle = server.greeted();
    server.order_shutdown();
    // Behind its end, the drain has begun.
    idle.farewell();
    for index in [2, 1, 3] {
        assert_eq!(send(&mut other, "file", &upload, &bytes, index, 0)["ok"], true);
    }
    let stored = finish(&mut leader, "file", &bytes);
    assert_eq!(stored["digest"], Algorithm::Blake3.digest(&bytes).to_string(), "{stored}");
    drop((leader, other));
    assert!(server.stop());
    assert!(server.read("file") == bytes);
}

#[test]
fn what_is_no_part_of_the_upload_is_refused() {
    let server = TestServer::start();
    let (bytes, mut leader, mut other) = (pattern(SIZE), server.greeted(), server.greeted());
    let upload = open(&mut leader, "file");
    assert_eq!(code(&send(&mut other, "another", &upload, &bytes, 0, 0)), "bad-range");
    assert_eq!(code(&send(&mut other, "file", &json!("0123"), &bytes, 0, 0)), "bad-range");
    for (offset, length) in
        [(0, 5), (5, 17), (0, SIZE), (1 << 20, 2 << 20), (3 << 20, 18), (1_usize << 62, 1 << 62)]
    {
        let mut part = header("file", &upload, 0, 0);
        (part["offset"], part["length"]) = (json!(offset), json!(length));
        other.send(&[frame(&part), body(&bytes, 0)].concat());
        assert_eq!(code(&other.receive()), "bad-range", "{offset} {length}");
    }
    let mut damaged = bytes.clone();
    damaged[5] ^= 1;
    let part = [frame(&header("file", &upload, 0, 0)), framed(block(&damaged, 0)), vec![0; 4]].concat();
    let trailer = json!({"length": MIN_BLOCK, "digest": digest(&bytes, 0)});
    other.send(&[part, frame(&trailer)].concat());
    assert_eq!(code(&other.receive()), "mismatch");
    assert_eq!(code(&finish(&mut leader, "file", &bytes)), "mismatch", "nothing has come");
    assert!(!server.path("file").exists());
}

#[test]
fn a_part_that_is_sent_again_takes_the_place_of_the_first_and_not_the_other_way_round() {
    let server = TestServer::start();
    let (bytes, mut leader) = (pattern(SIZE), server.greeted());
    let (mut slow, mut other) = (server.greeted(), server.greeted());
    let upload = open(&mut leader, "file");
    let whole = [frame(&header("file", &upload, 0, 1)), body(&bytes, 0)].concat();
    // Half of it is written before anything else comes.
    slow.send(&whole[..whole.len() / 2]);
    until_written(&server);
    for attempt in [0, 1] {
        assert_eq!(code(&send(&mut other, "file", &upload, &bytes, 0, attempt)), "bad-range", "{attempt}");
    }
    assert_eq!(code(&finish(&mut server.greeted(), "file", &bytes)), "bad-range", "no upload of its own");
    assert_eq!(send(&mut other, "file", &upload, &bytes, 0, 2)["ok"], true);
    slow.send(&whole[whole.len() / 2..]);
    assert_eq!(code(&slow.receive()), "bad-range", "it has come another way");
    assert_eq!(
        send(&mut slow, "file", &upload, &[7; SIZE], 0, 0)["ok"],
        true,
        "read late, and not looked at"
    );
    for index in 1..4 {
        assert_eq!(send(&mut other, "file", &upload, &bytes, index, 0)["ok"], true);
    }
    assert_eq!(finish(&mut leader, "file", &bytes)["size"], SIZE);
    assert!(server.read("file") == bytes);
}

/// Waits until something is in the partial file.
fn until_written(server: &TestServer) {
    let began = std::time::Instant::now();
    let is_written =
        || fs::read_dir(server.path(".")).unwrap().any(|e| e.unwrap().metadata().unwrap().len() > 0);
    while !is_written() {
        assert!(began.elapsed() < PATIENCE, "nothing is written");
        std::thread::yield_now();
    }
}

#[test]
fn an_upload_is_not_taken_up_while_parts_are_on_their_way() {
    let server = TestServer::start();
    let (bytes, mut leader, mut slow) = (pattern(SIZE), server.greeted(), server.greeted());
    let upload = open(&mut leader, "file");
    let part = [frame(&header("file", &upload, 0, 0)), body(&bytes, 0)].concat();
    slow.send(&part[..part.len() / 2]);
    until_written(&server);
    assert_eq!(code(&finish(&mut leader, "file", &bytes)), "bad-range");
    slow.send(&part[part.len() / 2..]);
    assert_eq!(code(&slow.receive()), "bad-range", "the upload was given up");
    assert!(!server.path("file").exists());
}

#[test]
fn an_upload_that_is_given_up_takes_no_more_and_what_came_stays() {
    for by in ["another request", "the end"] {
        let server = TestServer::start();
        let (bytes, mut leader, mut other) = (pattern(SIZE), server.greeted(), server.greeted());
        let upload = open(&mut leader, "file");
        for index in [0, 1] {
            assert_eq!(send(&mut other, "file", &upload, &bytes, index, 0)["ok"], true);
        }
        if by == "the end" {
            leader.finish();
        } else {
            leader.ask(&json!({"id": 4, "cmd": "df", "path": "."}));
        }
        assert_eq!(code(&send(&mut other, "file", &upload, &bytes, 2, 0)), "bad-range", "{by}");
        let resume = json!({"id": 5, "cmd": "resume", "path": "file", "size": SIZE, "mtime": [1, 0]});
        assert_eq!(
            other.ask(&resume)["length"],
            64,
            "two blocks are there, and the partial file is free: {by}"
        );
    }
}

#[test]
fn a_part_of_a_get_is_proven_by_its_chaining_value() {
    let server = TestServer::start();
    let bytes = pattern(SIZE);
    server.write("file", &bytes);
    let mut raw = server.greeted();
    let get = |offset: usize, length: usize, digest: &str| {
        json!({"id": 1, "cmd": "get", "path": "file", "digest": digest, "offset": offset, "length": length,
               "subtree": true})
    };
    let reply = raw.ask(&get(3 << 20, 17, "blake3"));
    assert_eq!(reply["subtree"], true, "{reply}");
    assert_eq!(raw.chunk(), block(&bytes, 3));
    assert!(raw.chunk().is_empty(), "no more chunks");
    assert_eq!(raw.receive()["digest"], digest(&bytes, 3));
    assert_eq!(code(&raw.ask(&get(3 << 20, 17, "md5"))), "unsupported");
    for length in [SIZE, SIZE + 1, 1 << 40] {
        let reply = raw.ask(&get(0, length, "blake3"));
        assert!(reply["subtree"].is_null() && reply["length"] == SIZE, "{reply}");
        assert!(raw.body(Algorithm::Blake3).unwrap() == bytes, "it is all there is");
    }
    for (offset, length) in [(0, 3 << 20), (1 << 20, 2 << 20), (0, 0), (3 << 20, 16), (3 << 20, 18)] {
        assert_eq!(code(&raw.ask(&get(offset, length, "blake3"))), "bad-range", "{offset} {length}");
    }
}

#[test]
fn the_client_moves_a_large_file_either_way_whatever_the_transport() {
    let size = 33 * MIN_BLOCK as usize + 5;
    let bytes = pattern(size);
    TestServer::each_transport(|server| {
        for jobs in [Jobs::up_to(3), Jobs::growing_to(3)] {
            let local = tempfile::tempdir().unwrap();
            let (from, back) = (local.path().join("from"), local.path().join("back"));
            fs::write(&from, &bytes).unwrap();
            let mut client = Client::connect(&Options { jobs, ..server.options() }).unwrap();
            let (digest, progress) = (Algorithm::Blake3, Progress::default());
            let upload = Upload::new(from, path("file"));
            let stored = client.upload(&upload, &progress).unwrap();
            assert_eq!(
                (stored.size, stored.moved, stored.digest),
                (size as u64, size as u64, digest.digest(&bytes))
            );
            assert!(server.read("file") == bytes);
            assert_eq!(progress.done(), size as u64);
            let progress = Progress::default();
            let download = Download { sync: false, ..Download::new(path("file"), &back) };
            let fetched = client.download(&download, &progress).unwrap();
            assert_eq!(
                (fetched.size, fetched.moved, fetched.digest),
                (size as u64, size as u64, digest.digest(&bytes))
            );
            assert!(fs::read(&back).unwrap() == bytes);
            assert_eq!((progress.done(), progress.total()), (size as u64, Some(size as u64)));
            fs::remove_file(server.path("file")).unwrap();
        }
    });
}

#[test]
fn a_server_with_no_room_for_others_serves_the_one() {
    let size = 33 * MIN_BLOCK as usize + 5;
    let server = TestServer::with(|setup| {
        setup.limits = Limits { connections: 1, drain: PATIENCE, ..Limits::default() }
    });
    server.write("file", pattern(size));
    let local = tempfile::tempdir().unwrap();
    let to = local.path().join("file");
    let mut client = Client::connect(&Options { jobs: Jobs::up_to(4), ..server.options() }).unwrap();
    let download = Download { sync: false, ..Download::new(path("file"), &to) };
    client.download(&download, &Progress::default()).unwrap();
    let upload = Upload::new(to, path("again"));
    client.upload(&upload, &Progress::default()).unwrap();
    assert!(server.read("again") == server.read("file"));
}

/// Asks for an upload, and sends blocks of `bytes` along, and whatever comes behind them.
fn send_ahead(raw: &mut Raw, more: &Value, bytes: &[u8], indices: &[usize], behind: &[u8]) -> Value {
    let mut resume = json!({"id": 1, "cmd": "resume", "path": "file", "size": SIZE, "mtime": [1, 0],
                            "parts": true, "ahead": true});
    resume.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let parts = indices.iter().flat_map(|index| {
        let mut part = header("file", &Value::Null, *index, 0);
        part.as_object_mut().unwrap().remove("upload");
        [frame(&part), body(bytes, *index)].concat()
    });
    raw.send(&[frame(&resume), parts.collect(), behind.to_vec()].concat());
    raw.receive()
}

/// The `put` that takes the upload up.
fn last(bytes: &[u8]) -> Vec<u8> {
    let put = json!({"id": 3, "cmd": "put", "body": true, "path": "file", "digest": "blake3", "size": SIZE,
                     "mtime": [1, 0], "ranges": []});
    let (nothing, file) = (Algorithm::Blake3.digest(b""), Algorithm::Blake3.digest(bytes));
    let trailer = json!({"length": 0, "digest": nothing.to_string(), "file": file.to_string()});
    [frame(&put), vec![0; 4], frame(&trailer)].concat()
}

#[test]
fn a_new_file_is_stored_that_was_sent_without_waiting_for_anything() {
    let server = TestServer::start();
    let (bytes, mut raw) = (pattern(SIZE), server.greeted());
    let reply = send_ahead(&mut raw, &json!({}), &bytes, &[0, 1, 2, 3], &last(&bytes));
    assert_eq!((&reply["ahead"], &reply["length"]), (&json!(true), &json!(0)), "{reply}");
    raw.body(Algorithm::Blake3).unwrap();
    for _ in 0..4 {
        assert_eq!(raw.receive()["ok"], true);
    }
    assert_eq!(raw.receive()["digest"], Algorithm::Blake3.digest(&bytes).to_string());
    assert!(server.read("file") == bytes);
    assert_eq!(server.tree().len(), 1);
}

#[test]
fn parts_that_are_sent_ahead_touch_nothing_of_what_is_there() {
    let bytes = pattern(SIZE);
    let other = vec![7; SIZE];
    for what in ["kept", "in use", "the same", "to repair"] {
        let server = TestServer::start();
        let (mut raw, mut first) = (server.greeted(), server.greeted());
        let mut more = json!({});
        match what {
            "kept" | "in use" => {
                let upload = open(&mut first, "file");
                assert_eq!(send(&mut first, "file", &upload, &bytes, 0, 0)["ok"], true);
            }
            "the same" => {
                server.write("file", &bytes);
                let mtime = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
                fs::File::open(server.path("file")).unwrap().set_modified(mtime).unwrap();
            }
            _ => more["repair"] = json!(true),
        }
        if what == "kept" {
            first.ask(&json!({"id": 4, "cmd": "df", "path": "."}));
        }
        let before = server.tree();
        assert_eq!(code(&send_ahead(&mut raw, &more, &other, &[0, 3], b"")), "ask-first", "{what}");
        for _ in 0..2 {
            assert_eq!(code(&raw.receive()), "bad-range", "{what}");
        }
        assert_eq!(server.tree(), before, "{what}");
        if what == "kept" {
            let resume = json!({"id": 1, "cmd": "resume", "path": "file", "size": SIZE, "mtime": [1, 0]});
            assert_eq!(raw.ask(&resume)["length"], 32);
            let digests = raw.body(Algorithm::Blake3).unwrap();
            let hex: String = digests.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(format!("blake3:{hex}"), digest(&bytes, 0));
        }
    }
}

#[test]
fn what_may_not_be_put_is_refused_before_its_parts() {
    let server = TestServer::start();
    let bytes = pattern(SIZE);
    server.write("file", "old");
    for (more, expected) in [
        (json!({"replace": "never"}), "exists"),
        (json!({"replace": "older"}), "not-newer"),
        (json!({"path": "missing/file"}), "not-found"),
    ] {
        let mut raw = server.greeted();
        assert_eq!(code(&send_ahead(&mut raw, &more, &bytes, &[0], b"")), expected);
        assert_eq!(code(&raw.receive()), "bad-range");
        assert_eq!(server.read("file"), b"old");
    }
    assert_eq!(server.tree().len(), 1);
}

#[test]
fn an_upload_that_broke_off_ahead_is_resumed_by_the_next_client_though_it_does_not_ask_first() {
    let server = TestServer::start();
    let (bytes, mut raw) = (pattern(SIZE + (2 << 20)), server.greeted());
    let local = tempfile::tempdir().unwrap();
    let from = local.path().join("file");
    fs::write(&from, &bytes).unwrap();
    let size = json!({"size": bytes.len()});
    let reply = send_ahead(&mut raw, &size, &bytes, &[0, 1, 2], b"");
    assert_eq!(reply["ahead"], true, "{reply}");
    raw.body(Algorithm::Blake3).unwrap();
    for _ in 0..3 {
        assert_eq!(raw.receive()["ok"], true);
    }
    raw.finish();
    let upload = Upload { ahead: Ahead::Always, ..Upload::new(from, path("file")) };
    let done = server.client().upload(&upload, &Progress::default()).unwrap();
    assert_eq!((done.size - done.moved, done.size), (3 << 20, bytes.len() as u64));
    assert!(server.read("file") == bytes);
    assert_eq!(server.tree().len(), 1);
}
