//! Rights that differ from place to place hold for where a file is, whatever links lead to it.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use ftpish_protocol::Secret;
use ftpish_server::{Accounts, Right, Rights, User, Users, hash};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::harness::TestServer;
use crate::raw::{Raw, body, frame};

/// Larger than a block, so that `blocks` and `resume` have something to tell.
const SIZE: usize = (1 << 20) + 7;

const SECRET: u8 = b'!';

/// A server whose one user may do this everywhere, and that in `incoming`.
fn server(everywhere: &[Right], incoming: &[Right]) -> TestServer {
    let mut users = Users::default();
    let mut user = User::new(hash(&Secret::new("letters".to_owned())).unwrap());
    user.rights = Some(everywhere.to_vec());
    user.paths.insert("/incoming".to_owned(), incoming.to_vec());
    users.add("user", user);
    with_links(TestServer::with(|setup| setup.accounts = Some(Accounts::new(users, None))))
}

/// Puts directories, files and links there.
fn with_links(server: TestServer) -> TestServer {
    for dir in ["incoming/sub", "dir", "open/sub"] {
        fs::create_dir_all(server.path(dir)).unwrap();
    }
    for (dir, content) in [("incoming", SECRET), ("open", b'o')] {
        fs::write(server.path(dir).join("large"), vec![content; SIZE]).unwrap();
        fs::write(server.path(dir).join("small"), vec![content; 7]).unwrap();
        fs::write(server.path(dir).join("sub/file"), vec![content; 7]).unwrap();
    }
    for (target, link) in [
        ("incoming", "link"),
        ("../incoming", "dir/link"),
        ("dir/link", "chain"),
        ("incoming/large", "large"),
        ("../open", "dir/open"),
    ] {
        symlink(target, server.path(link)).unwrap();
    }
    server
}

/// What logs the user in for less than a password.
fn ticket(server: &TestServer) -> Value {
    let login = json!({"id": 1, "cmd": "login", "user": "user", "password": "letters"});
    server.greeted().ask(&login)["ticket"].clone()
}

fn logged_in(server: &TestServer, ticket: &Value) -> Raw {
    let mut raw = server.greeted();
    let login = json!({"id": 1, "cmd": "login", "user": "user", "ticket": ticket});
    assert_eq!(raw.ask(&login)["ok"], true);
    raw
}

/// All that is asked of what is in `dir`, by every command that has a path.
fn requests(dir: &str) -> Vec<Value> {
    let at = |name: &str| format!("{dir}/{name}");
    let path = |cmd: &str, name: &str| json!({"cmd": cmd, "path": at(name), "digest": "blake3"});
    let tree = |name: &str, hash: Option<&str>| {
        let mut tree =
            json!({"cmd": "tree", "path": at(name), "digest": "blake3", "limit": 99, "follow": true});
        if let Some(hash) = hash {
            tree["hash"] = json!(hash);
        }
        tree
    };
    let link = |from: &str, to: &str| json!({"cmd": "link", "from": from, "to": to});
    let mv = |from: &str, to: &str| json!({"cmd": "mv", "from": from, "to": to});
    let put = |name: &str| json!({"cmd": "put", "body": true, "path": at(name), "digest": "md5"});
    vec![
        path("ls", "sub"),
        tree("sub", None),
        tree("sub", Some("md5")),
        path("stat", "small"),
        path("df", "sub"),
        path("get", "large"),
        path("hash", "small"),
        path("blocks", "large"),
        json!({"cmd": "resume", "path": at("large"), "size": SIZE, "mtime": [0, 0]}),
        put("new"),
        json!({"cmd": "put", "body": true, "path": at("small"), "digest": "md5", "backup": at("kept/small")}),
        json!({"cmd": "put", "body": true, "path": "open/small", "digest": "md5", "backup": at("from-open")}),
        json!({"cmd": "put", "body": true, "path": at("small"), "digest": "md5", "expect": format!("md5:{}", "0".repeat(32))}),
        json!({"cmd": "mkdir", "path": at("made")}),
        json!({"cmd": "mkdir", "path": at("deep/er"), "parents": true}),
        json!({"cmd": "symlink", "path": at("linked"), "target": "/nowhere"}),
        json!({"cmd": "set", "path": at("large"), "mtime": [1, 0], "mode": "640"}),
        link(&at("large"), &at("second")),
        link("open/small", &at("third")),
        link(&at("small"), "open/fourth"),
        mv(&at("small"), &at("moved")),
        mv("open/large", &at("came")),
        mv(&at("sub"), "open/went"),
        json!({"cmd": "rm", "path": at("small"), "backup": "open/kept"}),
        json!({"cmd": "rm", "path": at("small")}),
        json!({"cmd": "rm", "path": at("sub"), "recursive": true}),
    ]
}

/// What becomes of all requests, asked one after the other: granted, or the code.
fn outcomes(server: &TestServer, ticket: &Value, dir: &str) -> Vec<String> {
    let mut outcomes = Vec::new();
    for mut request in requests(dir) {
        let mut raw = logged_in(server, ticket);
        request["id"] = json!(2);
        let mut bytes = frame(&request);
        if request["body"] == true {
            bytes.extend(body(b"content"));
        }
        raw.send(&bytes);
        let reply = raw.receive();
        let code = reply["error"]["code"].as_str().unwrap_or("ok");
        outcomes.push(format!("{} {code}", request["cmd"].as_str().unwrap()));
    }
    outcomes
}

#[test]
fn every_command_is_permitted_or_not_whatever_links_lead_to_the_file() {
    let (read, write) = (Rights::READ, [Right::Write]);
    for (everywhere, incoming) in [
        (&read[..], &write[..]),
        (&Rights::ALL[..], &write[..]),
        (&Rights::ALL[..], &read[..]),
        (&write[..], &Rights::ALL[..]),
        (&read[..], &[][..]),
    ] {
        let outcomes = |dir: &str| {
            let server = server(everywhere, incoming);
            outcomes(&server, &ticket(&server), dir)
        };
        let direct = outcomes("incoming");
        assert!(direct.iter().any(|outcome| outcome.ends_with("forbidden")), "{direct:?}");
        for through in ["link", "dir/link", "chain"] {
            assert_eq!(outcomes(through), direct, "{through}: {everywhere:?}, {incoming:?}");
        }
    }
}

#[test]
fn what_a_link_leads_to_is_read_where_that_may_be_read_and_nowhere_else() {
    let server = server(&Rights::READ, &[Right::Write]);
    let mut raw = logged_in(&server, &ticket(&server));
    let mut code = |cmd: &str, path: &str| {
        let request = json!({"id": 2, "cmd": cmd, "path": path, "digest": "md5"});
        raw.ask(&request)["error"]["code"].as_str().unwrap_or("ok").to_owned()
    };
    assert_eq!(code("hash", "dir/open/small"), "ok", "a link to where it may read");
    assert_eq!(code("hash", "dir/link/small"), "forbidden");
    assert_eq!(code("hash", "large"), "forbidden", "a link to a file");
    assert_eq!(code("stat", "large"), "ok", "the link itself is here");
    assert_eq!(code("stat", "dir/link/small"), "forbidden");
    assert_eq!(code("hash", "open/../incoming/small"), "bad-path");
}

#[test]
fn a_tree_that_is_followed_tells_nothing_of_where_its_links_lead() {
    let server = server(&Rights::READ, &[]);
    // Not all of the tree is the user's to list.
    let mut raw = logged_in(&server, &ticket(&server));
    let tree = |id: u64, path: &str| json!({"id": id, "cmd": "tree", "path": path, "digest": "md5", "limit": 99, "follow": true});
    assert_eq!(raw.ask(&tree(2, "."))["error"]["code"], "forbidden");
    assert_eq!(raw.ask(&tree(3, "dir"))["ok"], true);
    let told = String::from_utf8(raw.body(ftpish_protocol::Algorithm::Md5).unwrap()).unwrap();
    let nodes: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(nodes.len(), 3, "{told}");
    assert!(
        nodes[1..].iter().all(|node| node["kind"] == "link" && node["error"]["code"] == "forbidden"),
        "{told}"
    );
}

#[test]
fn strangers_rights_hold_whatever_links_lead_to_the_file() {
    let below = vec![("incoming".parse().unwrap(), vec![])];
    let accounts = Accounts::new(Users::default(), Some(Rights::new(&Rights::READ, below)));
    let server = with_links(TestServer::with(|setup| setup.accounts = Some(accounts)));
    let mut raw = server.greeted();
    for (path, code) in [("dir/open/small", "ok"), ("dir/link/small", "forbidden"), ("large", "forbidden")] {
        let reply = raw.ask(&json!({"id": 2, "cmd": "hash", "path": path, "digest": "md5"}));
        assert_eq!(reply["error"]["code"].as_str().unwrap_or("ok"), code, "{path}");
    }
    let tree = json!({"id": 3, "cmd": "tree", "path": "dir", "digest": "md5", "hash": "md5", "limit": 99, "follow": true});
    assert_eq!(raw.ask(&tree)["ok"], true);
    let told = String::from_utf8(raw.body(ftpish_protocol::Algorithm::Md5).unwrap()).unwrap();
    assert!(told.contains("forbidden") && !told.contains("md5:"), "{told}");
}

/// What a user may not read is not told by a condition either.
#[test]
fn a_condition_on_the_content_needs_the_right_to_read_it() {
    let server = server(&Rights::ALL, &[Right::Write]);
    let mut raw = logged_in(&server, &ticket(&server));
    let mut put = |path: &str| {
        let expect = ftpish_protocol::Algorithm::Md5.digest(b"other").to_string();
        let put =
            json!({"id": 2, "cmd": "put", "body": true, "path": path, "digest": "md5", "expect": expect});
        raw.send(&[frame(&put), body(b"content")].concat());
        let reply = raw.receive();
        (reply["error"]["code"].as_str().unwrap().to_owned(), reply["error"]["message"].to_string())
    };
    assert_eq!(put("open/small").0, "changed");
    assert_eq!(put("incoming/small").0, "forbidden");
    let (code, message) = put("large");
    assert_eq!(code, "not-regular");
    assert!(message.contains("is a link"), "{message}");
}

/// Somebody swaps a directory for a link to the forbidden one, while every command is asked.
#[test]
fn no_race_with_a_link_lets_anybody_read_or_change_what_is_forbidden() {
    let server = server(&Rights::ALL, &[]);
    symlink("incoming", server.path("swapped")).unwrap();
    let (own, link) = (server.path("own"), server.path("swapped"));
    fs::create_dir_all(own.join("sub")).unwrap();
    for name in ["large", "small", "sub/file"] {
        fs::write(own.join(name), vec![b'o'; SIZE]).unwrap();
    }
    let before = fs::read_dir(server.path("incoming")).unwrap().count();
    let (stop, ticket) = (AtomicBool::new(false), ticket(&server));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, &own, CWD, &link, RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..20 {
            outcomes(&server, &ticket, "own");
            let mut raw = logged_in(&server, &ticket);
            for id in 2..40 {
                let get =
                    json!({"id": id, "cmd": "get", "path": "own/large", "digest": "blake3", "length": 9});
                if raw.ask(&get)["ok"] == true {
                    let told = raw.body(ftpish_protocol::Algorithm::Blake3).unwrap();
                    assert!(!told.contains(&SECRET), "the forbidden content");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(server.path("incoming")).unwrap().count(), before);
    assert_eq!(fs::read(server.path("incoming/small")).unwrap(), [SECRET; 7]);
    assert!(fs::read(server.path("incoming/large")).unwrap() == vec![SECRET; SIZE]);
}
