//! Requests sent without waiting: replies come in order, refused ones among them.

use std::ops::ControlFlow;

use ftpish_client::{Batch, Download, Error, Progress};
use ftpish_protocol::Algorithm;
use serde_json::{Value, json};

use crate::harness::{BLOCK, TestServer, eventually, path, pattern};
use crate::raw::{body, code, frame, hello, put, put_header};

#[test]
fn sixty_four_requests_at_once_are_answered_in_their_order() {
    let server = TestServer::start();
    let mut raw = server.raw();
    let mut sent = frame(&hello());
    for id in 1..64 {
        let name = format!("file {id}");
        sent.extend(match id % 4 {
            0 => frame(&json!({"id": id, "cmd": "get", "path": format!("file {}", id - 3), "digest": "md5"})),
            1 => put(id, &name, name.as_bytes()),
            2 => put(id, "missing/file", name.as_bytes()),
            _ => frame(&json!({"id": id, "cmd": "teleport"})),
        });
    }
    raw.send(&sent);
    assert_eq!(raw.receive()["id"], 0);
    for id in 1..64 {
        let reply = raw.receive();
        assert_eq!(reply["id"], id, "{reply}");
        match id % 4 {
            0 => assert_eq!(raw.body(Algorithm::Md5).unwrap(), format!("file {}", id - 3).as_bytes()),
            1 => assert_eq!(reply["ok"], true, "{reply}"),
            2 => assert_eq!(code(&reply), "not-found"),
            _ => assert_eq!(code(&reply), "unsupported"),
        }
    }
    assert_eq!(server.tree().len(), 16);
}

#[test]
fn hello_and_the_first_request_may_come_in_one_write() {
    TestServer::each_transport(|server| {
        server.write("file", "content");
        // The client library sends them so.
        assert_eq!(server.client().stat(&"file".parse().unwrap()).unwrap().size, 7);
    });
    let server = TestServer::start();
    let mut raw = server.raw();
    raw.send(&[frame(&hello()), put(1, "file", b"content")].concat());
    assert_eq!([raw.receive()["id"].take(), raw.receive()["id"].take()], [0, 1]);
}

#[test]
fn bytes_that_come_one_by_one_are_the_same_requests() {
    let server = TestServer::start();
    let mut raw = server.raw();
    for byte in [frame(&hello()), put(1, "file", b"content")].concat() {
        raw.send(&[byte]);
    }
    assert_eq!([raw.receive()["id"].take(), raw.receive()["id"].take()], [0, 1]);
    assert_eq!(server.read("file"), b"content");
}

#[test]
fn large_bodies_behind_one_another_keep_their_order() {
    let server = TestServer::start();
    let contents: Vec<_> = (0..6).map(|i| pattern(BLOCK * i + i)).collect();
    for (i, content) in contents.iter().enumerate() {
        server.write(&i.to_string(), content);
    }
    let mut raw = server.greeted();
    let get = |i: usize| frame(&json!({"id": i, "cmd": "get", "path": i.to_string(), "digest": "sha256"}));
    raw.send(&(0..6).flat_map(get).collect::<Vec<_>>());
    for (i, content) in contents.iter().enumerate() {
        assert_eq!(raw.receive()["id"], i);
        assert!(raw.body(Algorithm::Sha256).unwrap() == *content, "{i}");
    }
}

#[test]
fn an_end_behind_pipelined_requests_lets_them_all_be_answered() {
    let server = TestServer::start();
    let mut raw = server.raw();
    let mut sent = frame(&hello());
    sent.extend((1..10).flat_map(|id| frame(&json!({"id": id, "cmd": "mkdir", "path": id.to_string()}))));
    raw.send(&sent);
    let ids: Vec<Value> = raw.finish().into_iter().map(|mut reply| reply["id"].take()).collect();
    assert_eq!(ids, (0..10).map(Value::from).collect::<Vec<_>>());
    assert_eq!(server.tree().len(), 9);
}

/// A put that tells its size, so that it may be committed together with others.
fn sized(id: u64, path: &str, bytes: &[u8], replace: &str) -> Vec<u8> {
    let mut header = put_header(id, path);
    header["size"] = json!(bytes.len());
    header["replace"] = json!(replace);
    [frame(&header), body(bytes)].concat()
}

#[test]
fn small_puts_in_a_row_are_each_stored_or_refused_for_themselves_and_answered_in_their_order() {
    let mut server = TestServer::start();
    server.write("here", "old");
    let mut raw = server.greeted();
    let mut sent = Vec::new();
    for id in 0..200 {
        sent.extend(match id % 5 {
            0 => sized(id, "same", format!("{id}").as_bytes(), "always"),
            1 => sized(id, "here", b"new", "never"),
            2 => sized(id, "once", format!("{id}").as_bytes(), "never"),
            3 => sized(id, "missing/file", b"", "always"),
            _ => frame(&json!({"id": id, "cmd": "stat", "path": "same"})),
        });
    }
    raw.send(&sent);
    for id in 0..200 {
        let reply = raw.receive();
        assert_eq!(reply["id"], id, "{reply}");
        match id % 5 {
            1 => assert_eq!(code(&reply), "exists"),
            2 if id > 2 => assert_eq!(code(&reply), "exists"),
            3 => assert_eq!(code(&reply), "not-found"),
            _ => assert_eq!(reply["ok"], true, "{reply}"),
        }
    }
    assert_eq!(server.read("same"), b"195");
    assert_eq!(server.read("once"), b"2");
    assert_eq!(server.tree_at_the_end().len(), 3, "nothing is left beside them");
}

#[test]
fn small_puts_whose_client_leaves_without_waiting_are_stored_and_answered() {
    let server = TestServer::start();
    let mut raw = server.greeted();
    let puts: Vec<_> = (0..9).map(|id| sized(id, &format!("{id}"), b"content", "always")).collect();
    raw.send(&puts.concat());
    let replies = raw.finish();
    assert_eq!(
        replies.iter().map(|reply| reply["id"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    );
    assert_eq!(server.tree().len(), 9);
}

#[test]
fn a_put_that_nobody_was_told_of_replaces_nothing_that_came_meanwhile() {
    let mut server = TestServer::start();
    let mut stalled = server.greeted();
    stalled.send(&[&sized(1, "late", b"old", "always")[..], &[0, 0]].concat());
    // Where the bytes came apart, it is there as a whole by now.
    eventually("the file", || (server.is_receiving() || !server.tree().is_empty()).then_some(()));
    let mut raw = server.greeted();
    raw.send(&sized(1, "late", b"new", "always"));
    assert_eq!(raw.receive()["ok"], true);
    drop(stalled);
    assert_eq!(server.tree_at_the_end().len(), 1);
    assert_eq!(server.read("late"), b"new");
}

/// A Unix socket counts far more for a short reply than its bytes, so few of them fill it: whoever asks on must not have
/// more unread replies on their way than that.
#[test]
fn more_short_replies_than_a_socket_holds_leave_nobody_waiting_for_the_other() {
    TestServer::each_transport(|server| {
        let here = tempfile::tempdir().unwrap();
        let downloads = (0..3000).map(|i| Download {
            digest: Algorithm::Md5,
            sync: false,
            ..Download::new(path(&format!("gone {i}")), here.path().join(i.to_string()))
        });
        let mut refused = 0;
        let ran =
            Batch::downloads(downloads).run(&mut server.client(), &Progress::default(), &mut |_, outcome| {
                assert!(matches!(outcome, Err(Error::Refused(_))), "{outcome:?}");
                refused += 1;
                ControlFlow::Continue(())
            });
        ran.unwrap();
        assert_eq!(refused, 3000);
    });
}
