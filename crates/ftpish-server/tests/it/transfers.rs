//! Whole files both ways: sizes around a block, times, permission bits, and names that are not text.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ftpish_client::{Client, Download, Progress, Upload};
use ftpish_protocol::message::{Kind, Replace};
use ftpish_protocol::{Algorithm, RemotePath};
use serde_json::json;

use crate::harness::{BLOCK, TestServer, path, pattern};
use crate::raw::{body, frame};

fn upload(client: &mut Client, from: &Path, to: &str) {
    let upload = Upload { perms: true, ..Upload::new(from, path(to)) };
    let progress = Progress::default();
    let done = client.upload(&upload, &progress).unwrap();
    assert_eq!((progress.done(), progress.total()), (done.size, Some(done.size)));
}

fn download(client: &mut Client, from: &str, to: &Path) {
    let download = Download { perms: true, ..Download::new(path(from), to) };
    let progress = Progress::default();
    let done = client.download(&download, &progress).unwrap();
    assert_eq!((progress.done(), progress.total()), (done.size, Some(done.size)));
}

#[test]
fn files_of_every_size_come_back_as_they_were_on_every_transport() {
    let sizes = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 17];
    TestServer::each_transport(|server| {
        let local = tempfile::tempdir().unwrap();
        let client = &mut server.client();
        for size in sizes {
            let (from, to) = (local.path().join("from"), local.path().join("to"));
            let bytes = pattern(size);
            fs::write(&from, &bytes).unwrap();
            upload(client, &from, "stored");
            assert!(server.read("stored") == bytes, "{size} bytes up");
            download(client, "stored", &to);
            assert!(fs::read(&to).unwrap() == bytes, "{size} bytes down");
        }
        assert_eq!(fs::read_dir(local.path()).unwrap().count(), 2, "nothing is left beside them");
        assert_eq!(server.tree().len(), 1);
    });
}

#[test]
fn the_first_request_of_a_connection_may_be_a_large_put() {
    TestServer::each_transport(|server| {
        let bytes = pattern(8 * BLOCK);
        let mut client = server.client();
        let progress = Progress::default();
        client.put(&mut &bytes[..], &path("a"), Algorithm::Md5, Replace::Always, &progress).unwrap();
        assert!(server.read("a") == bytes);
    });
}

#[test]
fn what_is_made_durable_is_stored_all_the_same() {
    let server = TestServer::with(|setup| setup.sync = true);
    let client = &mut server.client();
    client.mkdir(&path("a/b/c"), true).unwrap();
    let bytes = pattern(BLOCK + 1);
    client
        .put(&mut &bytes[..], &path("a/b/c/1"), Algorithm::Md5, Replace::Never, &Progress::default())
        .unwrap();
    client.mv(&path("a/b/c/1"), &path("a/2"), Replace::Never).unwrap();
    client.rm(&path("a/b"), true).unwrap();
    assert!(server.read("a/2") == bytes);
}

#[test]
fn time_and_permission_bits_are_kept_both_ways() {
    let server = TestServer::start();
    let local = tempfile::tempdir().unwrap();
    let client = &mut server.client();
    for (mode, time) in [
        (0o600, UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789)),
        (0o644, UNIX_EPOCH),
        (0o751, UNIX_EPOCH - Duration::new(1, 1)),
        (0o777, UNIX_EPOCH + Duration::from_secs(1 << 33)),
        (0o400, SystemTime::now()),
    ] {
        let (from, to) = (local.path().join("from"), local.path().join("to"));
        let _ = fs::remove_file(&from);
        fs::write(&from, "x").unwrap();
        fs::File::options().write(true).open(&from).unwrap().set_modified(time).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(mode)).unwrap();
        upload(client, &from, "stored");
        download(client, "stored", &to);
        for copy in [server.path("stored"), to] {
            let (found, original) = (fs::metadata(copy).unwrap(), fs::metadata(&from).unwrap());
            assert_eq!(found.mode() & 0o7777, mode);
            assert_eq!((found.mtime(), found.mtime_nsec()), (original.mtime(), original.mtime_nsec()));
        }
    }
}

#[test]
fn setuid_setgid_and_sticky_never_travel() {
    let server = TestServer::start();
    let local = tempfile::tempdir().unwrap();
    let (from, to) = (local.path().join("from"), local.path().join("to"));
    fs::write(&from, "#!").unwrap();
    fs::set_permissions(&from, fs::Permissions::from_mode(0o7755)).unwrap();
    let client = &mut server.client();
    upload(client, &from, "uploaded");
    let mut raw = server.greeted();
    let request =
        json!({"id": 1, "cmd": "put", "body": true, "path": "raw", "digest": "md5", "mode": "7755"});
    raw.send(&[frame(&request), body(b"#!")].concat());
    assert_eq!(raw.receive()["ok"], true);
    for stored in ["uploaded", "raw"] {
        assert_eq!(fs::metadata(server.path(stored)).unwrap().mode() & 0o7777, 0o755);
    }
    fs::set_permissions(server.path("raw"), fs::Permissions::from_mode(0o6711)).unwrap();
    assert_eq!(raw.ask(&json!({"id": 2, "cmd": "stat", "path": "raw"}))["entry"]["mode"], "711");
    download(client, "raw", &to);
    assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn a_put_without_time_or_mode_gets_the_time_of_its_arrival_and_a_plain_mode() {
    let server = TestServer::start();
    let before = SystemTime::now() - Duration::from_secs(2);
    let (mut client, progress) = (server.client(), Progress::default());
    client.put(&mut &b"x"[..], &path("a"), Algorithm::Md5, Replace::Always, &progress).unwrap();
    let metadata = fs::metadata(server.path("a")).unwrap();
    assert!(metadata.modified().unwrap() >= before);
    assert_eq!(metadata.mode() & 0o7777, 0o644);
}

#[test]
fn names_that_are_no_text_or_no_ones_idea_of_a_name_travel_both_ways() {
    let longest = [b'n'; 255];
    let names: [&[u8]; 9] = [
        b"caf\xe9",
        b"\xff\xfe",
        b"two\nlines\t\x1b[31m",
        b"back\\slash",
        b"...",
        b" ",
        b"-rf",
        "e\u{301} \u{e9} \u{202e}".as_bytes(),
        &longest,
    ];
    TestServer::each_transport(|server| {
        let client = &mut server.client();
        for name in names {
            let remote = RemotePath::parse(name).unwrap();
            let local = server.path(std::ffi::OsStr::from_bytes(name));
            let progress = Progress::default();
            client.put(&mut &b"x"[..], &remote, Algorithm::Md5, Replace::Never, &progress).unwrap();
            assert_eq!(fs::read(&local).unwrap(), b"x", "{remote}");
            assert_eq!(client.stat(&remote).unwrap().name.unwrap().as_bytes(), name);
            let mut listed = vec![];
            client
                .ls(&RemotePath::root(), &mut |entry| {
                    assert_eq!(entry.kind, Kind::File);
                    listed.push(entry.name.unwrap().as_bytes().to_vec());
                    Ok(())
                })
                .unwrap();
            assert_eq!(listed, [name]);
            client.get(&remote, Algorithm::Md5, &mut std::io::sink(), &progress).unwrap();
            client.rm(&remote, false).unwrap();
            assert!(!local.exists());
        }
    });
}
