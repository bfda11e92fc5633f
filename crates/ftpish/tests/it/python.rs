//! The client in `fixtures/client.py`, written from the protocol's document alone, against the real server.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{World, is_installed, noise};

struct Python<'w> {
    world: &'w World,
    tls: bool,
}

impl Python<'_> {
    fn run(&self, words: &[&str]) -> Output {
        let (host, port) = self.world.server().address.rsplit_once(':').unwrap();
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/client.py");
        let mut command = Command::new("python3");
        command.arg(client).args(self.tls.then_some("--tls")).args([host, port]).args(words);
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
fn check(tls: bool) {
    if !is_installed("python3") {
        return;
    }
    let world = World::serving(if tls { "" } else { "--plaintext" });
    let python = Python { world: &world, tls };
    let bytes = noise(3_000_001);
    fs::create_dir(world.root("dir")).unwrap();
    fs::write(world.here("sent"), &bytes).unwrap();
    python.ok(&["put", "sent", "dir/stored"]);
    assert!(fs::read(world.root("dir/stored")).unwrap() == bytes);
    python.ok(&["get", "dir/stored", "back"]);
    assert!(fs::read(world.here("back")).unwrap() == bytes);
    fs::write(world.here("empty"), "").unwrap();
    python.ok(&["put", "empty", "empty"]);
    assert_eq!(fs::read(world.root("empty")).unwrap(), b"");

    let listed: Vec<serde_json::Value> =
        python.ok(&["ls", "dir"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["name"], "stored");
    assert_eq!(listed[0]["size"], 3_000_001);

    python.refused(&["get", "missing", "x"], "not-found: no such file or directory");
    python.refused(&["put", "sent", "missing/x"], "not-found: no such file or directory");
    assert!(!world.here("x").exists());
}

#[test]
fn the_python_client_lists_gets_and_puts_over_tls() {
    check(true);
}

#[test]
fn the_python_client_lists_gets_and_puts_in_the_clear() {
    check(false);
}
