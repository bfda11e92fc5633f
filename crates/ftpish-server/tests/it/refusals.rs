//! The codes that are a request's own fault or the disk's: each is told as documented, and nothing changes.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use ftpish_server::Policy;
use serde_json::{Value, json};

use crate::harness::TestServer;
use crate::raw::{Raw, body, code, frame};

/// A directory `full` with a `file`, an `empty` one, a `file` of 2001, and links out of the root.
fn furnished(change: impl FnOnce(&mut crate::harness::Setup)) -> TestServer {
    let server = TestServer::with(change);
    fs::create_dir(server.path("full")).unwrap();
    fs::create_dir(server.path("empty")).unwrap();
    server.write("full/file", "inside");
    server.write("file", "content");
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 500);
    fs::File::options().write(true).open(server.path("file")).unwrap().set_modified(time).unwrap();
    fs::write(server.path("../secret"), "secret").unwrap();
    symlink("../secret", server.path("out")).unwrap();
    symlink("..", server.path("up")).unwrap();
    symlink("/etc", server.path("etc")).unwrap();
    symlink("loop", server.path("loop")).unwrap();
    symlink("nowhere", server.path("dangling")).unwrap();
    server
}

/// Sends a request, its body too if it is a `put`, and expects to be refused so.
#[track_caller]
fn refused(raw: &mut Raw, mut request: Value, expected: &str) {
    request["id"] = json!(7);
    if ["ls", "tree", "get", "hash", "put"].iter().any(|cmd| request["cmd"] == *cmd)
        && request["digest"].is_null()
    {
        request["digest"] = json!("md5");
    }
    let is_put = request["cmd"] == "put";
    if is_put {
        request["body"] = json!(true);
        raw.send(&[frame(&request), body(b"new content")].concat());
    } else {
        raw.send(&frame(&request));
    }
    let reply = raw.receive();
    assert_eq!((&reply["id"], code(&reply)), (&json!(7), expected), "{request} {reply}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(!message.is_empty() && !message.contains("/tmp") && !message.contains("os error"), "{message}");
}

/// Sends requests that are refused, each on its own merits; then everything is as it was, and the same connection
/// and the next client are served.
#[track_caller]
fn check(server: &TestServer, cases: impl IntoIterator<Item = (Value, &'static str)>) {
    let before = server.tree();
    let mut raw = server.greeted();
    for (request, expected) in cases {
        refused(&mut raw, request, expected);
    }
    assert_eq!(server.tree(), before);
    assert_eq!(raw.ask(&json!({"id": 9, "cmd": "df", "path": "."}))["ok"], true);
    server.greeted();
}

#[test]
fn what_is_missing_is_not_found() {
    let server = furnished(|_| {});
    check(
        &server,
        [
            (json!({"cmd": "ls", "path": "missing"}), "not-found"),
            (json!({"cmd": "tree", "path": "missing", "limit": 9}), "not-found"),
            (json!({"cmd": "symlink", "path": "missing/link", "target": "x"}), "not-found"),
            (json!({"cmd": "link", "from": "missing", "to": "new"}), "not-found"),
            (json!({"cmd": "link", "from": "file", "to": "missing/new"}), "not-found"),
            (json!({"cmd": "rm", "path": "missing", "backup": "old/file"}), "not-found"),
            (json!({"cmd": "set", "path": "missing", "mode": "600"}), "not-found"),
            (json!({"cmd": "set", "path": "missing/file", "mode": "600"}), "not-found"),
            (json!({"cmd": "stat", "path": "missing"}), "not-found"),
            (json!({"cmd": "get", "path": "missing"}), "not-found"),
            (json!({"cmd": "get", "path": "dangling"}), "not-found"),
            (json!({"cmd": "get", "path": "missing/file"}), "not-found"),
            (json!({"cmd": "hash", "path": "missing"}), "not-found"),
            (json!({"cmd": "df", "path": "missing"}), "not-found"),
            (json!({"cmd": "put", "path": "missing/file"}), "not-found"),
            (json!({"cmd": "mkdir", "path": "missing/dir"}), "not-found"),
            (json!({"cmd": "rm", "path": "missing"}), "not-found"),
            (json!({"cmd": "rm", "path": "missing", "recursive": true}), "not-found"),
            (json!({"cmd": "mv", "from": "missing", "to": "new"}), "not-found"),
            (json!({"cmd": "mv", "from": "file", "to": "missing/new"}), "not-found"),
        ],
    );
}

#[test]
fn files_and_directories_are_not_taken_for_each_other() {
    let server = furnished(|_| {});
    check(
        &server,
        [
            (json!({"cmd": "get", "path": "full"}), "is-directory"),
            (json!({"cmd": "get", "path": "."}), "is-directory"),
            (json!({"cmd": "hash", "path": "full"}), "is-directory"),
            (json!({"cmd": "put", "path": "full"}), "is-directory"),
            (json!({"cmd": "put", "path": "empty"}), "is-directory"),
            (json!({"cmd": "put", "path": "empty", "replace": "never"}), "is-directory"),
            (json!({"cmd": "mv", "from": "file", "to": "empty"}), "is-directory"),
            (json!({"cmd": "ls", "path": "file"}), "not-directory"),
            (json!({"cmd": "stat", "path": "file/below"}), "not-directory"),
            (json!({"cmd": "tree", "path": "file/below", "limit": 9}), "not-directory"),
            (json!({"cmd": "symlink", "path": "file/below", "target": "x"}), "not-directory"),
            (json!({"cmd": "symlink", "path": "empty", "target": "x"}), "is-directory"),
            (json!({"cmd": "symlink", "path": "full", "target": "x", "replace": "never"}), "is-directory"),
            (json!({"cmd": "link", "from": "file/below", "to": "new"}), "not-directory"),
            (json!({"cmd": "link", "from": "file", "to": "file/below"}), "not-directory"),
            (json!({"cmd": "link", "from": "file", "to": "empty"}), "is-directory"),
            (json!({"cmd": "link", "from": "empty", "to": "new"}), "is-directory"),
            (json!({"cmd": "link", "from": "dangling", "to": "new"}), "not-regular"),
            (json!({"cmd": "rm", "path": "empty", "backup": "old"}), "is-directory"),
            (json!({"cmd": "set", "path": "file/below", "mode": "600"}), "not-directory"),
            (json!({"cmd": "get", "path": "file/below"}), "not-directory"),
            (json!({"cmd": "put", "path": "file/below"}), "not-directory"),
            (json!({"cmd": "mkdir", "path": "file/below"}), "not-directory"),
            (json!({"cmd": "mkdir", "path": "file/below", "parents": true}), "not-directory"),
            (json!({"cmd": "rm", "path": "file/below"}), "not-directory"),
            (json!({"cmd": "mv", "from": "empty", "to": "file"}), "not-directory"),
            (json!({"cmd": "rm", "path": "full"}), "not-empty"),
            (json!({"cmd": "mv", "from": "empty", "to": "full"}), "not-empty"),
        ],
    );
}

#[test]
fn what_exists_is_replaced_only_where_it_may_be() {
    let server = furnished(|_| {});
    check(
        &server,
        [
            (json!({"cmd": "mkdir", "path": "empty"}), "exists"),
            (json!({"cmd": "mkdir", "path": "."}), "exists"),
            (json!({"cmd": "mkdir", "path": "file"}), "exists"),
            (json!({"cmd": "mkdir", "path": "file", "parents": true}), "exists"),
            (json!({"cmd": "mkdir", "path": "dangling"}), "exists"),
            (json!({"cmd": "put", "path": "file", "replace": "never"}), "exists"),
            (json!({"cmd": "put", "path": "dangling", "replace": "never"}), "exists"),
            (json!({"cmd": "symlink", "path": "file", "target": "x", "replace": "never"}), "exists"),
            (json!({"cmd": "symlink", "path": "dangling", "target": "x", "replace": "never"}), "exists"),
            (json!({"cmd": "symlink", "path": "file", "target": "x", "replace": "older"}), "not-newer"),
            (json!({"cmd": "link", "from": "file", "to": "full/file", "replace": "never"}), "exists"),
            (json!({"cmd": "link", "from": "file", "to": "dangling", "replace": "never"}), "exists"),
            (json!({"cmd": "link", "from": "file", "to": "full/file", "size": 1_000_000}), "changed"),
            (json!({"cmd": "link", "from": "file", "to": "full/file", "mtime": [7, 0]}), "changed"),
            (json!({"cmd": "mv", "from": "file", "to": "full/file", "replace": "never"}), "exists"),
            (json!({"cmd": "mv", "from": "file", "to": "empty", "replace": "never"}), "exists"),
            (json!({"cmd": "mv", "from": "file", "to": "new", "replace": "older"}), "unsupported"),
            (json!({"cmd": "put", "path": "file", "replace": "older"}), "not-newer"),
            (
                json!({"cmd": "put", "path": "file", "replace": "older", "mtime": [1_000_000_000, 499]}),
                "not-newer",
            ),
            (
                json!({"cmd": "put", "path": "file", "replace": "older", "mtime": [1_000_000_000, 500]}),
                "not-newer",
            ),
        ],
    );
    let mut raw = server.greeted();
    let mut newer = json!({"id": 1, "cmd": "put", "body": true, "path": "file", "digest": "md5"});
    newer["replace"] = json!("older");
    newer["mtime"] = json!([1_000_000_000, 501]);
    raw.send(&[frame(&newer), body(b"newer")].concat());
    assert_eq!(raw.receive()["ok"], true);
    assert_eq!(server.read("file"), b"newer");
}

#[test]
fn no_link_leads_out_of_the_root() {
    let server = furnished(|_| {});
    check(
        &server,
        [
            (json!({"cmd": "get", "path": "out"}), "permission-denied"),
            (json!({"cmd": "get", "path": "up/secret"}), "permission-denied"),
            (json!({"cmd": "get", "path": "etc/passwd"}), "permission-denied"),
            (json!({"cmd": "hash", "path": "out"}), "permission-denied"),
            (json!({"cmd": "ls", "path": "up"}), "permission-denied"),
            (json!({"cmd": "tree", "path": "up", "limit": 9}), "permission-denied"),
            (json!({"cmd": "tree", "path": "out", "limit": 9, "follow": true}), "permission-denied"),
            (json!({"cmd": "symlink", "path": "up/new", "target": "x"}), "permission-denied"),
            (json!({"cmd": "link", "from": "up/secret", "to": "stolen"}), "permission-denied"),
            (json!({"cmd": "link", "from": "file", "to": "up/new"}), "permission-denied"),
            (json!({"cmd": "link", "from": "out", "to": "stolen"}), "not-regular"),
            (json!({"cmd": "rm", "path": "file", "backup": "up/new"}), "not-directory"),
            (json!({"cmd": "rm", "path": "file", "backup": "up/up/new"}), "not-directory"),
            (json!({"cmd": "rm", "path": "up/secret", "backup": "up/new"}), "permission-denied"),
            (json!({"cmd": "put", "path": "file", "backup": "up/new"}), "not-directory"),
            (json!({"cmd": "set", "path": "up/secret", "mode": "777"}), "permission-denied"),
            (json!({"cmd": "set", "path": "out", "mode": "777"}), "not-regular"),
            (json!({"cmd": "set", "path": "up", "mode": "777"}), "not-regular"),
            (json!({"cmd": "ls", "path": "etc"}), "permission-denied"),
            (json!({"cmd": "stat", "path": "up/secret"}), "permission-denied"),
            (json!({"cmd": "df", "path": "up"}), "permission-denied"),
            (json!({"cmd": "put", "path": "up/new"}), "permission-denied"),
            (json!({"cmd": "mkdir", "path": "up/new"}), "permission-denied"),
            (json!({"cmd": "mkdir", "path": "up/new/deep", "parents": true}), "permission-denied"),
            (json!({"cmd": "rm", "path": "up/secret"}), "permission-denied"),
            (json!({"cmd": "rm", "path": "up/root", "recursive": true}), "permission-denied"),
            (json!({"cmd": "mv", "from": "up/secret", "to": "stolen"}), "permission-denied"),
            (json!({"cmd": "mv", "from": "file", "to": "up/file"}), "permission-denied"),
            (json!({"cmd": "get", "path": "loop"}), "io"),
        ],
    );
    assert_eq!(fs::read(server.path("../secret")).unwrap(), b"secret");
    assert!(!server.path("../new").exists());
}

#[test]
fn what_the_permission_bits_forbid_is_denied() {
    let server = furnished(|setup| setup.unprivileged = true);
    let chmod =
        |name: &str, mode| fs::set_permissions(server.path(name), fs::Permissions::from_mode(mode)).unwrap();
    chmod("file", 0o000);
    chmod("full", 0o555);
    chmod("empty", 0o000);
    check(
        &server,
        [
            (json!({"cmd": "get", "path": "file"}), "permission-denied"),
            (json!({"cmd": "hash", "path": "file"}), "permission-denied"),
            (json!({"cmd": "ls", "path": "empty"}), "permission-denied"),
            (json!({"cmd": "tree", "path": "empty", "limit": 9}), "permission-denied"),
            (json!({"cmd": "symlink", "path": "full/new", "target": "x"}), "permission-denied"),
            (json!({"cmd": "link", "from": "full/file", "to": "full/new"}), "permission-denied"),
            (json!({"cmd": "rm", "path": "full/file", "backup": "new"}), "permission-denied"),
            (json!({"cmd": "set", "path": "empty/below", "mode": "600"}), "permission-denied"),
            (json!({"cmd": "stat", "path": "empty/below"}), "permission-denied"),
            (json!({"cmd": "put", "path": "full/new"}), "permission-denied"),
            (json!({"cmd": "put", "path": "full/file"}), "permission-denied"),
            (json!({"cmd": "mkdir", "path": "full/new"}), "permission-denied"),
            (json!({"cmd": "rm", "path": "full/file"}), "permission-denied"),
            (json!({"cmd": "rm", "path": "full", "recursive": true}), "permission-denied"),
            (json!({"cmd": "mv", "from": "full/file", "to": "new"}), "permission-denied"),
            (json!({"cmd": "mv", "from": "file", "to": "full/new"}), "permission-denied"),
        ],
    );
    // So that they can be removed.
    chmod("full", 0o755);
    chmod("empty", 0o755);
}

#[test]
fn a_read_only_server_forbids_every_change_and_serves_all_else() {
    let server = furnished(|setup| setup.policy = Policy::read_only());
    check(
        &server,
        [
            (json!({"cmd": "put", "path": "new"}), "forbidden"),
            (json!({"cmd": "put", "path": "file"}), "forbidden"),
            (json!({"cmd": "put", "path": "missing/new"}), "forbidden"),
            (json!({"cmd": "mkdir", "path": "new"}), "forbidden"),
            (json!({"cmd": "symlink", "path": "new", "target": "x"}), "forbidden"),
            (json!({"cmd": "symlink", "path": "dangling", "target": "x"}), "forbidden"),
            (json!({"cmd": "link", "from": "file", "to": "new"}), "forbidden"),
            (json!({"cmd": "rm", "path": "file", "backup": "new"}), "forbidden"),
            (json!({"cmd": "set", "path": "file", "mode": "600"}), "forbidden"),
            (json!({"cmd": "set", "path": ".", "mtime": [0, 0]}), "forbidden"),
            (json!({"cmd": "mkdir", "path": "empty", "parents": true}), "forbidden"),
            (json!({"cmd": "rm", "path": "file"}), "forbidden"),
            (json!({"cmd": "rm", "path": "full", "recursive": true}), "forbidden"),
            (json!({"cmd": "mv", "from": "file", "to": "new"}), "forbidden"),
        ],
    );
    let mut raw = server.greeted();
    assert_eq!(raw.ask(&json!({"id": 1, "cmd": "get", "path": "file", "digest": "md5"}))["ok"], true);
    assert_eq!(raw.body(ftpish_protocol::Algorithm::Md5).unwrap(), b"content");
    assert_eq!(raw.ask(&json!({"id": 2, "cmd": "stat", "path": "file"}))["ok"], true);
}

#[test]
fn the_root_itself_and_partial_files_are_forbidden() {
    let server = furnished(|_| {});
    let partial = "full/.ftpish-0123456789abcdef";
    server.write(partial, "somebody's");
    check(
        &server,
        [
            (json!({"cmd": "rm", "path": "."}), "forbidden"),
            (json!({"cmd": "rm", "path": ".", "recursive": true}), "forbidden"),
            (json!({"cmd": "mv", "from": ".", "to": "new"}), "forbidden"),
            (json!({"cmd": "mv", "from": "empty", "to": "."}), "forbidden"),
            (json!({"cmd": "put", "path": "."}), "forbidden"),
            (json!({"cmd": "get", "path": partial}), "forbidden"),
            (json!({"cmd": "symlink", "path": ".", "target": "x"}), "forbidden"),
            (json!({"cmd": "symlink", "path": partial, "target": "x"}), "forbidden"),
            (json!({"cmd": "set", "path": partial, "mode": "600"}), "forbidden"),
            (json!({"cmd": "tree", "path": partial, "limit": 9}), "forbidden"),
            (json!({"cmd": "stat", "path": partial}), "forbidden"),
            (json!({"cmd": "hash", "path": partial}), "forbidden"),
            (json!({"cmd": "put", "path": partial}), "forbidden"),
            (json!({"cmd": "put", "path": ".ftpish-00000000000000ff"}), "forbidden"),
            (json!({"cmd": "mkdir", "path": ".ftpish-00000000000000ff/below", "parents": true}), "forbidden"),
            (json!({"cmd": "rm", "path": partial}), "forbidden"),
            (json!({"cmd": "mv", "from": partial, "to": "mine"}), "forbidden"),
            (json!({"cmd": "mv", "from": "file", "to": partial}), "forbidden"),
        ],
    );
    let mut raw = server.greeted();
    assert_eq!(raw.ask(&json!({"id": 1, "cmd": "mkdir", "path": ".", "parents": true}))["ok"], true);
}
