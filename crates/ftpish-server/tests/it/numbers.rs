//! Numbers at and beyond their boundaries, in every field that has one.

use serde_json::{Value, json};

use crate::harness::TestServer;
use crate::raw::{Raw, body, code, frame, framed};

/// Numbers that are none of the protocol's.
const BAD: [&str; 9] = ["-1", "1.0", "1e3", "-0", "18446744073709551616", "1e400", "\"1\"", "true", "[1]"];

/// Sends raw JSON and the body behind it, if it is a `put`.
#[track_caller]
fn ask(raw: &mut Raw, json: &str) -> Value {
    let is_put = json.contains(r#""put""#);
    raw.send(&[framed(json.as_bytes()), if is_put { body(b"content") } else { vec![] }].concat());
    raw.receive()
}

#[test]
fn ids_come_back_exactly_up_to_the_largest() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    for id in [0, 1, (1 << 31) - 1, 1 << 32, (1 << 53) + 1, 1 << 63, u64::MAX] {
        let reply = raw.ask(&json!({"id": id, "cmd": "df", "path": "."}));
        assert_eq!((reply["id"].as_u64(), &reply["ok"]), (Some(id), &json!(true)));
    }
}

#[test]
fn numbers_of_another_form_are_malformed_in_every_field() {
    let server = TestServer::start();
    server.write("a", "content");
    let before = server.tree();
    let mut raw = server.greeted();
    for bad in BAD {
        for json in [
            format!(r#"{{"id":1,"cmd":"get","path":"a","digest":"md5","offset":{bad}}}"#),
            format!(r#"{{"id":1,"cmd":"get","path":"a","digest":"md5","length":{bad}}}"#),
            format!(r#"{{"id":1,"cmd":"put","body":true,"path":"a","digest":"md5","size":{bad}}}"#),
            format!(r#"{{"id":1,"cmd":"put","body":true,"path":"a","digest":"md5","mtime":[0,{bad}]}}"#),
            format!(r#"{{"id":1,"cmd":"tree","path":".","digest":"md5","limit":{bad}}}"#),
            format!(r#"{{"id":1,"cmd":"set","path":"a","mtime":[0,{bad}]}}"#),
            format!(r#"{{"id":1,"cmd":"hello","version":{bad}}}"#),
        ] {
            let reply = ask(&mut raw, &json);
            assert_eq!(code(&reply), "malformed", "{json}");
        }
    }
    for bad in ["1.5", "9223372036854775808", "-9223372036854775809", "\"0\""] {
        for json in [
            format!(r#"{{"id":1,"cmd":"put","body":true,"path":"a","digest":"md5","mtime":[{bad},0]}}"#),
            format!(r#"{{"id":1,"cmd":"set","path":"a","mtime":[{bad},0]}}"#),
        ] {
            assert_eq!(code(&ask(&mut raw, &json)), "malformed", "{json}");
        }
    }
    for bad in ["[0]", "[0,0,0]", "[0,1000000000]", "[0,4294967296]", "0", "{}"] {
        for json in [
            format!(r#"{{"id":1,"cmd":"put","body":true,"path":"a","digest":"md5","mtime":{bad}}}"#),
            format!(r#"{{"id":1,"cmd":"set","path":"a","mtime":{bad}}}"#),
        ] {
            assert_eq!(code(&ask(&mut raw, &json)), "malformed", "{json}");
        }
    }
    for bad in [r#""""#, r#""8""#, r#""00644""#, r#""0x1ff""#, r#""-1""#, "420"] {
        for json in [
            format!(r#"{{"id":1,"cmd":"put","body":true,"path":"a","digest":"md5","mode":{bad}}}"#),
            format!(r#"{{"id":1,"cmd":"set","path":"a","mode":{bad}}}"#),
        ] {
            assert_eq!(code(&ask(&mut raw, &json)), "malformed", "{json}");
        }
    }
    assert_eq!(server.tree(), before);
}

#[test]
fn an_announced_size_other_than_the_bodys_is_refused_whatever_it_is() {
    let server = TestServer::start();
    server.write("a", "content");
    let before = server.tree();
    let mut raw = server.greeted();
    for size in [0, 1, 6, 8, 1 << 24, 1 << 31, 1 << 53, 1 << 62, 1 << 63, u64::MAX - 1, u64::MAX] {
        let request =
            json!({"id": size, "cmd": "put", "body": true, "path": "a", "digest": "md5", "size": size});
        raw.send(&[frame(&request), body(b"content")].concat());
        let reply = raw.receive();
        assert_eq!(reply["id"], request["id"]);
        // The file system, too, may say that this is too much for it.
        assert!(["mismatch", "no-space", "io"].contains(&code(&reply)), "{reply}");
    }
    assert_eq!(server.tree(), before);
}

#[test]
fn times_at_the_ends_of_time_are_stored_as_well_as_the_disk_can() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    for seconds in [i64::MIN, -1, 0, i64::from(i32::MAX) + 1, i64::MAX] {
        let mut request = json!({"id": 1, "cmd": "put", "body": true, "path": "a", "digest": "md5"});
        request["mtime"] = json!([seconds, 999_999_999]);
        raw.send(&[frame(&request), body(b"content")].concat());
        let reply = raw.receive();
        assert!(reply["ok"] == true || code(&reply) == "io", "{reply}");
        let set = raw.ask(&json!({"id": 3, "cmd": "set", "path": "a", "mtime": [seconds, 999_999_999]}));
        assert!(set["ok"] == true || code(&set) == "io", "{set}");
        assert_eq!(raw.ask(&json!({"id": 2, "cmd": "df", "path": "."}))["ok"], true);
    }
    assert_eq!(server.tree().len(), 1);
}
