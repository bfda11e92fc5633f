//! What is no file of ordinary size on an ordinary disk: fifos, sockets, devices, and a disk that is full.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use serde_json::{Value, json};

use crate::harness::{TestServer, path, pattern, skipped};
use crate::raw::{Raw, body, code, frame, put, put_header};

#[track_caller]
fn check_refused(server: &TestServer, name: &str, message: &str) {
    let before = server.tree();
    let mut raw = server.greeted();
    let get = raw.ask(&json!({"id": 1, "cmd": "get", "path": name, "digest": "md5"}));
    let hash = raw.ask(&json!({"id": 2, "cmd": "hash", "path": name, "digest": "md5"}));
    for reply in [get, hash] {
        assert_eq!((code(&reply), &reply["error"]["message"]), ("not-regular", &json!(message)));
    }
    raw.send(&put(3, name, b"content"));
    assert_eq!(code(&raw.receive()), "not-regular");
    let listed = raw.ask(&json!({"id": 4, "cmd": "stat", "path": name}));
    assert_eq!(listed["entry"]["kind"], "other");
    assert_eq!(server.tree(), before);
}

#[test]
fn a_fifo_that_nobody_writes_to_is_refused_at_once() {
    let server = TestServer::start();
    mknodat(CWD, server.path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    check_refused(&server, "fifo", "it is a fifo, not a regular file");
}

#[test]
fn a_socket_is_refused() {
    let server = TestServer::start();
    let _listener = std::os::unix::net::UnixListener::bind(server.path("socket")).unwrap();
    check_refused(&server, "socket", "it is a socket or a device, not a regular file");
}

#[test]
fn a_device_is_refused() {
    let server = TestServer::start();
    let zero = rustix::fs::makedev(1, 5);
    if let Err(error) = mknodat(CWD, server.path("zero"), FileType::CharacterDevice, Mode::RWXU, zero) {
        return skipped("a device is refused", error);
    }
    check_refused(&server, "zero", "it is a device, not a regular file");
}

#[test]
fn special_files_can_be_renamed_and_removed() {
    let server = TestServer::start();
    mknodat(CWD, server.path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut client = server.client();
    client.mv(&path("fifo"), &path("moved"), ftpish_protocol::message::Replace::Never).unwrap();
    client.rm(&path("moved"), false).unwrap();
    assert!(server.tree().is_empty());
}

/// A file system in memory that is mounted nowhere, and gone when it is closed: there is nothing to unmount.
struct Tmpfs(OwnedFd);

impl Tmpfs {
    fn new(size: &str, inodes: &str) -> rustix::io::Result<Self> {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "size", size)?;
        fsconfig_set_string(&context, "nr_inodes", inodes)?;
        fsconfig_create(&context)?;
        Ok(Self(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?))
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// A server on a disk of 1 MiB with room for a few names; `None` where this machine does not let us have one.
fn small_disk(claim: &str) -> Option<(Tmpfs, TestServer)> {
    match Tmpfs::new("1m", "8") {
        Ok(disk) => {
            let server = TestServer::with(|setup| setup.top = Some(disk.path()));
            Some((disk, server))
        }
        Err(error) => {
            skipped(claim, error);
            None
        }
    }
}

#[track_caller]
fn expect_no_space(raw: &mut Raw, request: &Value) {
    let reply = raw.receive();
    assert_eq!((&reply["id"], code(&reply)), (&request["id"], "no-space"), "{reply}");
}

#[test]
fn a_full_disk_is_told_and_what_was_there_stays() {
    let Some((_disk, server)) = small_disk("a full disk is told") else { return };
    server.write("file", "content");
    let before = server.tree();
    let mut raw = server.greeted();
    for announced in [None, Some(2 << 20)] {
        let mut request = put_header(1, "file");
        if let Some(size) = announced {
            request["size"] = json!(size);
        }
        raw.send(&[frame(&request), body(&vec![7; 1 << 20])].concat());
        expect_no_space(&mut raw, &request);
    }
    assert_eq!(server.tree(), before, "nothing is left of it, not even a partial file");
    raw.send(&put(2, "file", &pattern(500_000)));
    assert_eq!(raw.receive()["ok"], true, "and there is room again");
}

#[test]
fn an_announced_size_that_cannot_fit_is_refused_before_the_body() {
    let Some((_disk, server)) = small_disk("an announced size that cannot fit is refused early") else {
        return;
    };
    let mut raw = server.greeted();
    let mut request = put_header(1, "file");
    request["size"] = json!(1_u64 << 30);
    raw.send(&frame(&request));
    expect_no_space(&mut raw, &request);
    raw.send(&body(b"it is thrown away"));
    assert_eq!(raw.ask(&json!({"id": 2, "cmd": "stat", "path": "file"}))["error"]["code"], "not-found");
    assert!(server.tree().is_empty());
}

#[test]
fn no_room_for_another_name_is_no_space_too() {
    let Some((_disk, server)) = small_disk("no room for another name is told") else { return };
    let mut raw = server.greeted();
    let refused = (0..20).find_map(|i| {
        let reply = raw.ask(&json!({"id": i, "cmd": "mkdir", "path": i.to_string()}));
        (reply["ok"] != true).then_some(reply)
    });
    assert_eq!(code(&refused.unwrap()), "no-space");
    let before = server.tree();
    raw.send(&put(30, "file", b"content"));
    assert_eq!(code(&raw.receive()), "no-space");
    assert_eq!(server.tree(), before);
}

#[test]
fn a_disk_that_fills_is_told_through_the_client_too() {
    let Some((_disk, server)) = small_disk("a full disk is told through the client") else { return };
    let mut client = server.client();
    let put = client.put(
        &mut std::io::Read::take(std::io::repeat(1), 1 << 30),
        &path("file"),
        ftpish_protocol::Algorithm::Md5,
        ftpish_protocol::message::Replace::Always,
        &ftpish_client::Progress::default(),
    );
    let error = put.unwrap_err();
    let ftpish_client::Error::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.code, ftpish_protocol::Code::NoSpace);
    assert!(client.is_usable());
    assert!(server.tree().is_empty());
}
