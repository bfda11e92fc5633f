//! Every command's good case through the client, over each kind of socket, in the clear and encrypted.

use std::fs;
use std::os::unix::fs::symlink;

use ftpish_client::{Client, Progress, Transferred};
use ftpish_protocol::message::{Entry, Kind, LinkTarget, Replace};
use ftpish_protocol::{Algorithm, RemotePath};

use crate::harness::{TestServer, path};

fn list(client: &mut Client, at: &str) -> Vec<Entry> {
    let mut entries = vec![];
    let mut take = |entry| {
        entries.push(entry);
        Ok(())
    };
    let count = client.ls(&path(at), &mut take).unwrap();
    assert_eq!(count, entries.len() as u64);
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn names(client: &mut Client, at: &str) -> Vec<String> {
    list(client, at).into_iter().map(|entry| entry.name.unwrap().to_string()).collect()
}

#[test]
fn every_command_does_what_it_says_on_every_transport() {
    TestServer::each_transport(|server| {
        let client = &mut server.client();
        client.mkdir(&path("a/b"), true).unwrap();
        client.mkdir(&path("a/b"), true).unwrap();
        client.mkdir(&path("c"), false).unwrap();
        for (i, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            let bytes = format!("content {i}").into_bytes();
            let to = path(&format!("a/{algorithm}"));
            let proof = (bytes.len() as u64, algorithm.digest(&bytes));
            let told = |done: Transferred| (done.size, done.digest);
            let progress = Progress::default();
            let put = client.put(&mut &bytes[..], &to, algorithm, Replace::Never, &progress).unwrap();
            assert_eq!((told(put), progress.done()), (proof, proof.0));
            let mut got = vec![];
            assert_eq!(told(client.get(&to, algorithm, &mut got, &Progress::default()).unwrap()), proof);
            assert_eq!(got, bytes);
            let hashed = client.hash(&to, algorithm, &Progress::default()).unwrap();
            assert_eq!((hashed.size, hashed.digest), proof);
        }
        client.mv(&path("a/md5"), &path("c/moved"), Replace::Never).unwrap();
        client.mv(&path("a/sha256"), &path("c/moved"), Replace::Always).unwrap();
        assert_eq!(server.read("c/moved"), b"content 1");
        assert_eq!(names(client, "a"), ["b", "blake3"]);
        let entry = client.stat(&path("a/blake3")).unwrap();
        assert_eq!((entry.kind, entry.size, entry.name.unwrap().as_bytes()), (Kind::File, 9, &b"blake3"[..]));
        let space = client.df(&path("a/blake3")).unwrap();
        assert!(space.total >= space.free && space.free >= space.available, "{space:?}");
        client.rm(&path("a/blake3"), false).unwrap();
        client.rm(&path("a/b"), false).unwrap();
        client.rm(&path("c"), true).unwrap();
        assert_eq!(names(client, "."), ["a"]);
        assert!(client.is_usable());
    });
}

#[test]
fn the_server_says_what_it_is_and_knows() {
    let server = TestServer::start();
    let mut client = server.client();
    let welcome = client.welcome().unwrap();
    assert_eq!((welcome.version, welcome.login), (1, false));
    assert_eq!(welcome.digests, ["blake3", "sha256", "md5"]);
    assert!(["hello", "put", "get"].iter().all(|it| welcome.commands.iter().any(|known| known == it)));
    assert!(welcome.agent.starts_with("ftpish/"), "{}", welcome.agent);
}

#[test]
fn entries_tell_kind_size_time_mode_and_target() {
    let server = TestServer::start();
    server.write("file", "12345");
    fs::create_dir(server.path("dir")).unwrap();
    symlink("no/where", server.path("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(server.path("socket")).unwrap();
    server.write(".ftpish-0123456789abcdef", "a partial file");
    let mut client = server.client();
    let entries = list(&mut client, ".");
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [Kind::Dir, Kind::File, Kind::Link, Kind::Other]);
    assert_eq!(entries[1].size, 5);
    assert_eq!(entries[2].target, Some(LinkTarget(b"no/where".to_vec())));
    for entry in entries {
        let alone = client.stat(&RemotePath::root().join(entry.name.as_ref().unwrap()).unwrap()).unwrap();
        assert_eq!(alone, entry, "`stat` and `ls` tell the same");
    }
    let root = client.stat(&RemotePath::root()).unwrap();
    assert_eq!((root.name, root.kind), (None, Kind::Dir));
}

#[test]
fn links_that_stay_inside_are_followed_where_the_protocol_says_so() {
    let server = TestServer::start();
    fs::create_dir(server.path("dir")).unwrap();
    server.write("dir/file", "content");
    symlink("dir", server.path("to-dir")).unwrap();
    symlink("dir/../dir/file", server.path("to-file")).unwrap();
    let client = &mut server.client();
    assert_eq!(names(client, "to-dir"), ["file"]);
    for through in ["to-file", "to-dir/file"] {
        let mut got = vec![];
        client.get(&path(through), Algorithm::Md5, &mut got, &Progress::default()).unwrap();
        assert_eq!(got, b"content");
        assert_eq!(client.hash(&path(through), Algorithm::Md5, &Progress::default()).unwrap().size, 7);
    }
    client
        .put(&mut &b"1"[..], &path("to-dir/new"), Algorithm::Md5, Replace::Always, &Progress::default())
        .unwrap();
    client
        .put(&mut &b"2"[..], &path("to-file"), Algorithm::Md5, Replace::Always, &Progress::default())
        .unwrap();
    client.rm(&path("to-dir"), true).unwrap();
    assert_eq!(server.read("dir/new"), b"1");
    assert_eq!(server.read("dir/file"), b"content", "the link was replaced, not what it points at");
    assert_eq!(names(client, "."), ["dir", "to-file"]);
}

#[test]
fn a_listing_of_several_blocks_is_whole() {
    let server = TestServer::start();
    // In JSON each of these bytes takes six.
    let name = |i| format!("{}{i:03}", "\u{1}".repeat(250));
    for i in 0..400 {
        server.write(&name(i), "");
    }
    let listed = list(&mut server.client(), ".");
    assert_eq!(listed.len(), 400);
    assert!((0..).zip(&listed).all(|(i, e)| e.name.as_ref().unwrap().as_bytes() == name(i).as_bytes()));
}
