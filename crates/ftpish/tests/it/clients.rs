//! The small clients in `fixtures`, each written from the protocol's document alone, against the real server.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{World, is_installed, names, noise};
use crate::relay::{Harm, Relay, Toward};

/// An interpreter, the client that it runs, and the client's flags for TLS, given the server's key.
struct Language {
    program: &'static str,
    client: &'static str,
    tls: fn(&str) -> Vec<&str>,
}

const PYTHON: Language = Language { program: "python3", client: "client.py", tls: |_| vec!["--tls"] };
const NODE: Language = Language { program: "node", client: "client.js", tls: |key| vec!["--host-key", key] };

/// A client that connects to `address`, over TLS if there is a key.
struct Client<'w> {
    world: &'w World,
    language: &'w Language,
    address: &'w str,
    key: Option<&'w str>,
}

impl<'w> Client<'w> {
    fn of(world: &'w World, language: &'w Language) -> Self {
        let server = world.server();
        Self { world, language, address: &server.address, key: server.key.as_deref() }
    }

    fn run(&self, words: &[&str]) -> Output {
        let (host, port) = self.address.rsplit_once(':').unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
        let mut command = Command::new(self.language.program);
        command.arg(fixtures.join(self.language.client));
        command.args(self.key.map_or(vec![], self.language.tls)).args([host, port]).args(words);
        let output = command.current_dir(self.world.here("")).output().unwrap();
        self.world.tell(&format!("$ {command:?}\n{output:?}\n"));
        output
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, words: &[&str], why: &str) {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), why);
    }
}

#[track_caller]
fn lists_gets_and_puts(language: &Language, flags: &str) {
    if !is_installed(language.program) {
        return;
    }
    let world = World::serving(flags);
    let client = Client::of(&world, language);
    let bytes = noise(3_000_001);
    fs::create_dir(world.root("dir")).unwrap();
    fs::write(world.here("sent"), &bytes).unwrap();
    client.ok(&["put", "sent", "dir/stored"]);
    assert!(fs::read(world.root("dir/stored")).unwrap() == bytes);
    client.ok(&["get", "dir/stored", "back"]);
    assert!(fs::read(world.here("back")).unwrap() == bytes);
    fs::write(world.here("empty"), "").unwrap();
    client.ok(&["put", "empty", "empty"]);
    assert_eq!(fs::read(world.root("empty")).unwrap(), b"");
    client.ok(&["get", "empty", "back"]);
    assert_eq!(fs::read(world.here("back")).unwrap(), b"");

    let listed: Vec<serde_json::Value> =
        client.ok(&["ls", "dir"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["name"], "stored");
    assert_eq!(listed[0]["size"], 3_000_001);

    client.refused(&["get", "missing", "x"], "not-found: no such file or directory");
    client.refused(&["put", "sent", "missing/x"], "not-found: no such file or directory");
    assert_eq!(names(&world.here("")), ["back", "empty", "sent"]);
}

#[test]
fn the_python_client_lists_gets_and_puts_over_tls() {
    lists_gets_and_puts(&PYTHON, "");
}

#[test]
fn the_python_client_lists_gets_and_puts_in_the_clear() {
    lists_gets_and_puts(&PYTHON, "--plaintext");
}

#[test]
fn the_node_client_lists_gets_and_puts_over_tls() {
    lists_gets_and_puts(&NODE, "");
}

#[test]
fn the_node_client_lists_gets_and_puts_in_the_clear() {
    lists_gets_and_puts(&NODE, "--plaintext");
}

/// The file in the tests with damaged replies. The places below are where a bit flips in the reply to its `get`,
/// in bytes before the end.
const BODY: &[u8] = b"what is sent";
/// In the last field of the trailer, which is 107 bytes long.
const HEAD_OF_TRAILER: u64 = 10;
const DIGEST_OF_TRAILER: u64 = 60;
/// In the only chunk.
const CHUNK: u64 = 120;
/// In a string, the last field of the reply.
const REPLY: u64 = 140;

/// A flipped bit in any of these places is detected, and so is a body that breaks off. The local file is kept.
#[track_caller]
fn refuses_damaged_replies(language: &Language, places: &[u64]) {
    if !is_installed(language.program) {
        return;
    }
    let world = World::plaintext();
    let direct = Client::of(&world, language);
    fs::write(world.root("file"), BODY).unwrap();
    fs::write(world.here("kept"), "old").unwrap();

    let relay = Relay::harmless(direct.address);
    Client { address: &relay.address, ..direct }.ok(&["get", "file", "whole"]);
    let end = relay.passed(Toward::Client);
    for place in places {
        let relay = Relay::to(direct.address, Toward::Client, end - place, Harm::Flip);
        let client = Client { address: &relay.address, ..direct };
        client.refused(&["get", "file", "kept"], "what arrived is not what was sent");
    }
    let relay = Relay::to(direct.address, Toward::Client, end - CHUNK, Harm::Cut);
    let client = Client { address: &relay.address, ..direct };
    client.refused(&["get", "file", "kept"], "the server closed in the middle of a message");
    assert_eq!(fs::read(world.here("kept")).unwrap(), b"old");
}

#[test]
fn the_python_client_refuses_damaged_replies() {
    refuses_damaged_replies(&PYTHON, &[DIGEST_OF_TRAILER, CHUNK]);
}

#[test]
fn the_node_client_refuses_damaged_replies() {
    refuses_damaged_replies(&NODE, &[HEAD_OF_TRAILER, DIGEST_OF_TRAILER, CHUNK, REPLY]);
}

#[test]
fn a_damaged_put_of_the_node_client_is_not_stored() {
    if !is_installed(NODE.program) {
        return;
    }
    let world = World::plaintext();
    let direct = Client::of(&world, &NODE);
    fs::write(world.here("sent"), BODY).unwrap();
    let hello = r#"{"id":1,"cmd":"hello","version":1,"agent":"client.js"}"#;
    let in_front_of_name = r#"{"id":2,"cmd":"put","path":""#;
    let at = (4 + hello.len() + 4 + in_front_of_name.len()) as u64;
    let relay = Relay::to(direct.address, Toward::Server, at, Harm::Flip);
    let client = Client { address: &relay.address, ..direct };
    let output = client.run(&["put", "sent", "name"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.starts_with(b"mismatch: "));
    assert_eq!(names(&world.root("")), [""; 0]);
}

#[test]
fn the_node_client_refuses_a_server_with_another_key() {
    if !is_installed(NODE.program) {
        return;
    }
    let world = World::new();
    let server = world.server();
    let (key, other) = (server.key.as_deref().unwrap(), "SHA256:AAAAv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0");
    let client = Client { key: Some(other), ..Client::of(&world, &NODE) };
    fs::write(world.here("sent"), BODY).unwrap();
    client.refused(&["put", "sent", "stored"], &format!("the host key is {key}, but {other} is expected"));
    assert_eq!(names(&world.root("")), [""; 0]);
}
