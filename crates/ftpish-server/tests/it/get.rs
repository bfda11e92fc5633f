//! `get` in raw bytes: ranges, and files that change underfoot.

use std::fs;
use std::time::UNIX_EPOCH;

use ftpish_protocol::Algorithm;
use serde_json::{Value, json};

use crate::harness::{BLOCK, TestServer, pattern};
use crate::raw::{Raw, code, frame};

fn request(fields: Value) -> Value {
    let mut request = json!({"id": 1, "cmd": "get", "path": "file", "digest": "blake3"});
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

#[test]
fn a_range_is_exactly_the_bytes_asked_for() {
    let server = TestServer::start();
    let size = 2 * BLOCK + 100;
    let content = pattern(size);
    server.write("file", &content);
    let mut raw = server.greeted();
    for (offset, length) in [
        (0, 0),
        (0, 1),
        (1, BLOCK),
        (BLOCK - 1, 2),
        (BLOCK, BLOCK + 100),
        (3, 2 * BLOCK),
        (size - 1, 1),
        (size, 0),
        (0, size),
    ] {
        let reply = raw.ask(&request(json!({"offset": offset, "length": length})));
        assert_eq!((&reply["size"], &reply["length"]), (&json!(size), &json!(length)));
        let bytes = raw.body(Algorithm::Blake3).unwrap();
        assert!(bytes == content[offset..offset + length], "{length} from {offset}");
    }
    let reply = raw.ask(&request(json!({"offset": 7})));
    assert_eq!((&reply["size"], &reply["length"]), (&json!(size), &json!(size - 7)));
    assert!(raw.body(Algorithm::Blake3).unwrap() == content[7..]);
}

#[test]
fn a_range_beyond_the_end_is_refused() {
    let server = TestServer::start();
    server.write("file", "0123456789");
    let mut raw = server.greeted();
    for fields in [
        json!({"offset": 11}),
        json!({"offset": 11, "length": 0}),
        json!({"length": 11}),
        json!({"offset": 10, "length": 1}),
        json!({"offset": u64::MAX}),
        json!({"length": u64::MAX}),
        json!({"offset": 1, "length": u64::MAX}),
        json!({"offset": u64::MAX, "length": u64::MAX}),
    ] {
        let reply = raw.ask(&request(fields));
        assert_eq!(code(&reply), "bad-range", "{reply}");
    }
    assert_eq!(raw.ask(&request(json!({"offset": 10})))["length"], 0);
    assert_eq!(raw.body(Algorithm::Blake3).unwrap(), b"");
}

/// A file so large that the server is still sending it, whatever the socket holds, when its reply has come.
const LARGE: u64 = 8 << 20;

/// Changes a file in the middle of its `get`: the body is aborted, and the connection goes on.
#[track_caller]
fn check_change(change: impl FnOnce(&fs::File)) {
    let server = TestServer::start();
    server.write_sparse("file", LARGE);
    let mut raw = server.greeted();
    assert_eq!(raw.ask(&request(json!({})))["size"], LARGE);
    change(&fs::File::options().write(true).open(server.path("file")).unwrap());
    let error = raw.body(Algorithm::Blake3).unwrap_err();
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("changed"), &json!("the file changed while it was read"))
    );
    assert_eq!(raw.ask(&request(json!({"length": 0})))["ok"], true);
    raw.body(Algorithm::Blake3).unwrap();
}

#[test]
fn a_file_that_shrinks_while_it_is_read_aborts_the_body() {
    check_change(|file| file.set_len(1).unwrap());
}

#[test]
fn a_file_that_grows_while_it_is_read_arrives_as_it_was() {
    let server = TestServer::start();
    server.write_sparse("file", LARGE);
    let mut raw = server.greeted();
    assert_eq!(raw.ask(&request(json!({})))["size"], LARGE);
    fs::File::options().write(true).open(server.path("file")).unwrap().set_len(LARGE + 1).unwrap();
    assert_eq!(raw.body(Algorithm::Blake3).unwrap().len() as u64, LARGE);
    assert_eq!(raw.ask(&request(json!({"length": 0})))["size"], LARGE + 1);
    raw.body(Algorithm::Blake3).unwrap();
}

#[test]
fn a_file_that_changes_and_grows_while_it_is_read_aborts_the_body() {
    check_change(|file| {
        std::os::unix::fs::FileExt::write_all_at(file, b"another", 0).unwrap();
        file.set_len(LARGE + 1).unwrap();
    });
}

#[test]
fn a_file_that_is_written_to_while_it_is_read_aborts_the_body() {
    // Its size stays, and the clock may be too coarse to tell: what a writer does to the time is done by hand.
    check_change(|file| file.set_modified(UNIX_EPOCH).unwrap());
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_arrives_as_it_was() {
    let server = TestServer::start();
    let old = pattern(LARGE as usize);
    server.write("file", &old);
    let mut raw = server.greeted();
    raw.ask(&request(json!({})));
    server.write("new", "new");
    fs::rename(server.path("new"), server.path("file")).unwrap();
    assert!(raw.body(Algorithm::Blake3).unwrap() == old);
}

#[test]
fn a_client_that_disappears_in_the_middle_harms_nobody() {
    let server = TestServer::with(|setup| setup.listen = crate::harness::Listen::Ipv4);
    server.write_sparse("file", 64 << 20);
    for _ in 0..8 {
        let mut raw: Raw = server.greeted();
        raw.send(&frame(&request(json!({}))));
        raw.receive();
        raw.chunk();
        raw.vanish();
    }
    server.greeted();
}
