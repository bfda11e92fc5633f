//! The server's end: idle connections are closed, what runs is finished, what runs too long is cut, and the port is
//! free at once.

use std::time::Duration;

use ftpish_client::Error;
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Algorithm, Code};
use serde_json::json;

use crate::harness::{BLOCK, Listen, TestServer, eventually, path, pattern};
use crate::raw::{Raw, code, frame, framed, put_header, trailer};

fn begin_get(server: &TestServer, name: &str) -> Raw {
    let mut raw = server.greeted();
    raw.send(&frame(&json!({"id": 1, "cmd": "get", "path": name, "digest": "md5"})));
    assert_eq!(raw.receive()["ok"], true);
    raw
}

#[test]
fn a_server_that_nobody_uses_ends_at_once() {
    for listen in Listen::all() {
        assert!(TestServer::with(|setup| setup.listen = listen).stop());
    }
}

#[test]
fn idle_clients_are_closed_and_running_transfers_finish() {
    let mut server = TestServer::start();
    let content = pattern(8 << 20);
    server.write("file", &content);
    let (idle, silent) = (server.greeted(), server.raw());
    let mut getting = begin_get(&server, "file");
    let mut putting = server.greeted();
    putting.send(&[frame(&put_header(1, "new")), framed(b"half of")].concat());
    // That tells that the request has begun.
    eventually("the partial file", || server.is_receiving().then_some(()));
    server.order_shutdown();
    for quiet in [idle, silent] {
        assert!(quiet.farewell().iter().all(|reply| code(reply) == "shutting-down"));
    }
    assert!(getting.body(Algorithm::Md5).unwrap() == content);
    putting.send(&[framed(b" it"), vec![0; 4], frame(&trailer(b"half of it"))].concat());
    assert_eq!(putting.receive()["ok"], true);
    for done in [getting, putting] {
        let last = done.finish();
        assert!(last.iter().all(|reply| code(reply) == "shutting-down" && reply["id"].is_null()), "{last:?}");
    }
    assert!(server.stop());
    assert_eq!(server.read("new"), b"half of it");
}

#[test]
fn the_end_of_a_body_that_is_still_in_the_servers_hands_is_not_cut_off() {
    let mut server = TestServer::start();
    // Less than a block remains behind two whole ones, more than a socket holds.
    let content = pattern(3 * BLOCK - 1000);
    server.write("file", &content);
    let idle = server.greeted();
    let mut getting = begin_get(&server, "file");
    let mut bytes = getting.chunk();
    bytes.extend(getting.chunk());
    // What is waiting now belongs to the last block: the server has read and hashed all there is.
    eventually("the last block", || (getting.waiting() > 64 * 1024).then_some(()));
    server.order_shutdown();
    // Behind its end, the drain has begun.
    idle.farewell();
    assert!(getting.body_from(bytes, Algorithm::Md5).unwrap() == content);
    assert!(server.stop());
}

#[test]
fn a_request_behind_the_order_is_not_begun() {
    let mut server = TestServer::start();
    server.write_sparse("file", 8 << 20);
    let mut raw = begin_get(&server, "file");
    raw.send(&frame(&json!({"id": 2, "cmd": "mkdir", "path": "new"})));
    let idle = server.greeted();
    server.order_shutdown();
    // Behind its end, the drain has begun.
    idle.farewell();
    raw.body(Algorithm::Md5).unwrap();
    let last: Vec<_> = std::iter::from_fn(|| raw.next()).collect();
    assert_eq!((&last[0]["id"], code(&last[0])), (&json!(2), "shutting-down"));
    assert!(
        last[1..].iter().all(|reply| code(reply) == "shutting-down" && reply["id"].is_null()),
        "{last:?}"
    );
    assert!(server.stop());
    assert!(!server.path("new").exists());
}

#[test]
fn a_file_that_is_fetched_in_parts_is_fetched_to_its_end() {
    let mut server = TestServer::start();
    let content = pattern(3 << 20);
    server.write("file", &content);
    let part = |id: u64, offset: usize| {
        frame(&json!({"id": id, "cmd": "get", "path": "file", "digest": "blake3", "offset": offset,
                      "length": 1 << 20, "subtree": true}))
    };
    let (mut one, mut other) = (server.greeted(), server.greeted());
    let mut fetched = Vec::new();
    for (id, raw) in [(1, &mut one), (2, &mut other)] {
        raw.send(&part(id, fetched.len()));
        assert_eq!(raw.receive()["ok"], true);
        fetched.extend(raw.chunks());
    }
    let idle = server.greeted();
    server.order_shutdown();
    // Behind its end, the drain has begun.
    idle.farewell();
    // Both are between two parts; what has not begun to move is refused all the same.
    other.send(&frame(&json!({"id": 3, "cmd": "get", "path": "file", "digest": "md5"})));
    let refused = other.finish();
    assert_eq!((&refused[0]["id"], code(&refused[0])), (&json!(3), "shutting-down"));
    one.send(&part(4, fetched.len()));
    assert_eq!(one.receive()["ok"], true);
    fetched.extend(one.chunks());
    assert!(fetched == content);
    drop(one);
    assert!(server.stop());
}

#[test]
fn what_runs_beyond_the_drains_end_is_cut_and_said_so() {
    let mut server = TestServer::with(|setup| setup.limits.drain = Duration::from_millis(50));
    server.write("old", "old content");
    server.write_sparse("large", 8 << 20);
    let before = server.tree();
    let _reading_no_more = begin_get(&server, "large");
    let mut sending_no_more = server.greeted();
    sending_no_more.send(&[frame(&put_header(1, "old")), framed(b"new")].concat());
    eventually("the partial file", || server.is_receiving().then_some(()));
    assert!(!server.stop());
    assert!(sending_no_more.finish().is_empty());
    assert_eq!(server.tree(), before, "what was cut leaves nothing behind");
}

#[test]
fn no_connection_outlives_the_server_not_even_one_that_was_turned_away() {
    let mut server = TestServer::with(|setup| setup.limits.connections = 1);
    let one = server.greeted();
    let turned_away = [server.raw(), server.raw()];
    // The listener takes them in their order: when this one is answered, those have been taken.
    assert_eq!(code(&server.raw().ask(&crate::raw::hello())), "busy");
    assert!(server.stop());
    drop(one);
    for raw in turned_away {
        assert!(raw.is_readable(0), "closed already");
    }
}

/// Ends a server whose connections it was who closed first, and listens in its place.
fn listen_again(listen: Listen) -> std::io::Result<()> {
    let mut server = TestServer::with(|setup| setup.listen = listen);
    server.write_sparse("file", 8 << 20);
    let mut getting = begin_get(&server, "file");
    let _idle = server.greeted();
    server.order_shutdown();
    getting.body(Algorithm::Md5).unwrap();
    assert!(server.stop());
    let again = server.endpoint.listen()?;
    assert_eq!(ftpish_transport::Endpoint::of(&again)?, server.endpoint);
    Ok(())
}

#[test]
fn the_port_and_the_socket_can_be_bound_again_at_once() {
    for listen in Listen::all() {
        // Another test may be given a port that is free; three times in a row would be no accident.
        let outcomes = [(); 3].map(|()| listen_again(listen));
        assert!(outcomes.iter().any(Result::is_ok), "{listen:?}: {outcomes:?}");
    }
}

#[test]
fn a_client_of_a_server_that_went_down_gets_an_error_and_not_a_wait() {
    let mut server = TestServer::start();
    let mut client = server.client();
    client.mkdir(&path("a"), false).unwrap();
    assert!(server.stop());
    assert!(!client.is_usable());
    let error = client.mkdir(&path("b"), false).unwrap_err();
    // A session that had not yet gone idle says farewell.
    let told = matches!(&error, Error::Refused(refusal) if refusal.code == Code::ShuttingDown);
    assert!(told || matches!(error, Error::Connection(_)), "{error}");
    let progress = ftpish_client::Progress::default();
    let mut source = &b"x"[..];
    assert!(client.put(&mut source, &path("b"), Algorithm::Md5, Replace::Always, &progress).is_err());
    let error = ftpish_client::Client::connect(&server.options()).err().unwrap();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

#[test]
fn the_order_may_be_given_more_than_once_and_after_the_end() {
    let mut server = TestServer::start();
    for _ in 0..100_000 {
        server.order_shutdown();
    }
    assert!(server.stop());
    server.order_shutdown();
}
