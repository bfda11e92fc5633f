//! Many clients at once.

use ftpish_client::{Options, Progress};
use ftpish_protocol::Algorithm;
use ftpish_protocol::message::Replace;

use crate::harness::{BLOCK, Listen, TestServer, path, pattern};

#[test]
fn sixty_four_clients_put_and_get_and_verify_at_the_same_time() {
    for encrypted in [false, true] {
        let server = TestServer::with(|setup| {
            setup.listen = Listen::Ipv4;
            if encrypted {
                setup.encrypted();
            }
        });
        let content = pattern(BLOCK + 64);
        std::thread::scope(|scope| {
            for i in 0..64 {
                let (options, content) = (server.options(), &content[i..]);
                scope.spawn(move || put_and_get(&options, &format!("file {i}"), content));
            }
        });
        assert_eq!(server.tree().len(), 65);
        for i in 0..64 {
            assert!(server.read(&format!("file {i}")) == content[i..], "{i}");
        }
    }
}

/// Stores a file of its own and one that all store, and gets both.
fn put_and_get(options: &Options, name: &str, content: &[u8]) {
    let mut client = ftpish_client::Client::connect(options).unwrap();
    let progress = Progress::default();
    for to in [name, "everybody's"] {
        client.put(&mut &content[..], &path(to), Algorithm::Blake3, Replace::Always, &progress).unwrap();
    }
    let mut got = vec![];
    client.get(&path(name), Algorithm::Blake3, &mut got, &progress).unwrap();
    assert!(got == content);
    // Whose it is nobody can say, but it is whole.
    let theirs =
        client.get(&path("everybody's"), Algorithm::Blake3, &mut std::io::sink(), &progress).unwrap();
    assert!(theirs.size > BLOCK as u64);
}

#[test]
fn a_hundred_clients_that_come_and_go_leave_every_place_free() {
    let mut server = TestServer::with(|setup| setup.limits.connections = 4);
    for _ in 0..100 {
        let mut raw = server.raw();
        raw.send(&crate::raw::frame(&crate::raw::hello()));
        assert_eq!(raw.finish().len(), 1);
    }
    crate::harness::eventually("a free place", || {
        (server.raw().ask(&crate::raw::hello())["ok"] == true).then_some(())
    });
    assert!(server.stop());
}
