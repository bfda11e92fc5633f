//! What other servers learned the hard way, and what no earlier test here shows.

use std::fs;

use serde_json::{Value, json};

use crate::harness::TestServer;
use crate::raw::{Raw, body, code, frame, framed};

/// Numbers at and beyond the boundaries of every type, and what is none.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "2147483648",
    "9007199254740992",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "-1e400",
    "0.5",
    "\"0\"",
    "null",
];

/// Every request with a numeric field, `NUMBER` in one of them.
const REQUESTS: [&str; 18] = [
    r#"{"id":NUMBER,"cmd":"df","path":"."}"#,
    r#"{"id":1,"cmd":"hello","version":NUMBER}"#,
    r#"{"id":1,"cmd":"get","path":"a","digest":"md5","offset":NUMBER}"#,
    r#"{"id":1,"cmd":"get","path":"a","digest":"md5","length":NUMBER}"#,
    r#"{"id":1,"cmd":"get","path":"a","digest":"md5","offset":NUMBER,"length":NUMBER}"#,
    r#"{"id":1,"cmd":"put","body":true,"path":"n","digest":"md5","size":NUMBER}"#,
    r#"{"id":1,"cmd":"put","body":true,"path":"n","digest":"md5","mtime":[NUMBER,0]}"#,
    r#"{"id":1,"cmd":"put","body":true,"path":"n","digest":"md5","mtime":[0,NUMBER]}"#,
    r#"{"id":1,"cmd":"put","body":true,"path":"n","digest":"md5","size":2097152,"ranges":[[NUMBER,1]]}"#,
    r#"{"id":1,"cmd":"put","body":true,"path":"n","digest":"md5","size":2097152,"ranges":[[0,NUMBER]]}"#,
    r#"{"id":1,"cmd":"put","body":true,"path":"n","digest":"md5","size":NUMBER,"ranges":[[0,NUMBER]]}"#,
    r#"{"id":1,"cmd":"blocks","path":"large","length":NUMBER}"#,
    r#"{"id":1,"cmd":"tree","path":".","digest":"md5","limit":NUMBER}"#,
    r#"{"id":1,"cmd":"set","path":"dir","mtime":[NUMBER,0]}"#,
    r#"{"id":1,"cmd":"set","path":"dir","mtime":[0,NUMBER]}"#,
    r#"{"id":1,"cmd":"resume","path":"n","size":NUMBER,"mtime":[0,0]}"#,
    r#"{"id":1,"cmd":"resume","path":"n","size":2097152,"mtime":[NUMBER,0]}"#,
    r#"{"id":1,"cmd":"resume","path":"large","size":NUMBER,"mtime":[0,NUMBER],"repair":true}"#,
];

fn furnished() -> TestServer {
    let server = TestServer::start();
    fs::create_dir(server.path("dir")).unwrap();
    server.write("a", "content");
    server.write("large", vec![7; (2 << 20) + 1]);
    server
}

/// Sends a request and its body, and takes the whole answer; `None` where the server closed behind it.
fn ask(raw: &mut Raw, json: &str) -> Option<Value> {
    let body = if json.contains(r#""body":true"#) { body(b"content") } else { vec![] };
    raw.send(&[framed(json.as_bytes()), body].concat());
    let reply = raw.next()?;
    if reply["body"] == true {
        let digest = if json.contains("md5") { "md5" } else { "blake3" };
        raw.body(digest.parse().unwrap()).unwrap();
    }
    Some(reply)
}

/// CVE-2026-43618, CVE-2026-53792 of rsync, proftpd 2286, dufs 690: counters that wrapped, a block length of 0.
#[test]
fn no_number_in_any_request_stops_the_server_or_stores_anything_that_was_not_proven() {
    let server = furnished();
    let before = server.tree();
    let mut raw = server.greeted();
    for request in REQUESTS {
        for number in NUMBERS {
            let json = request.replace("NUMBER", number);
            let reply = ask(&mut raw, &json);
            let Some(reply) = reply.filter(|reply| !reply["id"].is_null()) else {
                // Without an id the server cannot go on, and says so.
                assert!(json.starts_with(&format!(r#"{{"id":{number},"#)), "{json}");
                raw = server.greeted();
                continue;
            };
            // What was stored is the whole body, with an odd time; what was resumed leaves nothing.
            if reply["ok"] == true && json.contains("\"put\"") {
                assert_eq!(fs::read(server.path("n")).unwrap(), b"content", "{json}");
                fs::remove_file(server.path("n")).unwrap();
            }
            let is_none = number.parse::<i128>().is_err() || number == "18446744073709551616";
            assert!(!is_none || number == "null" || code(&reply) == "malformed", "{json}: {reply}");
            assert_eq!(raw.ask(&json!({"id": 2, "cmd": "df", "path": "."}))["ok"], true, "{json}");
        }
    }
    drop(raw);
    let mut server = server;
    assert_eq!(server.tree_at_the_end(), before);
}

/// The same for what a `resume` has made ready: ranges that overlap, run backwards, or run out of the file.
#[test]
fn no_ranges_behind_a_resume_write_outside_of_the_file() {
    let server = furnished();
    let before = server.tree();
    let mut raw = server.greeted();
    let size = 3_u64 << 20;
    let block = 1_u64 << 20;
    for ranges in [
        json!([[0, u64::MAX]]),
        json!([[u64::MAX, u64::MAX]]),
        json!([[u64::MAX - block, u64::MAX]]),
        json!([[block, 0]]),
        json!([[0, block], [0, block]]),
        json!([[block, 2 * block], [0, block]]),
        json!([[0, 2 * block], [block, 3 * block]]),
        json!([[3 * block, 4 * block]]),
        json!([[1_u64 << 53, (1_u64 << 53) + block]]),
        Value::Array(vec![json!([0, block]); 1001]),
        json!([]),
    ] {
        let resume = json!({"id": 1, "cmd": "resume", "path": "n", "size": size, "mtime": [0, 0]});
        assert_eq!(ask(&mut raw, &resume.to_string()).unwrap()["ok"], true);
        let mut put =
            json!({"id": 2, "cmd": "put", "body": true, "path": "n", "digest": "md5", "size": size});
        put["ranges"] = ranges;
        let reply = ask(&mut raw, &put.to_string()).unwrap();
        assert!(["bad-range", "mismatch"].contains(&code(&reply)), "{put}: {reply}");
    }
    drop(raw);
    let mut server = server;
    assert_eq!(server.tree_at_the_end(), before);
}

/// CVE-2024-12085 of rsync leaked memory, others the server's own paths: a reply has its codes and fixed words.
#[test]
fn no_reply_tells_where_on_the_servers_machine_anything_is() {
    let server = furnished();
    std::os::unix::fs::symlink("/nowhere/else", server.path("dangling")).unwrap();
    std::os::unix::fs::symlink(server.path("a"), server.path("absolute")).unwrap();
    std::os::unix::fs::symlink("circle", server.path("circle")).unwrap();
    let top = server.path("").display().to_string();
    let top = top.trim_end_matches('/');
    let mut raw = server.greeted();
    let mut asked = 0;
    for path in
        ["a/b", "missing/x", "dangling", "absolute", "circle", "circle/x", ".", "large", "..", "/a", ""]
    {
        for cmd in
            ["ls", "tree", "get", "put", "mkdir", "symlink", "set", "rm", "hash", "df", "blocks", "resume"]
        {
            let mut request = json!({"id": 1, "cmd": cmd, "path": path, "digest": "md5"});
            (request["limit"], request["follow"]) = (json!(99), json!(true));
            (request["target"], request["replace"]) = (json!("x"), json!("never"));
            request["body"] = json!(cmd == "put");
            request["size"] = json!(3 << 20);
            request["mtime"] = json!([0, 0]);
            let body = if cmd == "put" { body(b"content") } else { vec![] };
            raw.send(&[frame(&request), body].concat());
            let reply = raw.receive();
            assert!(!reply.to_string().contains(top), "{request}: {reply}");
            if reply["body"] == true {
                let digest = if ["blocks", "resume"].contains(&cmd) { "blake3" } else { "md5" };
                let told = raw.body(digest.parse().unwrap()).unwrap();
                // A link's own target is what its maker wrote.
                let told = String::from_utf8_lossy(&told).replace(&format!("{top}/a\""), "");
                assert!(!told.contains(top), "{request}");
            }
            asked += 1;
        }
    }
    assert_eq!(asked, 132);
}

/// GHSA advisories of JSON readers: depth, doubles and size, before anything of the message is believed.
#[test]
fn messages_that_are_made_to_exhaust_are_refused_and_harm_no_other_connection() {
    let server = furnished();
    let mut witness = server.greeted();
    let nested = |depth: usize| format!(r#"{{"id":1,"cmd":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let many: String = (0..6000).map(|i| format!(r#","k{i}":1"#)).collect();
    for (said, expected) in [
        ((64_u32 << 20).to_be_bytes().to_vec(), "too-large"),
        (framed(nested(100_000).as_bytes()), "too-large"),
        (framed(nested(30_000).as_bytes()), "malformed"),
        (framed(br#"{"id":1,"id":2,"cmd":"df","path":"."}"#), "malformed"),
        (framed(br#"{"id":1,"cmd":"df","cmd":"df","path":"."}"#), "malformed"),
        (framed(br#"{"id":1,"cmd":"df","path":".","path":"."}"#), "malformed"),
        (framed(br#"{"id":1,"cmd":"put","body":false,"body":true,"path":"n","digest":"md5"}"#), "malformed"),
    ] {
        let mut raw = server.greeted();
        raw.send(&said[..said.len().min(70_000)]);
        let shown = String::from_utf8_lossy(&said[..said.len().min(80)]).into_owned();
        assert_eq!(code(&raw.receive()), expected, "{shown}");
        assert_eq!(witness.ask(&json!({"id": 1, "cmd": "df", "path": "."}))["ok"], true);
    }
    // A field that nobody knows is no field, however many there are.
    let mut raw = server.greeted();
    raw.send(&framed(format!(r#"{{"id":1,"cmd":"df","path":"."{many}}}"#).as_bytes()));
    assert_eq!(raw.receive()["ok"], true);
}
