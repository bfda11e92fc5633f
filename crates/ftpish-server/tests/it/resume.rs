//! Files by the block: what an upload keeps, what it refuses, and when it is given up.

use std::fs;
use std::path::Path;

use ftpish_client::{Client, Comparison, Download, Error, Progress, Transferred, Upload};
use ftpish_protocol::blocks::MIN_BLOCK;
use ftpish_protocol::{Algorithm, Code, Digest};
use serde_json::{Value, json};

use crate::harness::{BLOCK, TestServer, path, pattern};
use crate::raw::{Raw, code, frame, framed, trailer};

/// A size that is resumed by default: more than 4 MiB, and no whole number of blocks.
const SIZE: usize = 5 * MIN_BLOCK as usize + 17;

fn upload(
    client: &mut Client,
    from: &Path,
    expect: Option<Digest>,
    repair: bool,
) -> Result<Transferred, Error> {
    client.upload(&Upload { expect, repair, ..Upload::new(from, path("file")) }, &Progress::default())
}

fn download(client: &mut Client, to: &Path, repair: bool) -> Transferred {
    let download = Download { sync: false, repair, ..Download::new(path("file"), to) };
    client.download(&download, &Progress::default()).unwrap()
}

#[test]
fn a_file_that_is_there_and_the_same_does_not_move() {
    let server = TestServer::start();
    let local = tempfile::tempdir().unwrap();
    let (from, back) = (local.path().join("from"), local.path().join("back"));
    fs::write(&from, pattern(SIZE)).unwrap();
    let client = &mut server.client();
    assert_eq!(upload(client, &from, None, false).unwrap().moved, SIZE as u64);
    assert_eq!(upload(client, &from, None, false).unwrap().moved, 0);
    assert_eq!(download(client, &back, false).moved, SIZE as u64);
    assert_eq!(download(client, &back, false).moved, 0);
    assert!(fs::read(&back).unwrap() == server.read("file"));
    assert_eq!((server.tree().len(), fs::read_dir(local.path()).unwrap().count()), (1, 2));
}

#[test]
fn a_repair_moves_the_damaged_block_alone_in_either_direction() {
    let server = TestServer::start();
    let local = tempfile::tempdir().unwrap();
    let file = local.path().join("file");
    let whole = pattern(SIZE);
    let mut damaged = whole.clone();
    damaged[3 * MIN_BLOCK as usize + 5] ^= 1;
    let client = &mut server.client();
    for bytes in [&damaged[..], &damaged[..SIZE - 1], &[&damaged[..], b"and more"].concat()] {
        server.write("file", bytes);
        fs::write(&file, &whole).unwrap();
        let compared = client.compare(&file, &path("file"), &Progress::default()).unwrap();
        let block = 3 * MIN_BLOCK..4 * MIN_BLOCK;
        assert!(compared.differing.contains(&block), "{compared:?}");
        assert!(upload(client, &file, None, true).unwrap().moved <= 2 * MIN_BLOCK);
        assert!(server.read("file") == whole);
        fs::write(&file, bytes).unwrap();
        assert!(download(client, &file, true).moved <= 2 * MIN_BLOCK);
        assert!(fs::read(&file).unwrap() == whole);
        let same = Comparison { local: SIZE as u64, remote: SIZE as u64, differing: vec![] };
        assert_eq!(client.compare(&file, &path("file"), &Progress::default()).unwrap(), same);
    }
}

#[test]
fn a_longer_file_with_the_same_beginning_is_cut() {
    let server = TestServer::start();
    let local = tempfile::tempdir().unwrap();
    let file = local.path().join("file");
    let whole = pattern(SIZE);
    fs::write(&file, &whole).unwrap();
    server.write("file", [&whole[..], b"and more"].concat());
    upload(&mut server.client(), &file, None, true).unwrap();
    assert!(server.read("file") == whole);
}

#[test]
fn only_the_expected_file_is_replaced() {
    let server = TestServer::start();
    let local = tempfile::tempdir().unwrap();
    let file = local.path().join("file");
    let client = &mut server.client();
    for size in [10, SIZE] {
        let bytes = pattern(size);
        fs::write(&file, &bytes).unwrap();
        server.write("file", "old");
        let wrong = upload(client, &file, Some(Algorithm::Md5.digest(b"older")), false).unwrap_err();
        assert!(matches!(&wrong, Error::Refused(refusal) if refusal.code == Code::Changed), "{wrong}");
        assert_eq!(server.read("file"), b"old");
        upload(client, &file, Some(Algorithm::Md5.digest(b"old")), false).unwrap();
        assert!(server.read("file") == bytes);
    }
}

/// Sends a `resume` of `file`, and takes its reply and body.
fn resume(raw: &mut Raw) {
    let request = json!({"id": 7, "cmd": "resume", "path": "file", "size": SIZE, "mtime": [0, 0]});
    let reply = raw.ask(&request);
    assert_eq!(reply["ok"], true, "{reply}");
    raw.body(Algorithm::Blake3).unwrap();
}

fn put_ranges(raw: &mut Raw, ranges: &Value, bytes: &[u8]) -> Value {
    let put = json!({"id": 8, "cmd": "put", "path": "file", "digest": "md5", "size": SIZE, "body": true, "ranges": ranges});
    let chunks: Vec<u8> = bytes.chunks(BLOCK).flat_map(framed).collect();
    raw.send(&[frame(&put), chunks, vec![0; 4], frame(&trailer(bytes))].concat());
    raw.receive()
}

#[test]
fn ranges_without_a_resume_in_front_are_refused() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    assert_eq!(code(&put_ranges(&mut raw, &json!([[0, SIZE]]), b"x")), "bad-range");
    for between in [json!({"id": 1, "cmd": "stat", "path": "."}), json!({"id": 1, "cmd": "stat"})] {
        resume(&mut raw);
        raw.ask(&between);
        assert_eq!(code(&put_ranges(&mut raw, &json!([[0, SIZE]]), b"x")), "bad-range");
    }
    assert_eq!(server.tree().len(), 0, "what is given up leaves nothing behind");
}

#[test]
fn ranges_that_are_not_of_whole_blocks_and_in_order_are_refused() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    let block = MIN_BLOCK;
    for bad in [
        json!([[0, 1]]),
        json!([[1, block]]),
        json!([[block, 0]]),
        json!([[0, 0]]),
        json!([[0, SIZE + 1]]),
        json!([[block, 2 * block], [0, block]]),
        json!([[0, 2 * block], [block, 3 * block]]),
        json!(vec![[0, block]; 1001]),
    ] {
        resume(&mut raw);
        assert_eq!(code(&put_ranges(&mut raw, &bad, b"x")), "bad-range", "{bad}");
    }
    assert_eq!(server.tree().len(), 0);
}

#[test]
fn ranges_that_leave_something_out_or_have_another_digest_store_nothing() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    let bytes = pattern(SIZE);
    resume(&mut raw);
    let part = &bytes[..MIN_BLOCK as usize];
    assert_eq!(code(&put_ranges(&mut raw, &json!([[0, MIN_BLOCK]]), part)), "mismatch");
    resume(&mut raw);
    assert_eq!(
        code(&put_ranges(&mut raw, &json!([[0, SIZE]]), &bytes)),
        "mismatch",
        "no digest of the whole"
    );
    assert!(!server.path("file").exists());
}
