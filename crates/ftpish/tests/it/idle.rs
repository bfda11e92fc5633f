//! Connections on which nothing moves.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::World;

/// How many: far more than requests that are answered one behind the other take threads.
const IDLE: usize = 400;

/// A message as it is on the wire.
fn frame(json: &str) -> Vec<u8> {
    [&u32::try_from(json.len()).unwrap().to_be_bytes(), json.as_bytes()].concat()
}

/// Says hello and is answered.
fn greet(address: &str) -> TcpStream {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(&frame(r#"{"id":0,"cmd":"hello","version":1}"#)).unwrap();
    receive(&mut peer);
    peer
}

fn receive(peer: &mut TcpStream) -> String {
    let mut length = [0; 4];
    peer.read_exact(&mut length).unwrap();
    let mut json = vec![0; u32::from_be_bytes(length) as usize];
    peer.read_exact(&mut json).unwrap();
    String::from_utf8(json).unwrap()
}

#[test]
fn idle_connections_take_no_threads_keep_nobody_waiting_and_go_on_when_they_like() {
    let world = World::empty();
    let flags = format!("--plaintext --max-per-address {}", 2 * IDLE);
    let server = world.start("127.0.0.1:0", &flags);
    let mut idle: Vec<_> = (0..IDLE).map(|_| greet(&server.address)).collect();
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count();
    assert!(threads < IDLE / 2, "{threads} threads");
    world.stranger_to(&server.address).run("mkdir made --plaintext").ok();
    for peer in &mut idle {
        peer.write_all(&frame(r#"{"id":1,"cmd":"df","path":"made"}"#)).unwrap();
    }
    for peer in &mut idle {
        assert!(receive(peer).starts_with(r#"{"id":1,"ok":true,"#));
    }
}
