//! Quotas: what lies in a user's root never exceeds them, however many store at once and wherever they break off.

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::num::NonZeroU64;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ftpish_client::{Client, Error, Progress, Upload};
use ftpish_protocol::blocks::MIN_BLOCK;
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Algorithm, Code};
use serde_json::{Value, json};

use crate::accounts::{accounts_with_quotas, ada, log_in_as, server_for};
use crate::harness::{BLOCK, TestServer, eventually, path, pattern, skipped};
use crate::raw::{Raw, code, frame, framed, put, trailer};
use crate::tree::{Node, Tree};

const MIB: u64 = MIN_BLOCK;

/// A server for ada, in whose root so many bytes and names may lie; 0 is no bound.
fn server(bytes: u64, names: u64) -> TestServer {
    server_for(|ada| {
        (ada.quota_bytes, ada.quota_files) = (NonZeroU64::new(bytes), NonZeroU64::new(names));
    })
}

fn upload(client: &mut Client, from: &Path, to: &str) -> Result<(), Error> {
    client.upload(&Upload::new(from, path(to)), &Progress::default()).map(drop)
}

/// Stores so many bytes without saying before how many they are.
fn stream(client: &mut Client, length: u64, to: &str) -> Result<(), Error> {
    let mut source = std::io::repeat(7).take(length);
    client.put(&mut source, &path(to), Algorithm::Blake3, Replace::Always, &Progress::default()).map(drop)
}

/// Why it was refused, if it was.
#[track_caller]
fn refused<T>(outcome: Result<T, Error>) -> Option<String> {
    match outcome {
        Ok(_) => None,
        Err(Error::Refused(refusal)) if refusal.code == Code::NoSpace => Some(refusal.message),
        Err(error) => panic!("{error}"),
    }
}

/// The bytes of all files, partial ones included. One that is renamed while we look may be seen under both names.
fn used(tree: &Tree) -> u64 {
    let mut files: Vec<_> = tree
        .values()
        .filter_map(|node| match node {
            Node::File { inode, size, .. } => Some((*inode, *size)),
            _ => None,
        })
        .collect();
    files.sort_unstable();
    files.dedup_by_key(|(inode, _)| *inode);
    files.iter().map(|(_, size)| size).sum()
}

/// Looks at what lies below `top` as often as it can, until told to end: the most that it saw.
fn watch(top: &Path, end: &AtomicBool) -> u64 {
    let mut most = 0;
    while !end.load(Ordering::SeqCst) {
        let seen: u64 = fs::read_dir(top)
            .unwrap()
            .filter_map(|entry| entry.unwrap().metadata().ok())
            .map(|metadata| (metadata.ino(), metadata.len()))
            .collect::<std::collections::HashMap<_, _>>()
            .values()
            .sum();
        most = most.max(seen);
    }
    most
}

#[test]
fn of_clients_whose_files_do_not_all_fit_exactly_as_many_store_theirs_as_fit() {
    const CLIENTS: u64 = 12;
    // A file that is answered together with others, one of a single body, and one that could be resumed.
    for size in [300_000, 3 * MIB, 5 * MIB + 17] {
        let limit = 5 * size + size / 2;
        let server = server(limit, 0);
        let local = tempfile::tempdir().unwrap();
        let from = local.path().join("from");
        fs::write(&from, pattern(usize::try_from(size).unwrap())).unwrap();
        let end = AtomicBool::new(false);
        let (stored, most) = std::thread::scope(|scope| {
            let (server, from, end) = (&server, &from, &end);
            let watching = scope.spawn(|| watch(&server.path("."), end));
            let clients: Vec<_> = (0..CLIENTS)
                .map(|i| scope.spawn(move || refused(upload(&mut ada(server), from, &format!("file {i}")))))
                .collect();
            let told = clients.into_iter().map(|client| client.join().unwrap());
            let stored = told.filter(Option::is_none).count();
            end.store(true, Ordering::SeqCst);
            (stored, watching.join().unwrap())
        });
        assert_eq!(stored, 5, "of {size} bytes");
        assert!(most <= limit, "{most} of {limit}");
        let whole = |node: &Node| matches!(node, Node::File { size: found, .. } if *found == size);
        let tree = server.tree();
        assert!(tree.len() == 5 && tree.values().all(whole), "{tree:?}");
    }
}

#[test]
fn of_clients_whose_names_do_not_all_fit_exactly_as_many_are_stored_as_fit() {
    for _ in 0..5 {
        let server = server(0, 5);
        let granted = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..12)
                .map(|i| {
                    let (server, name) = (&server, format!("{i}"));
                    scope.spawn(move || match i % 2 {
                        0 => refused(ada(server).mkdir(&path(&name), false)),
                        _ => refused(stream(&mut ada(server), 1000, &name)),
                    })
                })
                .collect();
            let told = clients.into_iter().map(|client| client.join().unwrap());
            told.filter(Option::is_none).count()
        });
        assert_eq!((granted, server.tree().len()), (5, 5));
    }
}

#[test]
fn clients_that_announce_nothing_are_stopped_at_the_limit_and_leave_nothing_beyond_it() {
    let limit = 3 * MIB + 5;
    let server = server(limit, 0);
    let end = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&server.path("."), &end));
        let line = refused(stream(&mut ada(&server), 1 << 30, "alone")).unwrap();
        assert!(line.starts_with("over the quota: 3145728 of 3145733 bytes are used"), "{line}");
        let together: Vec<_> = (0..4)
            .map(|i| {
                let server = &server;
                scope.spawn(move || refused(stream(&mut ada(server), 2 * MIB, &format!("file {i}"))))
            })
            .collect();
        let told = together.into_iter().map(|client| client.join().unwrap());
        assert!(told.filter(Option::is_none).count() <= 1);
        end.store(true, Ordering::SeqCst);
        watching.join().unwrap()
    });
    // A partial file that goes while another one grows may be seen with that.
    assert!(most <= 2 * limit, "{most}");
    assert!(used(&server.tree()) <= 2 * MIB && server.tree().len() <= 1);
    let mut client = ada(&server);
    for i in 0..4 {
        let _ = client.rm(&path(&format!("file {i}")), false);
    }
    stream(&mut client, limit, "all").unwrap();
}

/// A raw connection of ada's.
fn raw(server: &TestServer) -> Raw {
    let mut raw = server.greeted();
    let login = raw.ask(&json!({"id": 1, "cmd": "login", "user": "ada", "password": "open sesame"}));
    assert_eq!(login["ok"], true, "{login}");
    raw
}

/// Sends so many bytes of a file of this size that can be resumed.
fn begin_upload(raw: &mut Raw, size: u64, sent: u64) {
    let resume = json!({"id": 2, "cmd": "resume", "path": "file", "size": size, "mtime": [0, 0]});
    assert_eq!(raw.ask(&resume)["ok"], true);
    raw.body(Algorithm::Blake3).unwrap();
    let put = json!({"id": 3, "cmd": "put", "path": "file", "digest": "md5", "size": size, "body": true, "ranges": [[0, size]]});
    // A block is stored when the one behind it begins.
    let part = &pattern(usize::try_from(size).unwrap())[..=usize::try_from(sent).unwrap()];
    raw.send(&[frame(&put), part.chunks(BLOCK).flat_map(framed).collect()].concat());
}

#[test]
fn what_a_cut_connection_leaves_counts_and_is_taken_up_again() {
    const SIZE: u64 = 5 * MIB;
    let server = server(6 * MIB, 0);
    let local = tempfile::tempdir().unwrap();
    let (whole, other) = (local.path().join("whole"), local.path().join("other"));
    fs::write(&whole, pattern(SIZE as usize)).unwrap();
    fs::write(&other, pattern(4 * MIB as usize)).unwrap();
    let mut raw = raw(&server);
    begin_upload(&mut raw, SIZE, 3 * MIB);
    eventually("what was sent", || (used(&server.tree()) == 3 * MIB).then_some(()));
    // The bytes that were announced are kept for it, even before they are there.
    let mut client = ada(&server);
    assert!(refused(upload(&mut client, &other, "other")).is_some());
    assert_eq!(client.df(&path(".")).unwrap().available, MIB);
    drop(raw);
    // Then what is there, and no more.
    eventually("the end of the session", || {
        (client.df(&path(".")).unwrap().available == 3 * MIB).then_some(())
    });
    assert!(refused(upload(&mut client, &other, "other")).is_some());
    stream(&mut client, 3 * MIB, "rest").unwrap();
    client.rm(&path("rest"), false).unwrap();
    upload(&mut client, &whole, "file").unwrap();
    assert_eq!(used(&server.tree()), SIZE);
    // It is there already, and needs no room to be found so.
    upload(&mut client, &whole, "file").unwrap();
}

#[test]
fn who_gives_up_an_upload_that_broke_off_removes_it_by_the_name_it_was_for() {
    let server = server(6 * MIB, 0);
    let mut raw = raw(&server);
    begin_upload(&mut raw, 5 * MIB, 3 * MIB);
    drop(raw);
    let mut client = ada(&server);
    assert!(refused(stream(&mut client, 6 * MIB, "other")).is_some());
    eventually("the end of the session", || client.rm(&path("file"), false).ok());
    stream(&mut client, 6 * MIB, "other").unwrap();
    assert_eq!(used(&server.tree()), 6 * MIB);
}

#[test]
fn what_was_removed_makes_room_at_once_and_what_is_replaced_needs_its_own() {
    let server = server(1000, 0);
    let mut client = ada(&server);
    stream(&mut client, 600, "a").unwrap();
    stream(&mut client, 400, "b").unwrap();
    let full = "over the quota: 1000 of 1000 bytes are used, and this needs 400 more";
    assert_eq!(
        refused(stream(&mut client, 400, "b")).as_deref(),
        Some(full),
        "both would be there for a moment"
    );
    client.rm(&path("a"), false).unwrap();
    for _ in 0..10 {
        stream(&mut client, 600, "b").unwrap_or_else(|error| panic!("{error}"));
        client.rm(&path("b"), false).unwrap();
    }
    for _ in 0..10 {
        stream(&mut client, 500, "b").unwrap();
    }
    assert_eq!(used(&server.tree()), 500);
    // What went without the server's knowing is noticed, too.
    fs::remove_file(server.path("b")).unwrap();
    eventually("room", || refused(stream(&mut client, 900, "c")).is_none().then_some(()));
}

#[test]
fn names_of_any_kind_count() {
    let server = server(0, 4);
    let mut client = ada(&server);
    client.mkdir(&path("a/b"), true).unwrap();
    stream(&mut client, 1, "a/file").unwrap();
    let mut raw = raw(&server);
    let link = |id: u64| json!({"id": id, "cmd": "symlink", "path": format!("link {id}"), "target": "a"});
    assert_eq!(raw.ask(&link(2))["ok"], true);
    let full = json!({"code": "no-space", "message": "over the quota: 4 of 4 files, links and directories are used"});
    assert_eq!(raw.ask(&link(3))["error"], full);
    assert_eq!(raw.ask(&json!({"id": 4, "cmd": "mkdir", "path": "d"}))["error"], full);
    assert!(refused(stream(&mut client, 1, "file")).is_some());
    client.mkdir(&path("a/b"), true).unwrap();
    client.mv(&path("a/file"), &path("file"), Replace::Never).unwrap();
    client.rm(&path("a"), true).unwrap();
    client.mkdir(&path("d/e"), true).unwrap();
    assert_eq!(server.tree().len(), 4);
}

#[test]
fn requests_that_do_not_wait_for_each_other_are_answered_in_order_as_far_as_there_is_room() {
    let server = server(1000, 0);
    let mut raw = raw(&server);
    let mut requests = Vec::new();
    for id in 10..20 {
        let (header, content) = (
            json!({"id": id, "cmd": "put", "body": true, "path": format!("{id}"), "digest": "md5", "size": 300}),
            [7; 300],
        );
        requests.extend([frame(&header), framed(&content), vec![0; 4], frame(&trailer(&content))].concat());
        if id == 15 {
            requests.extend(frame(&json!({"id": 100, "cmd": "rm", "path": "10"})));
        }
    }
    raw.send(&requests);
    let told: Vec<(Value, bool)> = (0..11)
        .map(|_| raw.receive())
        .map(|reply| (reply["id"].clone(), reply["ok"] == true || code(&reply) != "no-space"))
        .collect();
    let expected = [10, 11, 12, 13, 14, 15, 100, 16, 17, 18, 19];
    let granted = [10, 11, 12, 100, 16];
    assert_eq!(told, expected.map(|id| (json!(id), granted.contains(&id))));
    raw.send(&put(30, "30", &[7; 101]));
    assert_eq!(code(&raw.receive()), "no-space");
}

#[test]
fn df_tells_the_quota_and_what_is_left_of_it() {
    let server = server(1000, 0);
    let mut client = ada(&server);
    let told = |client: &mut Client| {
        let space = client.df(&path(".")).unwrap();
        (space.total, space.free, space.available)
    };
    assert_eq!(told(&mut client), (1000, 1000, 1000));
    stream(&mut client, 300, "a").unwrap();
    stream(&mut client, 400, "a").unwrap();
    assert_eq!(told(&mut client), (1000, 600, 600));
    server.write_sparse("b", 1 << 40);
    eventually("the end", || (told(&mut client) == (1000, 0, 0)).then_some(()));
    assert!(told(&mut ada(&self::server(1 << 60, 0))).0 < 1 << 60, "the disk has less");
}

#[test]
fn users_of_one_root_share_what_is_used_and_have_limits_of_their_own() {
    let server = TestServer::with(|setup| {
        setup.accounts = Some(accounts_with_quotas(&[("ada", 1000), ("bob", 2000), ("eve", 0)]));
    });
    let client = |user| log_in_as(&server, user);
    // Ada's quota counts what there is, and is told of all that comes behind that.
    let mut ada = client("ada");
    stream(&mut ada, 1, "ada's").unwrap();
    stream(&mut client("eve"), 100, "eve's").unwrap();
    stream(&mut client("bob"), 700, "bob's").unwrap();
    stream(&mut server.client(), 99, "a stranger's").unwrap();
    assert!(refused(stream(&mut ada, 101, "more")).is_some());
    stream(&mut ada, 100, "more").unwrap();
    stream(&mut client("bob"), 1000, "bob's, too").unwrap();
    assert!(refused(stream(&mut client("bob"), 1, "one")).is_some());
    stream(&mut client("eve"), 1 << 20, "all").unwrap();
}

#[test]
fn a_directory_that_its_user_makes_unreadable_hides_nothing_and_one_of_others_holds_nobody_up() {
    let server = TestServer::with(|setup| {
        setup.unprivileged = true;
        setup.accounts = Some(accounts_with_quotas(&[("ada", 1000)]));
    });
    let mut client = ada(&server);
    fs::create_dir(server.path("lost+found")).unwrap();
    fs::set_permissions(server.path("lost+found"), Permissions::from_mode(0o700)).unwrap();
    if let Err(error) = std::os::unix::fs::chown(server.path("lost+found"), Some(12345), None) {
        return skipped("quotas where a directory cannot be read", error);
    }
    client.mkdir(&path("d"), false).unwrap();
    stream(&mut client, 900, "d/a").unwrap();
    let mut raw = raw(&server);
    let set = json!({"id": 2, "cmd": "set", "path": "d", "mode": "0"});
    assert_eq!(raw.ask(&set)["ok"], true);
    let unknown =
        |error: &Error| matches!(error, Error::Refused(refusal) if refusal.code == Code::PermissionDenied);
    eventually("a count", || stream(&mut client, 101, "b").err().filter(unknown));
    // Root itself would not be kept from that.
    fs::set_permissions(server.path("d"), Permissions::from_mode(0o700)).unwrap();
    assert!(refused(stream(&mut client, 101, "b")).is_some());
    stream(&mut client, 100, "b").unwrap();
}
