//! How many clients there may be: the next is told `busy` in answer to its own request, and a place is free again when
//! its holder leaves.

use ftpish_client::{Error, Progress};
use ftpish_protocol::message::Replace;
use ftpish_protocol::{Algorithm, Code};
use serde_json::json;

use crate::harness::{Listen, TestServer, eventually, path};
use crate::raw::{Raw, code, frame, hello, put, put_header};

fn server_for(connections: usize) -> TestServer {
    TestServer::with(|setup| {
        setup.limits.connections = connections;
        setup.listen = Listen::Ipv4;
    })
}

#[test]
fn one_client_too_many_is_told_busy_with_the_id_of_its_request() {
    let server = server_for(2);
    let (mut one, mut two) = (server.greeted(), server.greeted());
    let mut three = server.raw();
    three.send(&frame(&json!({"id": 77, "cmd": "hello", "version": 1})));
    let replies = three.finish();
    assert_eq!(replies.len(), 1, "and then it closes");
    assert_eq!((&replies[0]["id"], code(&replies[0])), (&json!(77), "busy"));
    for raw in [&mut one, &mut two] {
        assert_eq!(raw.ask(&json!({"id": 1, "cmd": "df", "path": "."}))["ok"], true);
    }
}

#[test]
fn busy_is_told_to_whoever_pipelines_and_to_whoever_talks_nonsense() {
    let server = server_for(1);
    let _one = server.greeted();
    let mut pipelining = server.raw();
    pipelining.send(&[frame(&hello()), put(1, "file", b"content")].concat());
    assert_eq!(code(&pipelining.finish()[0]), "busy");
    let mut nonsense = server.raw();
    nonsense.send(b"GET / HTTP/1.1\r\n\r\n");
    assert!(nonsense.finish().iter().all(|reply| reply["id"].is_null()));
    drop(server.raw());
    assert!(server.tree().is_empty());
}

#[test]
fn an_address_with_too_many_connections_is_told_so_and_those_it_has_go_on() {
    let server = TestServer::with(|setup| {
        setup.limits.per_address = 2;
        setup.listen = Listen::Ipv4;
    });
    let (mut one, _two) = (server.greeted(), server.greeted());
    let replies = turned_away(&server);
    assert_eq!((&replies[0]["id"], code(&replies[0])), (&json!(0), "busy"));
    assert!(replies[0]["error"]["message"].as_str().unwrap().starts_with("this address"), "{replies:?}");
    assert_eq!(one.ask(&json!({"id": 1, "cmd": "df", "path": "."}))["ok"], true);
}

#[test]
fn unix_sockets_have_no_address_to_count() {
    let server = TestServer::with(|setup| setup.limits.per_address = 1);
    let _both = (server.greeted(), server.greeted());
}

#[test]
fn those_who_are_logged_in_are_no_strangers_and_those_who_are_not_leave_room() {
    let server = TestServer::with(|setup| {
        setup.limits.unauthenticated = 1;
        setup.accounts = Some(crate::accounts::accounts(None));
    });
    let login = |raw: &mut Raw| {
        let login = json!({"id": 1, "cmd": "login", "user": "ada", "password": "open sesame"});
        assert_eq!(raw.ask(&login)["ok"], true);
    };
    let mut logged_in = server.greeted();
    login(&mut logged_in);
    let mut stranger = eventually("a free place", || greeted(&server));
    assert_eq!(code(&turned_away(&server)[0]), "busy");
    assert_eq!(logged_in.ask(&json!({"id": 2, "cmd": "df", "path": "."}))["ok"], true);
    login(&mut stranger);
    eventually("a free place", || greeted(&server));
}

#[test]
fn clients_that_are_waited_for_hold_no_thread_whatever_they_have_begun() {
    let server = TestServer::with(|setup| {
        (setup.limits.workers, setup.limits.workers_for_unauthenticated) = (2, 1);
        setup.accounts = Some(crate::accounts::accounts(None));
    });
    server.write_sparse("large", 64 << 20);
    let login = frame(&json!({"id": 1, "cmd": "login", "user": "ada", "password": "open sesame"}));
    let mut idle = server.greeted();
    idle.send(&login);
    assert_eq!(idle.receive()["ok"], true);
    // Bodies that never come, before the login and behind it; bodies that are never read, and half a request.
    let waited_for: Vec<Raw> = (0..16)
        .map(|n| {
            let mut raw = server.greeted();
            if n % 4 > 0 {
                raw.send(&login);
                assert_eq!(raw.receive()["ok"], true);
            }
            match n % 4 {
                0 | 1 => raw.send(&frame(&put_header(2, "slow"))),
                2 => {
                    raw.send(&frame(&json!({"id": 2, "cmd": "get", "path": "large", "digest": "md5"})));
                    assert_eq!(raw.receive()["ok"], true);
                }
                _ => raw.send(&frame(&put_header(2, "half"))[..20]),
            }
            raw
        })
        .collect();
    assert_eq!(idle.ask(&json!({"id": 2, "cmd": "df", "path": "."}))["ok"], true);
    server.greeted();
    waited_for.into_iter().for_each(Raw::vanish);
}

#[test]
fn before_the_login_messages_are_short_and_behind_it_they_may_be_long() {
    let server = TestServer::with(|setup| setup.accounts = Some(crate::accounts::accounts(None)));
    let padded = |id: u64, size: usize| {
        let mut request = json!({"id": id, "cmd": "df", "path": ".", "x": ""});
        let bare = request.to_string().len();
        request["x"] = "x".repeat(size - bare).into();
        request
    };
    let mut raw = server.greeted();
    assert_eq!(code(&raw.ask(&padded(1, 4096))), "login-required");
    raw.send(&frame(&padded(2, 4097)));
    assert_eq!(code(&raw.finish()[0]), "too-large");
    let mut raw = server.greeted();
    let login = json!({"id": 1, "cmd": "login", "user": "ada", "password": "open sesame"});
    raw.send(&[frame(&login), frame(&padded(2, 65536))].concat());
    assert!(raw.finish().iter().all(|reply| reply["ok"] == true));
}

/// What a connection is told that is one too many.
fn turned_away(server: &TestServer) -> Vec<serde_json::Value> {
    let mut raw = server.raw();
    raw.send(&frame(&hello()));
    raw.finish()
}

#[test]
fn a_place_is_free_again_when_its_holder_left() {
    let server = server_for(1);
    for leave in [drop, Raw::vanish] {
        let one = eventually("a free place", || greeted(&server));
        assert!(greeted(&server).is_none());
        leave(one);
    }
    eventually("a free place", || greeted(&server));
}

/// A raw connection that was let in. Of very many too many, some are closed without a word.
fn greeted(server: &TestServer) -> Option<Raw> {
    let mut raw = server.raw();
    let _ = raw.try_send(&frame(&hello()));
    raw.next().is_some_and(|reply| reply["ok"] == true).then_some(raw)
}

#[test]
fn the_client_library_reports_busy_as_a_refusal() {
    for encrypted in [false, true] {
        let server = TestServer::with(|setup| {
            setup.limits.connections = 1;
            if encrypted {
                setup.encrypted();
            }
        });
        let mut one = server.client();
        one.df(&path(".")).unwrap();
        let mut two = server.client();
        let error = two.df(&path(".")).unwrap_err();
        assert!(matches!(&error, Error::Refused(refusal) if refusal.code == Code::Busy), "{error}");
        assert!(!two.is_usable());
        one.df(&path(".")).unwrap();
    }
}

#[test]
fn a_large_put_that_comes_first_is_told_busy_too() {
    for encrypted in [false, true] {
        let server = TestServer::with(|setup| {
            setup.limits.connections = 1;
            setup.listen = Listen::Ipv4;
            if encrypted {
                setup.encrypted();
            }
        });
        let mut one = server.client();
        one.df(&path(".")).unwrap();
        for _ in 0..10 {
            let mut source = std::io::Read::take(std::io::repeat(7), 1 << 30);
            let (digest, replace, progress) = (Algorithm::Md5, Replace::Always, Progress::default());
            let error = server.client().put(&mut source, &path("a"), digest, replace, &progress).unwrap_err();
            assert!(matches!(&error, Error::Refused(refusal) if refusal.code == Code::Busy), "{error}");
        }
        one.df(&path(".")).unwrap();
    }
}

#[test]
fn a_crowd_that_is_turned_away_does_not_keep_out_the_next() {
    let server = server_for(1);
    let one = server.greeted();
    let crowd: Vec<Raw> = (0..100).map(|_| server.raw()).collect();
    drop((one, crowd));
    eventually("a free place", || greeted(&server));
}
