//! Links to the outside, swapped in and out without a pause under every command: nothing out there is opened, read,
//! listed, told of, written or removed. The kernel itself is the witness: a watch on what is outside sees nothing.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ftpish_protocol::Algorithm;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::harness::TestServer;
use crate::raw::{Raw, body, frame};
use crate::tree;

/// How often each command is asked while the swapping goes on.
const ROUNDS: usize = 120;

/// How often the names are swapped at the least.
const SWAPS: u64 = 4_000;

/// More than one block, so that `blocks` and `resume` have something to tell.
const SIZE: usize = (1 << 20) + 7;

/// The digest of the large file outside.
static SECRET: LazyLock<Value> =
    LazyLock::new(|| json!(Algorithm::Blake3.digest(&vec![b'!'; SIZE]).to_string()));

/// Swaps what `a` and `b` name, in one step each time, until it is told to stop; then puts them back.
fn swap(a: &Path, b: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    let mut swapped = false;
    // Somebody may have removed or moved one of them: that is the next swap's to find out.
    while !stop.load(Ordering::Relaxed) {
        if renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).is_ok() {
            swapped = !swapped;
            swaps.fetch_add(1, Ordering::Relaxed);
        }
    }
    if swapped {
        let _ = renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
    }
}

/// A watch on a directory and all below it, for whatever can be done to a file.
fn watch(top: &Path) -> rustix::fd::OwnedFd {
    let watching = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    let mut below = vec![top.to_owned()];
    while let Some(path) = below.pop() {
        if path.is_dir() {
            below.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        add_watch(&watching, &path, WatchFlags::ALL_EVENTS).unwrap();
    }
    // What this very walk has read.
    events(&watching);
    watching
}

fn events(watching: &rustix::fd::OwnedFd) -> usize {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(watching, &mut buffer);
    std::iter::from_fn(|| reader.next().ok().map(drop)).count()
}

/// A directory with a file that has blocks, one that has none, and a directory that is not empty.
fn furnish(dir: &Path, content: u8) {
    fs::create_dir_all(dir.join("sub/below")).unwrap();
    fs::write(dir.join("large"), vec![content; SIZE]).unwrap();
    fs::write(dir.join("small"), vec![content; 7]).unwrap();
}

/// All that is asked of `dir`, by every command that has a path.
fn requests(dir: &str) -> Vec<Value> {
    let at = |name: &str| if name.is_empty() { dir.to_owned() } else { format!("{dir}/{name}") };
    let path = |cmd: &str, name: &str| json!({"cmd": cmd, "path": at(name), "digest": "blake3"});
    let resume = |name: &str| json!({"cmd": "resume", "path": at(name), "size": SIZE, "mtime": [0, 0], "repair": true});
    let tree = |name: &str, follow: bool| json!({"cmd": "tree", "path": at(name), "digest": "blake3", "limit": 99, "follow": follow});
    let link = |name: &str| json!({"cmd": "symlink", "path": at(name), "target": "/nowhere"});
    let second = |from: String, to: String| json!({"cmd": "link", "from": from, "to": to});
    let mv = |from: String, to: String| json!({"cmd": "mv", "from": from, "to": to});
    vec![
        path("ls", ""),
        path("ls", "sub"),
        tree("", false),
        tree("", true),
        tree("sub", true),
        path("stat", "small"),
        path("df", "sub"),
        path("df", ""),
        path("get", "large"),
        path("hash", "large"),
        path("blocks", "large"),
        resume("large"),
        json!({"cmd": "put", "body": true, "path": at("small"), "digest": "md5"}),
        json!({"cmd": "put", "body": true, "path": at("new"), "digest": "md5", "mode": "7777"}),
        json!({"cmd": "mkdir", "path": at("made")}),
        json!({"cmd": "mkdir", "path": at("deep/er"), "parents": true}),
        link("linked"),
        link("small"),
        json!({"cmd": "set", "path": at("large"), "mtime": [1, 0], "mode": "640"}),
        json!({"cmd": "set", "path": at("sub"), "mtime": [1, 0], "mode": "750"}),
        json!({"cmd": "set", "path": dir, "mode": "750"}),
        second(at("small"), "taken-too".to_owned()),
        second("own".to_owned(), at("second")),
        second(at("large"), at("third")),
        json!({"cmd": "put", "body": true, "path": at("small"), "digest": "md5", "backup": at("kept/small")}),
        second("own".to_owned(), "own-too".to_owned()),
        json!({"cmd": "rm", "path": "own-too", "backup": at("kept/own")}),
        json!({"cmd": "rm", "path": at("third"), "backup": "kept"}),
        mv(at("new"), at("newer")),
        mv(at("newer"), "taken".to_owned()),
        mv("own".to_owned(), at("brought")),
        mv(at("brought"), "own".to_owned()),
        path("rm", "linked"),
        path("rm", "newer"),
        path("rm", "made"),
        json!({"cmd": "rm", "path": at("deep"), "recursive": true}),
    ]
}

/// Asks, takes the whole answer, and checks that nothing in it is from outside.
#[track_caller]
fn ask(raw: &mut Raw, mut request: Value) -> bool {
    request["id"] = json!(1);
    let is_put = request["cmd"] == "put";
    raw.send(&[frame(&request), if is_put { body(b"inside") } else { vec![] }].concat());
    let reply = raw.receive();
    let told = if reply["body"] == true { raw.body(algorithm(&request)).unwrap_or_default() } else { vec![] };
    assert!(!told.contains(&b'!') || request["cmd"] == "blocks" || request["cmd"] == "resume", "{request}");
    assert!(!String::from_utf8_lossy(&told).contains("outsider"), "{request}");
    assert!(reply["digest"].is_null() || reply["digest"] != *SECRET, "{request}: {reply}");
    reply["ok"] == true
}

fn algorithm(request: &Value) -> Algorithm {
    if request["digest"] == "md5" { Algorithm::Md5 } else { Algorithm::Blake3 }
}

/// CVE-2024-12747 of rsync, CVE-2026-29518, and every server that checks a path first and uses it later.
#[test]
fn directories_swapped_for_links_to_the_outside_lead_no_command_there() {
    let server = TestServer::start();
    let outside = tempfile::tempdir().unwrap();
    furnish(outside.path(), b'!');
    fs::write(outside.path().join("outsider"), "!").unwrap();
    furnish(&server.path("door"), b'i');
    server.write("own", "own");
    symlink(outside.path(), server.path("out")).unwrap();
    // The same one level down, and with the last name of a path.
    fs::create_dir(server.path("deep")).unwrap();
    furnish(&server.path("deep/door"), b'i');
    symlink(outside.path().join("sub"), server.path("deep/out")).unwrap();
    server.write("leaf", vec![b'i'; SIZE]);
    symlink(outside.path().join("large"), server.path("leaf-out")).unwrap();
    let before = tree::of(outside.path());
    let watching = watch(outside.path());

    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut granted, mut refused) = (0, 0);
    let pairs = [("door", "out"), ("deep/door", "deep/out"), ("leaf", "leaf-out")];
    let pairs = pairs.map(|(a, b)| (server.path(a), server.path(b)));
    std::thread::scope(|scope| {
        for (a, b) in &pairs {
            let (stop, swaps) = (&stop, &swaps);
            scope.spawn(move || swap(a, b, stop, swaps));
        }
        // However the asking ends, the swapping must.
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut raw = server.greeted();
            let leaf = |cmd: &str| json!({"cmd": cmd, "path": "leaf", "digest": "blake3", "limit": 9, "mode": "640"});
            let leaves = ["ls", "tree", "stat", "get", "hash", "blocks", "df", "set"].map(leaf);
            let mut rounds = 0;
            while rounds < ROUNDS || swaps.load(Ordering::Relaxed) < SWAPS {
                let all = requests("door").into_iter().chain(requests("deep/door")).chain(leaves.clone());
                for request in all {
                    if ask(&mut raw, request) { granted += 1 } else { refused += 1 }
                }
                rounds += 1;
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = asked {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(granted > ROUNDS && refused > ROUNDS, "{granted} granted, {refused} refused: no race was run");
    assert_eq!(events(&watching), 0, "something outside was touched");
    assert_eq!(tree::of(outside.path()), before);
}

/// The witness is no fool: it sees what the test says nobody does.
#[test]
fn the_watch_sees_a_read_and_a_listing() {
    let outside = tempfile::tempdir().unwrap();
    furnish(outside.path(), b'!');
    let watching = watch(outside.path());
    fs::read(outside.path().join("sub/../small")).unwrap();
    assert!(events(&watching) > 0);
    fs::read_dir(outside.path().join("sub")).unwrap().for_each(drop);
    assert!(events(&watching) > 0);
}

#[test]
fn links_to_the_outside_are_shown_and_removed_and_refused_by_all_else() {
    let server = TestServer::start();
    let outside = tempfile::tempdir().unwrap();
    furnish(outside.path(), b'!');
    furnish(&server.path("inside"), b'i');
    symlink(outside.path(), server.path("out")).unwrap();
    symlink(outside.path().join("large"), server.path("file-out")).unwrap();
    symlink("inside", server.path("in")).unwrap();
    symlink("../inside/large", server.path("inside/loop")).unwrap();
    let before = tree::of(outside.path());
    let watching = watch(outside.path());
    let mut raw = server.greeted();
    for request in requests("out") {
        assert!(!ask(&mut raw, request.clone()), "{request}");
    }
    for cmd in ["ls", "tree", "get", "hash", "blocks", "df"] {
        let reply =
            raw.ask(&json!({"id": 1, "cmd": cmd, "path": "file-out", "digest": "blake3", "limit": 9}));
        assert_eq!(reply["error"]["code"], "permission-denied", "{cmd}: {reply}");
    }
    let told = raw.ask(&json!({"id": 1, "cmd": "stat", "path": "out"}));
    assert_eq!((&told["entry"]["kind"], &told["entry"]["target"]), (&json!("link"), &json!(outside.path())));
    for path in ["in/large", "inside/loop"] {
        assert!(ask(&mut raw, json!({"cmd": "get", "path": path, "digest": "blake3"})), "{path}");
    }
    for path in ["out", "file-out"] {
        assert!(ask(&mut raw, json!({"cmd": "rm", "path": path, "recursive": true})), "{path}");
        assert!(server.path(path).symlink_metadata().is_err());
    }
    assert_eq!(events(&watching), 0);
    assert_eq!(tree::of(outside.path()), before);
}

/// GHSA-945v-v9p3-v5xw of rclone: bits that give rights came back with the mode.
#[test]
fn setuid_setgid_and_sticky_are_never_set_from_the_wire() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = TestServer::start();
    let mut raw = server.greeted();
    for mode in ["4755", "2755", "1777", "7777", "6000"] {
        let put =
            json!({"cmd": "put", "body": true, "path": "file", "digest": "md5", "mode": mode, "exact": true});
        assert!(ask(&mut raw, put));
        let stored = server.path("file").metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(format!("{stored:03o}"), mode[1..]);
    }
}

/// A tree may be nested deeper than a stack is, or than there are descriptors: `mv` puts one deep tree into another.
#[test]
fn a_tree_that_was_nested_far_beyond_the_longest_path_is_removed_and_the_server_lives() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    let deep = vec!["d"; 1000].join("/");
    for tree in 0..3 {
        assert!(ask(&mut raw, json!({"cmd": "mkdir", "path": format!("{tree}/{deep}"), "parents": true})));
    }
    for tree in (1..3).rev() {
        let to = format!("{}/{deep}/more", tree - 1);
        assert!(ask(&mut raw, json!({"cmd": "mv", "from": tree.to_string(), "to": to})), "{tree}");
    }
    assert!(ask(&mut raw, json!({"cmd": "rm", "path": "0", "recursive": true})));
    assert!(ask(&mut raw, json!({"cmd": "ls", "path": ".", "digest": "md5"})));
    assert_eq!(server.tree().len(), 0);
}
