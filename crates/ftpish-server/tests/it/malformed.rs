//! Bytes that are no requests: each gets its code or a clean close, nothing on the disk changes, and the next client is
//! served.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Listen, TestServer};
use crate::raw::{code, frame, framed, hello, put};

/// A file under `fixtures/wire/malformed`: who sends it, what it causes, and its bytes.
struct Fixture {
    name: String,
    from_client: bool,
    expect: String,
    bytes: Vec<u8>,
}

fn fixtures() -> Vec<Fixture> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/wire/malformed");
    let fixture = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let said = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix).map(str::to_owned));
        let hex = text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| {
            let hex = line.split_once("  ").map_or(line, |(hex, _)| hex);
            hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap())
        });
        Fixture {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            from_client: text.starts_with("# client: "),
            expect: said("# expect: ").unwrap(),
            bytes: hex.collect(),
        }
    };
    fs::read_dir(folder).unwrap().map(|file| fixture(file.unwrap().path())).collect()
}

/// A server with something to lose.
fn furnished(listen: Listen) -> TestServer {
    let server = TestServer::with(|setup| setup.listen = listen);
    fs::create_dir_all(server.path("docs/old")).unwrap();
    for name in ["a", "b", "new.txt", "docs/a.txt", "docs/b.txt"] {
        server.write(name, "precious");
    }
    server
}

/// Sends `bytes` behind `hello`, and a good request behind them; gives the replies between those two, and whether
/// the good one was answered. Whatever it was, nothing has changed, and the next client is served.
#[track_caller]
fn send(server: &TestServer, bytes: &[u8]) -> (Vec<Value>, bool) {
    let before = server.tree();
    let mut raw = server.raw();
    let good = json!({"id": 4_000_000, "cmd": "df", "path": "."});
    raw.send(&[&frame(&hello()), bytes, &frame(&good)].concat());
    let mut replies = raw.finish();
    // The server closed: its session, and what it may have begun, are over.
    assert_eq!(server.tree(), before);
    assert_eq!(replies.remove(0)["ok"], true);
    let good = replies.pop_if(|last| last["id"] == good["id"]).is_some();
    server.greeted();
    (replies, good)
}

/// The bytes are answered with this one code, and the connection goes on.
#[track_caller]
fn refused(server: &TestServer, bytes: &[u8], expected: &str) {
    let (replies, good) = send(server, bytes);
    let codes: Vec<_> = replies.iter().map(|reply| (code(reply), reply["id"].is_u64())).collect();
    assert_eq!((&codes[..], good), (&[(expected, true)][..], true), "{}", bytes.escape_ascii());
}

/// The bytes are answered with this one code that belongs to no request, and the connection ends.
#[track_caller]
fn closed(server: &TestServer, bytes: &[u8], expected: &str) {
    let (replies, good) = send(server, bytes);
    let codes: Vec<_> = replies.iter().map(|reply| (code(reply), reply["id"].is_null())).collect();
    assert_eq!((&codes[..], good), (&[(expected, true)][..], false), "{}", bytes.escape_ascii());
}

#[test]
fn every_malformed_fixture_causes_what_it_says() {
    for listen in [Listen::Unix, Listen::Ipv4] {
        let server = furnished(listen);
        let mut count = 0;
        for Fixture { name, expect, bytes, .. } in fixtures().into_iter().filter(|f| f.from_client) {
            match expect.split_once(' ') {
                Some(("refuses", code)) => refused(&server, &bytes, code),
                Some(("closes", code)) => closed(&server, &bytes, code),
                _ => {
                    assert_eq!(expect, "lost", "{name}");
                    let before = server.tree();
                    let mut raw = server.raw();
                    raw.send(&[frame(&hello()), bytes].concat());
                    assert_eq!(raw.finish().len(), 1, "{name}: the reply to hello, and a clean close");
                    assert_eq!(server.tree(), before, "{name}");
                }
            }
            count += 1;
        }
        assert!(count > 50, "{count} fixtures");
    }
}

#[test]
fn malformed_fixtures_before_hello_change_nothing_either() {
    let server = furnished(Listen::Unix);
    let before = server.tree();
    for Fixture { name, bytes, .. } in fixtures() {
        let mut raw = server.raw();
        raw.send(&bytes);
        for reply in raw.finish() {
            assert!(reply["error"].is_object(), "{name}: {reply}");
        }
        assert_eq!(server.tree(), before, "{name}");
    }
    server.greeted();
}

#[test]
fn a_request_cut_anywhere_ends_without_a_word_and_without_effect() {
    let server = furnished(Listen::Unix);
    let before = server.tree();
    let requests = [
        json!({"id": 1, "cmd": "rm", "path": "docs", "recursive": true}),
        json!({"id": 2, "cmd": "mv", "from": "a", "to": "b"}),
    ];
    for bytes in requests.map(|request| frame(&request)) {
        for cut in 0..bytes.len() {
            let mut raw = server.raw();
            raw.send(&[&frame(&hello()), &bytes[..cut]].concat());
            assert_eq!(raw.finish().len(), 1, "cut at {cut}");
        }
    }
    assert_eq!(server.tree(), before);
}

#[test]
fn a_message_may_be_as_long_as_the_cap_and_not_a_byte_longer() {
    let server = furnished(Listen::Unix);
    let padded = |length: usize| {
        let json = r#"{"id":5,"cmd":"stat","path":"missing","padding":""}"#;
        let padding = "x".repeat(length - json.len());
        framed(json.replace(r#":""}"#, &format!(r#":"{padding}"}}"#)).as_bytes())
    };
    refused(&server, &padded(65536), "not-found");
    closed(&server, &padded(65537), "too-large");
    closed(&server, &[0xff; 64], "too-large");
}

#[test]
fn a_refused_puts_body_that_breaks_the_rules_is_told_before_the_close() {
    let server = furnished(Listen::Unix);
    let request = json!({"id": 6, "cmd": "put", "body": true, "path": "docs", "digest": "md5"});
    for (body, expected) in [
        ([0, 0x10, 0, 1].to_vec(), "too-large"),
        ([&[0; 4], &framed(b"no json")[..]].concat(), "malformed"),
        ([&[0xff; 4], &framed(b"{}")[..]].concat(), "malformed"),
    ] {
        let (replies, good) = send(&server, &[frame(&request), body].concat());
        let codes: Vec<_> = replies.iter().map(|reply| (code(reply), reply["id"].as_u64())).collect();
        assert_eq!(codes, [("is-directory", Some(6)), (expected, None)]);
        assert!(!good);
    }
}

#[test]
fn fields_of_the_wrong_type_are_malformed() {
    let server = furnished(Listen::Unix);
    for request in [
        r#"{"id":1,"cmd":"rm","path":["a"]}"#,
        r#"{"id":1,"cmd":"rm","path":true}"#,
        r#"{"id":1,"cmd":"rm","path":null}"#,
        r#"{"id":1,"cmd":"rm","path":"a","recursive":"yes"}"#,
        r#"{"id":1,"cmd":"rm","path":"a","recursive":1}"#,
        r#"{"id":1,"cmd":"mkdir","path":"n","parents":null}"#,
        r#"{"id":1,"cmd":"tree","path":"a","digest":"md5"}"#,
        r#"{"id":1,"cmd":"tree","path":"a","digest":"md5","limit":1,"follow":"yes"}"#,
        r#"{"id":1,"cmd":"tree","path":"a","digest":"md5","limit":1,"after":7}"#,
        r#"{"id":1,"cmd":"symlink","path":"n"}"#,
        r#"{"id":1,"cmd":"symlink","path":"n","target":["a"]}"#,
        r#"{"id":1,"cmd":"symlink","path":"n","target":"a","replace":true}"#,
        r#"{"id":1,"cmd":"set","mode":"600"}"#,
        r#"{"id":1,"cmd":"set","path":"a","mode":600}"#,
        r#"{"id":1,"cmd":"mv","from":"a"}"#,
        r#"{"id":1,"cmd":"mv","from":"a","to":{}}"#,
        r#"{"id":1,"cmd":"mv","from":"a","to":{"b64":7}}"#,
        r#"{"id":1,"cmd":"mv","from":"a","to":"n","replace":"perhaps"}"#,
        r#"{"id":1,"cmd":"mv","from":"a","to":"n","to":"m"}"#,
        r#"{"id":1,"cmd":"get","path":"a","digest":7}"#,
        r#"{"id":1,"cmd":"get","path":"a","digest":"md5","length":"7"}"#,
        r#"{"id":1,"cmd":"hash","path":"a"}"#,
        r#"{"id":1,"cmd":["rm"],"path":"a"}"#,
        r#"{"id":1,"cmd":{"rm":1},"path":"a"}"#,
        r#"{"id":1,"cmd":null,"path":"a"}"#,
        r#"{"id":1,"path":"a"}"#,
        r#"{"id":1,"cmd":"put","path":"a","digest":"md5"}"#,
        r#"{"id":1,"cmd":"put","path":"a","digest":"md5","body":false}"#,
    ] {
        refused(&server, &framed(request.as_bytes()), "malformed");
    }
    for unknown in ["RM", "rm ", "", "teleport", "unknown", "Unknown"] {
        let request = json!({"id": 1, "cmd": unknown, "path": "a"});
        refused(&server, &frame(&request), "unsupported");
    }
}

#[test]
fn paths_that_are_not_canonical_are_bad_paths_for_every_command() {
    let server = furnished(Listen::Unix);
    let long_name = "n".repeat(256);
    let long_path = format!("{}n", "n/".repeat(2048));
    let bad: [Value; 15] = [
        json!(""),
        json!(".."),
        json!("../a"),
        json!("docs/../a"),
        json!("docs/.."),
        json!("/etc/passwd"),
        json!("/"),
        json!("./a"),
        json!("docs/./a.txt"),
        json!("docs//a.txt"),
        json!("docs/"),
        json!("a\0b"),
        json!(long_name),
        json!(long_path),
        json!({"b64": "Li4="}),
    ];
    for path in bad {
        for request in [
            json!({"id": 1, "cmd": "ls", "path": path, "digest": "md5"}),
            json!({"id": 1, "cmd": "tree", "path": path, "digest": "md5", "limit": 1}),
            json!({"id": 1, "cmd": "tree", "path": ".", "digest": "md5", "limit": 1, "after": path}),
            json!({"id": 1, "cmd": "symlink", "path": path, "target": "a"}),
            json!({"id": 1, "cmd": "set", "path": path, "mode": "600"}),
            json!({"id": 1, "cmd": "stat", "path": path}),
            json!({"id": 1, "cmd": "get", "path": path, "digest": "md5"}),
            json!({"id": 1, "cmd": "mkdir", "path": path, "parents": true}),
            json!({"id": 1, "cmd": "rm", "path": path, "recursive": true}),
            json!({"id": 1, "cmd": "mv", "from": "a", "to": path}),
            json!({"id": 1, "cmd": "mv", "from": path, "to": "n"}),
            json!({"id": 1, "cmd": "hash", "path": path, "digest": "md5"}),
            json!({"id": 1, "cmd": "df", "path": path}),
        ] {
            refused(&server, &frame(&request), "bad-path");
        }
        let mut request = put(1, "PATH", b"content");
        let header = json!({"id": 1, "cmd": "put", "body": true, "path": path, "digest": "md5"});
        request.splice(..frame(&crate::raw::put_header(1, "PATH")).len(), frame(&header));
        refused(&server, &request, "bad-path");
    }
}

#[test]
fn a_path_may_be_as_long_as_its_limits() {
    let server = furnished(Listen::Unix);
    let longest = format!("{}nn", "n/".repeat(2047));
    assert_eq!(longest.len(), 4096);
    for path in ["n".repeat(255), format!("{}/x", "n".repeat(255))] {
        refused(&server, &frame(&json!({"id": 1, "cmd": "stat", "path": path})), "not-found");
    }
    // What the document allows and the system does not: Linux counts the NUL behind a path.
    let (replies, good) = send(&server, &frame(&json!({"id": 1, "cmd": "stat", "path": longest})));
    assert!(["not-found", "bad-path"].contains(&code(&replies[0])) && good, "{replies:?}");
}

#[test]
fn nothing_goes_before_hello_and_only_this_version_is_spoken() {
    let server = furnished(Listen::Unix);
    let mut raw = server.raw();
    assert_eq!(code(&raw.ask(&json!({"id": 1, "cmd": "rm", "path": "a"}))), "hello-first");
    raw.send(&put(2, "a", b"content"));
    assert_eq!(code(&raw.receive()), "hello-first");
    assert_eq!(code(&raw.ask(&json!({"id": 3, "cmd": "hello", "version": 2}))), "unsupported");
    assert_eq!(code(&raw.ask(&json!({"id": 4, "cmd": "hello", "version": "1"}))), "malformed");
    assert_eq!(code(&raw.ask(&json!({"id": 5, "cmd": "rm", "path": "a"}))), "hello-first");
    assert_eq!(
        raw.ask(&json!({"id": 6, "cmd": "hello", "version": 1, "agent": "\u{1b}[2J", "future": {}}))["ok"],
        true
    );
    assert_eq!(raw.ask(&json!({"id": 7, "cmd": "hello", "version": 1}))["ok"], true, "again is no harm");
    assert_eq!(raw.ask(&json!({"id": 8, "cmd": "rm", "path": "a"}))["ok"], true);
}

#[test]
fn a_body_behind_any_other_request_is_read_and_ignored() {
    let server = furnished(Listen::Unix);
    let body = crate::raw::body(b"\0\0\0\x0f{\"a\":\"request\"}");
    let mut raw = server.greeted();
    for request in [
        json!({"id": 1, "body": true, "cmd": "stat", "path": "a"}),
        json!({"id": 2, "body": true, "cmd": "ls", "path": ".", "digest": "md5"}),
        json!({"id": 3, "body": true, "cmd": "get", "path": "a", "digest": "md5"}),
        json!({"id": 4, "body": true, "cmd": "hello", "version": 1}),
        json!({"id": 5, "body": true, "cmd": "teleport"}),
    ] {
        raw.send(&[frame(&request), body.clone()].concat());
        let reply = raw.receive();
        assert_eq!(reply["id"], request["id"]);
        if reply["body"] == true {
            raw.body(ftpish_protocol::Algorithm::Md5).unwrap();
        }
    }
    assert_eq!(raw.ask(&json!({"id": 6, "cmd": "df", "path": "."}))["ok"], true);
}
