//! Whole trees over the wire: `tree` by the page, `symlink`, `set`, and `mkdir` among small puts.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use ftpish_protocol::message::MAX_LISTED_DIGEST;
use ftpish_protocol::{Algorithm, RemotePath, walk_order};
use ftpish_server::{Accounts, Policy, Right, Rights, Users};
use rustix::fs::{CWD, FileType, mknodat};
use serde_json::{Value, json};

use crate::harness::TestServer;
use crate::raw::{Raw, body, code, frame, put_header};

/// Asks for a tree, and takes its nodes.
#[track_caller]
fn try_tree(raw: &mut Raw, fields: Value) -> Result<Vec<Value>, Value> {
    let mut request = json!({"id": 1, "cmd": "tree", "path": ".", "digest": "md5", "limit": 1 << 20});
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let reply = raw.ask(&request);
    if reply["ok"] != true {
        return Err(reply);
    }
    let lines = raw.body(Algorithm::Md5).unwrap();
    let nodes: Vec<Value> =
        lines.split_inclusive(|b| *b == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert!(nodes.len() as u64 <= request["limit"].as_u64().unwrap(), "{request}");
    Ok(nodes)
}

/// One word a node: directories with a slash, links with `@`, errors with `!`.
#[track_caller]
fn tree(raw: &mut Raw, fields: Value) -> Vec<String> {
    let nodes = try_tree(raw, fields).unwrap_or_else(|reply| panic!("{reply}"));
    let word = |node: &Value| {
        let kind = match node["kind"].as_str().unwrap() {
            "dir" => "/",
            "link" => "@",
            "other" => "|",
            _ => "",
        };
        let error = if node["error"].is_null() { "" } else { "!" };
        format!("{}{kind}{error}", node["path"].as_str().unwrap())
    };
    nodes.iter().map(word).collect()
}

/// The path in a word.
fn path_in(word: &str) -> &str {
    word.trim_end_matches(['/', '@', '|', '!'])
}

/// Joins pages of so many nodes; `between` is done between each and the next, on whatever connection it gives.
#[track_caller]
fn pages(server: &TestServer, limit: usize, mut between: impl FnMut(&mut Raw) -> Option<Raw>) -> Vec<String> {
    let mut raw = server.greeted();
    let mut all: Vec<String> = Vec::new();
    loop {
        let mut fields = json!({"limit": limit});
        if let Some(last) = all.last() {
            fields["after"] = json!(path_in(last));
        }
        let page = tree(&mut raw, fields);
        let is_last = page.len() < limit;
        all.extend(page);
        if is_last {
            return all;
        }
        if let Some(other) = between(&mut raw) {
            raw = other;
        }
    }
}

const WHOLE: [&str; 10] = ["./", "a/", "a/10", "a/2", "a/deep/", "a/deep/er/", "a-b", "empty/", "link@", "z"];

fn furnished() -> TestServer {
    let server = TestServer::start();
    fs::create_dir_all(server.path("a/deep/er")).unwrap();
    fs::create_dir(server.path("empty")).unwrap();
    for file in ["a/2", "a/10", "a-b", "z", ".ftpish-0123456789abcdef", "a/.ftpish-0123456789abcdef"] {
        server.write(file, file);
    }
    symlink("a", server.path("link")).unwrap();
    server
}

#[test]
fn pages_of_every_size_joined_are_the_whole() {
    let server = furnished();
    for limit in (1..=WHOLE.len() + 1).chain([1 << 40]) {
        assert_eq!(pages(&server, limit, |_| None), WHOLE, "{limit} at a time");
        assert_eq!(pages(&server, limit, |_| Some(server.greeted())), WHOLE, "{limit} a connection");
        let with_others = pages(&server, limit, |raw| {
            assert_eq!(tree(raw, json!({"path": "a", "limit": 2})), ["./", "10"]);
            assert_eq!(tree(raw, json!({"path": "a", "limit": 2, "after": "10"})), ["2", "deep/"]);
            assert_eq!(tree(raw, json!({"limit": 0})), [""; 0]);
            assert_eq!(raw.ask(&json!({"id": 2, "cmd": "stat", "path": "a/2"}))["entry"]["size"], 3);
            None
        });
        assert_eq!(with_others, WHOLE, "{limit} between other commands");
    }
}

#[test]
fn a_page_of_nothing_is_nothing_and_the_end_is_told_by_fewer_than_the_limit() {
    let server = furnished();
    let mut raw = server.greeted();
    assert_eq!(tree(&mut raw, json!({"limit": 0})), [""; 0]);
    assert_eq!(tree(&mut raw, json!({"limit": WHOLE.len()})), WHOLE);
    assert_eq!(tree(&mut raw, json!({"limit": WHOLE.len(), "after": "z"})), [""; 0]);
    assert_eq!(tree(&mut raw, json!({"limit": u64::MAX})), WHOLE);
    assert_eq!(tree(&mut raw, json!({"limit": u64::MAX, "after": "."})), WHOLE[1..]);
}

#[test]
fn digests_of_small_files_are_told_where_they_are_asked_for_and_of_nothing_else() {
    let server = furnished();
    let large = fs::File::create(server.path("empty/large")).unwrap();
    large.set_len(MAX_LISTED_DIGEST + 1).unwrap();
    fs::File::create(server.path("empty/less")).unwrap().set_len(MAX_LISTED_DIGEST).unwrap();
    mknodat(CWD, server.path("pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut raw = server.greeted();
    let mut told = |fields: Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let nodes = try_tree(&mut raw, fields).unwrap().into_iter();
        nodes.filter_map(|node| Some((text(&node["path"])?, text(&node["digest"])?))).collect()
    };
    let digest = |path: &str| (path.to_owned(), Algorithm::Blake3.digest(path.as_bytes()).to_string());
    let zeros = Algorithm::Blake3.digest(&vec![0; usize::try_from(MAX_LISTED_DIGEST).unwrap()]).to_string();
    let mut all = [digest("a/10"), digest("a/2"), digest("a-b"), ("empty/less".into(), zeros), digest("z")];
    assert_eq!(told(json!({"hash": "blake3"})), all);
    assert_eq!(told(json!({})), []);
    assert_eq!(
        told(json!({"hash": "md5", "path": "z"})),
        [(".".into(), Algorithm::Md5.digest(b"z").to_string())]
    );
    // By the page, with others between.
    let mut joined = Vec::new();
    for after in [".", "a/2", "a-b", "empty/less"] {
        joined.extend(told(json!({"hash": "blake3", "after": after, "limit": 3})));
        assert_eq!(told(json!({"after": after, "limit": 3})), []);
    }
    assert_eq!(joined, all);
    // What links stand for.
    all[4].0 = "link/10".into();
    assert_eq!(told(json!({"hash": "blake3", "follow": true}))[4].0, all[4].0);
    let reply = try_tree(&mut raw, json!({"hash": "crc32"})).unwrap_err();
    assert_eq!(code(&reply), "unsupported");
}

#[test]
fn after_may_be_any_path_be_it_there_or_not() {
    let server = furnished();
    let mut raw = server.greeted();
    for (after, at) in [
        ("0", 1),
        ("a/0", 2),
        ("a/1/2/3", 2),
        ("a/10/below/a/file", 3),
        ("a/deep/er/zz", 6),
        ("a/zz", 6),
        ("a!", 6),
        ("link/10", 9),
        ("zz", 10),
        (".ftpish-0123456789abcdef", 1),
    ] {
        assert_eq!(tree(&mut raw, json!({"after": after})), WHOLE[at..], "{after}");
    }
}

/// What is there all the time is told once and in order, whatever comes and goes; on one connection, where the server
/// remembers its place, and on a new one for every page.
#[test]
fn what_comes_and_goes_between_pages_disturbs_nothing_that_stays() {
    for is_fresh in [false, true] {
        for limit in 1..6 {
            let server = furnished();
            for i in 0..9 {
                server.write(&format!("a/goes {i}"), "");
                fs::create_dir(server.path(format!("goes {i}"))).unwrap();
                server.write(&format!("goes {i}/file"), "");
            }
            let mut round = 0;
            let told = pages(&server, limit, |_| {
                // One of each kind is gone, a directory becomes a file, and new ones are before and behind.
                let _ = fs::remove_file(server.path(format!("a/goes {}", 8 - round % 9)));
                let _ = fs::remove_dir_all(server.path(format!("goes {}", round % 9)));
                let _ = fs::write(server.path(format!("goes {}", round % 9)), "");
                for dir in ["a", "a/deep", "empty"] {
                    server.write(&format!("{dir}/new {}", round % 7), "");
                }
                round += 1;
                assert!(round < 500, "it never ends");
                is_fresh.then(|| server.greeted())
            });
            let in_order = told.windows(2).all(|pair| {
                let [a, b] = [0, 1].map(|at| path_in(&pair[at]).parse::<RemotePath>().unwrap());
                walk_order(&a, &b).is_lt()
            });
            assert!(in_order, "{limit}: {told:?}");
            let told: BTreeSet<_> = told.iter().map(String::as_str).collect();
            assert!(WHOLE.iter().all(|node| told.contains(node)), "{limit}: {told:?}");
        }
    }
}

#[test]
fn a_page_goes_on_where_the_node_was_that_it_goes_on_behind() {
    for gone in ["a", "a/10", "a/deep"] {
        for is_fresh in [false, true] {
            let server = furnished();
            let mut raw = server.greeted();
            let at = WHOLE.iter().position(|node| path_in(node) == gone).unwrap() + 1;
            assert_eq!(tree(&mut raw, json!({"limit": at})), WHOLE[..at]);
            fs::remove_dir_all(server.path(gone)).or_else(|_| fs::remove_file(server.path(gone))).unwrap();
            if is_fresh {
                raw = server.greeted();
            }
            let below = format!("{gone}/");
            let rest = WHOLE[at..].iter().filter(|node| !node.starts_with(&below)).copied();
            assert_eq!(tree(&mut raw, json!({"after": gone})), rest.collect::<Vec<_>>(), "{gone}");
        }
    }
}

#[test]
fn a_tree_of_something_else_is_a_tree_of_one() {
    let server = furnished();
    mknodat(CWD, server.path("fifo"), FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    symlink("z", server.path("to-z")).unwrap();
    let mut raw = server.greeted();
    for (path, told) in [("z", "."), ("to-z", "."), ("fifo", ".|"), ("a/deep/er", "./")] {
        assert_eq!(tree(&mut raw, json!({"path": path})), [told], "{path}");
        assert_eq!(tree(&mut raw, json!({"path": path, "after": "."})), [""; 0], "{path}");
        assert_eq!(tree(&mut raw, json!({"path": path, "after": "x/y"})), [""; 0], "{path}");
    }
    assert_eq!(tree(&mut raw, json!({"path": "link"}))[..2], ["./", "10"], "a link at the top is followed");
}

#[test]
fn links_are_told_or_followed_to_where_they_may_lead() {
    let server = TestServer::start();
    fs::create_dir(server.path("d")).unwrap();
    server.write("d/f", "content");
    fs::create_dir(server.path("../outside")).unwrap();
    fs::write(server.path("../outside/secret"), "secret").unwrap();
    for (target, name) in [
        ("..", "d/up"),
        ("../e", "d/e"),
        ("d", "e"),
        ("d/f", "f"),
        ("gone", "gone-too"),
        ("itself", "itself"),
        ("../outside", "out"),
        ("../outside/secret", "out-file"),
        ("/etc", "root"),
    ] {
        symlink(target, server.path(name)).unwrap();
    }
    let mut raw = server.greeted();
    assert_eq!(
        tree(&mut raw, json!({})),
        [
            "./",
            "d/",
            "d/e@",
            "d/f",
            "d/up@",
            "e@",
            "f@",
            "gone-too@",
            "itself@",
            "out@",
            "out-file@",
            "root@"
        ]
    );
    let followed = [
        "./",
        "d/",
        "d/e@!",
        "d/f",
        "d/up@!",
        "e/",
        "e/e@!",
        "e/f",
        "e/up@!",
        "f",
        "gone-too@!",
        "itself@!",
        "out@!",
        "out-file@!",
        "root@!",
    ];
    assert_eq!(tree(&mut raw, json!({"follow": true})), followed);
    for (at, node) in followed.iter().enumerate() {
        let rest = tree(&mut raw, json!({"follow": true, "after": path_in(node)}));
        assert_eq!(rest, followed[at + 1..], "{node}");
    }
    let nodes = try_tree(&mut raw, json!({"follow": true})).unwrap();
    let error = |path: &str| {
        let node = nodes.iter().find(|node| node["path"] == path).unwrap();
        (node["error"]["code"].clone(), node["target"].clone())
    };
    assert_eq!(error("out"), (json!("permission-denied"), json!("../outside")));
    assert_eq!(error("gone-too"), (json!("not-found"), json!("gone")));
    assert_eq!(error("f"), (Value::Null, Value::Null));
}

#[test]
fn a_directory_that_may_not_be_read_is_told_so_and_the_rest_goes_on() {
    let server = TestServer::with(|setup| setup.unprivileged = true);
    for dir in ["a", "shut", "shut/in", "z"] {
        fs::create_dir(server.path(dir)).unwrap();
    }
    server.write("z/file", "");
    let chmod = |mode| fs::set_permissions(server.path("shut"), fs::Permissions::from_mode(mode)).unwrap();
    let told = ["./", "a/", "shut/!", "z/", "z/file"];
    for mode in [0o000, 0o300, 0o400] {
        chmod(mode);
        let mut raw = server.greeted();
        assert_eq!(tree(&mut raw, json!({})), told, "{mode:o}");
        assert_eq!(tree(&mut raw, json!({"after": "shut"})), told[3..], "{mode:o}");
        let nodes = try_tree(&mut raw, json!({})).unwrap();
        let errors: Vec<_> = nodes.iter().filter_map(|node| node["error"]["code"].as_str()).collect();
        assert_eq!(errors, ["permission-denied"]);
    }
    chmod(0o700);
}

/// A server whose strangers may do this, and something else below `private`.
fn with_rights(everywhere: &[Right], private: Option<&[Right]>) -> TestServer {
    let below = private.map(|rights| ("private".parse().unwrap(), rights.to_vec()));
    let rights = Rights::new(everywhere, below.into_iter().collect());
    let server =
        TestServer::with(|setup| setup.accounts = Some(Accounts::new(Users::default(), Some(rights))));
    for dir in ["private", "private/in", "public"] {
        fs::create_dir(server.path(dir)).unwrap();
    }
    server.write("private/file", "content");
    server
}

#[test]
fn a_tree_of_which_some_may_not_be_listed_is_forbidden_as_a_whole() {
    let server = with_rights(&Rights::READ, Some(&[Right::Read]));
    let mut raw = server.greeted();
    for (path, expected) in
        [(".", "forbidden"), ("private", "forbidden"), ("private/in", "forbidden"), ("public", "")]
    {
        for fields in [json!({"path": path}), json!({"path": path, "limit": 0, "after": "zzz"})] {
            let refused = try_tree(&mut raw, fields).err();
            assert_eq!(refused.as_ref().map_or("", code), expected, "{path}");
        }
    }
    let server = with_rights(&[Right::Read], Some(&Rights::READ));
    let mut raw = server.greeted();
    assert_eq!(tree(&mut raw, json!({"path": "private"})), ["./", "file", "in/"]);
    assert_eq!(code(&try_tree(&mut raw, json!({"path": "."})).unwrap_err()), "forbidden");
}

#[test]
fn a_user_whose_rights_differ_by_place_makes_no_links() {
    let link = json!({"id": 1, "cmd": "symlink", "path": "public/link", "target": "../private/file"});
    for (everywhere, private, granted) in [
        (&Rights::ALL[..], None, true),
        (&Rights::ALL[..], Some(&[Right::List][..]), false),
        (&Rights::ALL[..], Some(&Rights::ALL[..]), false),
        (&Rights::READ[..], None, false),
    ] {
        let server = with_rights(everywhere, private);
        let before = server.tree();
        let reply = server.greeted().ask(&link);
        assert_eq!(reply["ok"] == true, granted, "{reply}");
        assert!(granted || code(&reply) == "forbidden" && server.tree() == before);
    }
}

#[test]
fn set_needs_the_right_to_write_where_it_sets() {
    let server = with_rights(&Rights::ALL, Some(&Rights::READ));
    let before = server.tree();
    let mut raw = server.greeted();
    for path in ["private", "private/file", "private/in"] {
        let reply = raw.ask(&json!({"id": 1, "cmd": "set", "path": path, "mode": "700", "mtime": [7, 0]}));
        assert_eq!(code(&reply), "forbidden", "{path}");
    }
    assert_eq!(server.tree(), before);
    assert_eq!(raw.ask(&json!({"id": 1, "cmd": "set", "path": "public", "mode": "700"}))["ok"], true);
}

/// Makes a link at `path`, and tells what was said to that: nothing, or a code.
#[track_caller]
fn make_link(raw: &mut Raw, path: &str, target: Value, replace: &str) -> String {
    let reply = raw
        .ask(&json!({"id": 1, "cmd": "symlink", "path": path, "target": target.clone(), "replace": replace}));
    if reply["ok"] == true { String::new() } else { code(&reply).to_owned() }
}

#[test]
fn a_link_replaces_what_it_may_and_leaves_nothing_beside_it() {
    let server = furnished();
    mknodat(CWD, server.path("fifo"), FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let names = fs::read_dir(server.path("")).unwrap().count();
    let mut raw = server.greeted();
    for (path, replace, expected) in [
        ("new", "never", ""),
        ("new", "never", "exists"),
        ("new", "older", "not-newer"),
        ("new", "always", ""),
        ("z", "never", "exists"),
        ("z", "always", ""),
        ("link", "always", ""),
        ("empty", "always", "is-directory"),
        ("a", "never", "is-directory"),
        ("fifo", "always", "not-regular"),
        (".", "always", "forbidden"),
        ("newer", "older", ""),
    ] {
        assert_eq!(
            make_link(&mut raw, path, json!(format!("{path} {replace}")), replace),
            expected,
            "{path}"
        );
        if expected.is_empty() {
            let held = fs::read_link(server.path(path)).unwrap();
            assert_eq!(held.to_str(), Some(&*format!("{path} {replace}")));
        }
    }
    assert_eq!(fs::read_dir(server.path("")).unwrap().count(), names + 2, "no partial link is left");
    assert_eq!(server.read("a/2"), b"a/2", "what a replaced link led to is as it was");
}

#[test]
fn a_file_gets_another_name_in_place_of_what_has_it_and_leaves_nothing_beside_it() {
    for sync in [false, true] {
        let server = TestServer::with(|setup| setup.sync = sync);
        fs::create_dir(server.path("d")).unwrap();
        for file in ["a", "d/b", "d/c"] {
            server.write(file, file);
        }
        symlink("c", server.path("d/link")).unwrap();
        let odd = json!({"b64": "Y2Fm6Q=="});
        let mut raw = server.greeted();
        let inode =
            |name: &[u8]| fs::symlink_metadata(server.path(std::ffi::OsStr::from_bytes(name))).unwrap().ino();
        for (to, name) in [
            (json!("d/new"), &b"d/new"[..]),
            (json!("d/b"), b"d/b"),
            (json!("d/link"), b"d/link"),
            (odd, b"caf\xe9"),
        ] {
            let request = json!({"id": 1, "cmd": "link", "from": "a", "to": to, "size": 1});
            assert_eq!(raw.ask(&request)["ok"], true, "{request}");
            assert_eq!(inode(name), inode(b"a"));
            assert_eq!(raw.ask(&request)["ok"], true, "they are the same already");
        }
        assert_eq!(server.read("d/c"), b"d/c", "what a replaced link led to is as it was");
        assert_eq!(fs::metadata(server.path("a")).unwrap().nlink(), 5);
        assert_eq!(server.tree().len(), 7, "no partial name is left");
        // What is put under one of the names takes that one alone.
        raw.send(&small(2, "d/b"));
        assert_eq!(raw.receive()["ok"], true);
        assert_eq!((server.read("a"), server.read("d/b")), (b"a".to_vec(), b"d/b".to_vec()));
    }
}

#[test]
fn another_name_needs_the_right_to_write_under_both() {
    let server = with_rights(&Rights::ALL, Some(&Rights::READ));
    server.write("public/file", "public");
    let before = server.tree();
    let mut raw = server.greeted();
    for (from, to) in [("private/file", "public/new"), ("public/file", "private/new")] {
        let reply = raw.ask(&json!({"id": 1, "cmd": "link", "from": from, "to": to}));
        assert_eq!(code(&reply), "forbidden", "{from}");
    }
    assert_eq!(server.tree(), before);
    let within = json!({"id": 1, "cmd": "link", "from": "public/file", "to": "public/new"});
    assert_eq!(raw.ask(&within)["ok"], true);
}

#[test]
fn other_names_wait_for_the_files_that_they_are_of() {
    let link =
        |id: u64, from: &str, to: &str| frame(&json!({"id": id, "cmd": "link", "from": from, "to": to}));
    let mut cases = Vec::new();
    for id in (0..200).step_by(4) {
        cases.push((small(id, &format!("file {id}")), ""));
        cases.push((link(id + 1, &format!("file {id}"), &format!("alias/{id}")), ""));
        cases.push((link(id + 2, &format!("alias/{id}"), &format!("file {id}")), ""));
        cases.push((link(id + 3, "missing", "x"), "not-found"));
    }
    check_pipelined(&cases);
}

#[test]
fn a_link_holds_any_bytes_that_a_link_can_hold() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    let long = "x".repeat(4095);
    for (target, held) in [
        (json!("/etc/passwd"), &b"/etc/passwd"[..]),
        (json!("../../.."), b"../../.."),
        (json!("a//b/./"), b"a//b/./"),
        (json!("\u{1b}[2J\n\\"), b"\x1b[2J\n\\"),
        (json!({"b64": "/w=="}), b"\xff"),
        (json!(long), long.as_bytes()),
    ] {
        assert_eq!(make_link(&mut raw, "link", target.clone(), "always"), "", "{target}");
        assert_eq!(fs::read_link(server.path("link")).unwrap().as_os_str().as_bytes(), held);
        let told = raw.ask(&json!({"id": 2, "cmd": "stat", "path": "link"}));
        assert_eq!(told["entry"]["target"], target);
    }
    let before = server.tree();
    for (target, expected) in [
        (json!(""), "bad-path"),
        (json!("a\0b"), "bad-path"),
        (json!("x".repeat(4096)), "bad-path"),
        (json!("x".repeat(4097)), "malformed"),
        (json!(7), "malformed"),
    ] {
        assert_eq!(make_link(&mut raw, "link", target, "always"), expected);
    }
    assert_eq!(server.tree(), before);
}

#[test]
fn what_a_made_link_leads_to_outside_is_neither_read_nor_written() {
    let server = TestServer::start();
    fs::write(server.path("../secret"), "secret").unwrap();
    let mut raw = server.greeted();
    for (name, target) in [("out", "../secret"), ("up", ".."), ("etc", "/etc")] {
        assert_eq!(make_link(&mut raw, name, json!(target), "never"), "");
    }
    for request in [
        json!({"cmd": "get", "path": "out", "digest": "md5"}),
        json!({"cmd": "get", "path": "up/secret", "digest": "md5"}),
        json!({"cmd": "hash", "path": "etc/passwd", "digest": "md5"}),
        json!({"cmd": "ls", "path": "etc", "digest": "md5"}),
        json!({"cmd": "tree", "path": "up", "digest": "md5", "limit": 9, "follow": true}),
        json!({"cmd": "symlink", "path": "up/new", "target": "x"}),
        json!({"cmd": "set", "path": "up/secret", "mode": "777"}),
        json!({"cmd": "mkdir", "path": "up/new"}),
    ] {
        let mut request = request;
        request["id"] = json!(1);
        assert_eq!(code(&raw.ask(&request)), "permission-denied", "{request}");
    }
    let put = json!({"id": 1, "cmd": "put", "body": true, "path": "out", "digest": "md5"});
    raw.send(&[frame(&put), body(b"mine")].concat());
    assert_eq!(raw.receive()["ok"], true, "the link itself is replaced");
    assert_eq!(fs::read(server.path("../secret")).unwrap(), b"secret");
}

#[test]
fn times_and_bits_are_set_of_files_and_directories_each_for_itself() {
    let server = furnished();
    let mut raw = server.greeted();
    for path in ["z", "a", "."] {
        let look = || {
            let found = server.path(path).metadata().unwrap();
            (found.mtime(), found.mtime_nsec(), found.mode() & 0o7777)
        };
        let mut set = |fields: Value| {
            let mut request = json!({"id": 1, "cmd": "set", "path": path});
            request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            assert_eq!(raw.ask(&request)["ok"], true, "{request}");
        };
        set(json!({"mtime": [-7, 500], "mode": "750"}));
        assert_eq!(look(), (-7, 500, 0o750), "{path}");
        set(json!({"mtime": [7, 0]}));
        assert_eq!(look(), (7, 0, 0o750), "{path}");
        set(json!({"mode": "7705"}));
        assert_eq!(look(), (7, 0, 0o705), "{path}: bits that give rights are dropped");
        set(json!({}));
        assert_eq!(look(), (7, 0, 0o705), "{path}");
    }
}

#[test]
fn set_leaves_links_and_special_files_alone() {
    let server = furnished();
    mknodat(CWD, server.path("fifo"), FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(server.path("socket")).unwrap();
    symlink("z", server.path("to-z")).unwrap();
    symlink("gone", server.path("dangling")).unwrap();
    let (before, a) = (server.tree(), server.path("a").metadata().unwrap().mtime());
    let mut raw = server.greeted();
    for path in ["fifo", "socket", "to-z", "dangling", "link"] {
        let reply = raw.ask(&json!({"id": 1, "cmd": "set", "path": path, "mtime": [7, 0], "mode": "700"}));
        assert_eq!(code(&reply), "not-regular", "{path}");
    }
    assert_eq!(server.tree(), before);
    assert_eq!(server.path("a").metadata().unwrap().mtime(), a);
    // The last name alone is not followed: `link` leads to `a`.
    assert_eq!(raw.ask(&json!({"id": 1, "cmd": "set", "path": "link/2", "mode": "600"}))["ok"], true);
}

/// A put that may wait for others.
fn small(id: u64, path: &str) -> Vec<u8> {
    let mut header = put_header(id, path);
    header["size"] = json!(path.len());
    [frame(&header), body(path.as_bytes())].concat()
}

fn mkdir(id: u64, path: &str, parents: bool) -> Vec<u8> {
    frame(&json!({"id": id, "cmd": "mkdir", "path": path, "parents": parents}))
}

/// Sends `(request, expected)` in one go to a server, and one by one to another: both say what is expected, in order, and
/// have the same in the end.
#[track_caller]
fn check_pipelined(cases: &[(Vec<u8>, &str)]) {
    let outcome = |together: bool| {
        let mut server = TestServer::with(|setup| setup.sync = true);
        fs::create_dir(server.path("here")).unwrap();
        symlink("here", server.path("alias")).unwrap();
        let mut raw = server.greeted();
        if together {
            raw.send(&cases.iter().flat_map(|(request, _)| request.clone()).collect::<Vec<_>>());
        }
        for (id, (request, expected)) in (0..).zip(cases) {
            if !together {
                raw.send(request);
            }
            let reply = raw.receive();
            assert_eq!(reply["id"], id, "{reply}");
            let said = if reply["ok"] == true { "" } else { code(&reply) };
            assert_eq!(said, *expected, "{id}, together: {together}");
        }
        drop(raw);
        server.tree_at_the_end().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(outcome(true), outcome(false));
}

#[test]
fn directories_and_the_small_files_in_them_are_answered_in_their_order() {
    let mut cases = Vec::new();
    for id in (0..200).step_by(4) {
        cases.push((mkdir(id, &format!("dir {id}"), false), ""));
        cases.push((small(id + 1, &format!("dir {id}/file")), ""));
        cases.push((mkdir(id + 2, &format!("dir {id}/deep/er"), true), ""));
        cases.push((small(id + 3, &format!("dir {id}/deep/er/file")), ""));
    }
    check_pipelined(&cases);
}

#[test]
fn a_directory_that_cannot_be_is_refused_among_files_as_it_is_alone() {
    check_pipelined(&[
        (small(0, "file"), ""),
        (mkdir(1, "file", false), "exists"),
        (small(2, "two"), ""),
        (mkdir(3, "file/below", true), "not-directory"),
        (mkdir(4, "dir", false), ""),
        (small(5, "dir"), "is-directory"),
        (small(6, "dir/file"), ""),
        (mkdir(7, "missing/dir", false), "not-found"),
        (small(8, "missing/file"), "not-found"),
        (mkdir(9, "../out", true), "bad-path"),
        (mkdir(10, "dir", false), "exists"),
        (mkdir(11, "dir", true), ""),
        (small(12, "last"), ""),
    ]);
}

#[test]
fn a_directory_does_not_overtake_a_file_that_has_its_name_by_another_path() {
    check_pipelined(&[
        (small(0, "here/name"), ""),
        (mkdir(1, "alias/name", false), "exists"),
        (small(2, "alias/other"), ""),
        (mkdir(3, "here/other/below", true), "not-directory"),
    ]);
}

#[test]
fn other_commands_see_what_the_files_and_directories_before_them_have_made() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    let link = json!({"id": 2, "cmd": "symlink", "path": "d/link", "target": "file"});
    let listed = json!({"id": 4, "cmd": "tree", "path": ".", "digest": "md5", "limit": 9});
    let set = json!({"id": 3, "cmd": "set", "path": "d", "mtime": [7, 0]});
    raw.send(&[mkdir(0, "d", false), small(1, "d/file"), frame(&link), frame(&set), frame(&listed)].concat());
    for id in 0..5 {
        let reply = raw.receive();
        assert_eq!((&reply["id"], &reply["ok"]), (&json!(id), &json!(true)), "{reply}");
    }
    let told = String::from_utf8(raw.body(Algorithm::Md5).unwrap()).unwrap();
    assert_eq!(told.lines().count(), 4, "{told}");
    assert_eq!(server.path("d").metadata().unwrap().mtime(), 7);
}

#[test]
fn a_read_only_server_tells_trees_and_makes_nothing() {
    let server = TestServer::with(|setup| setup.policy = Policy::read_only());
    server.write("file", "");
    let before = server.tree();
    let mut raw = server.greeted();
    assert_eq!(make_link(&mut raw, "link", json!("x"), "always"), "forbidden");
    let set = raw.ask(&json!({"id": 1, "cmd": "set", "path": "file", "mode": "777"}));
    assert_eq!(code(&set), "forbidden");
    assert_eq!(tree(&mut raw, json!({})), ["./", "file"]);
    assert_eq!(server.tree(), before);
}
