//! Names and messages made to drive a terminal or to forge a line: none comes out as it is.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use insta::assert_snapshot;

use crate::harness::{Outcome, World, names};
use crate::terminal::{PROMPT, Terminal};

/// Names that colour, ring, break lines, move the cursor by a lone C1 byte or its UTF-8, turn text around, and hide.
const HOSTILE: [&[u8]; 8] = [
    b"\x1b[31mred\x1b]0;title\x07",
    b"bell\x07",
    b"two\nlines",
    b"back\rover",
    b"\x9b31m",
    "\u{9b}2J".as_bytes(),
    "gpj.\u{202e}exe".as_bytes(),
    b"del\x7f",
];

fn world() -> World {
    let world = World::plaintext();
    for name in HOSTILE {
        fs::write(world.root(OsStr::from_bytes(name)), "").unwrap();
    }
    symlink(OsStr::from_bytes(b"to\x1b[2J"), world.root("link")).unwrap();
    world
}

/// Nothing that came out acts on a terminal, and it is text.
#[track_caller]
fn check(outcome: &Outcome) {
    for stream in [&outcome.stdout, &outcome.raw_stderr] {
        let text = std::str::from_utf8(stream).expect("a lone C1 byte acts on some terminals");
        let acts = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(acts), "{text:?}");
    }
}

/// Runs a verb on several names.
#[track_caller]
fn run(world: &World, verb: &str, names: &[&[u8]], more: &[&str]) -> Outcome {
    let words = [verb].into_iter().chain(more.iter().copied()).map(OsStr::new);
    let outcome = world.client().words(words.chain(names.iter().map(|name| OsStr::from_bytes(name))), b"");
    check(&outcome);
    outcome
}

#[test]
fn a_listing_shows_hostile_names_escaped_and_one_a_line() {
    let world = world();
    let listing = world.run("ls").ok();
    check(&listing);
    assert_snapshot!(listing.text, @r"
    \x1b[31mred\x1b]0;title\x07
    back\rover
    bell\x07
    del\x7f
    gpj.\u{202e}exe
    link
    two\nlines
    \x9b31m
    \u{9b}2J
    ");
    let long = world.run("ls -l").ok();
    check(&long);
    assert!(long.text.contains("link -> to\\x1b[2J\n"), "{}", long.text);
}

#[test]
fn json_is_as_harmless() {
    let world = world();
    let listing = world.run("ls --json").ok();
    check(&listing);
    let mut found: Vec<_> = listing
        .text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].clone())
        .collect();
    found.retain(|name| name != "link");
    assert_eq!(found.len(), HOSTILE.len());
    for name in HOSTILE {
        let expected = match std::str::from_utf8(name) {
            Ok(text) => serde_json::json!(text),
            Err(_) => serde_json::json!({"b64": "mzMxbQ=="}),
        };
        assert!(found.contains(&expected), "{expected} is not in {found:?}");
    }
    run(&world, "stat", &HOSTILE, &["--json"]).ok();
}

#[test]
fn every_verb_shows_hostile_names_escaped() {
    let world = world();
    let all = &HOSTILE[..];
    let here = &[all, &[b"."]].concat();
    let root = &[all, &[b"/"]].concat();
    run(&world, "stat", all, &[]).ok();
    run(&world, "ls", all, &["-l"]).ok();
    run(&world, "get", here, &[]).ok();
    run(&world, "get", here, &["--overwrite", "never"]).ok();
    run(&world, "put", root, &[]).ok();
    run(&world, "put", root, &["--overwrite", "never"]).ok();
    run(&world, "mkdir", all, &[]).exits(12);
    run(&world, "rm", all, &[]).ok();
    assert_eq!(
        (names(&world.here("")).len(), names(&world.root(""))),
        (HOSTILE.len(), vec!["link".to_owned()])
    );
}

#[test]
fn every_verb_shows_hostile_names_escaped_where_it_fails() {
    let world = World::plaintext();
    let all = &HOSTILE[..];
    for verb in ["stat", "ls", "cat", "hash", "rm"] {
        run(&world, verb, all, &[]).exits(12);
    }
    run(&world, "get", &[all, &[b"."]].concat(), &[]).exits(12);
    run(&world, "put", &[all, &[b"/"]].concat(), &[]).exits(12);
    for name in HOSTILE {
        run(&world, "df", &[name], &[]).exits(6);
        run(&world, "mv", &[name, name], &[]).exits(6);
    }
    run(&world, "put", &[b"missing", b"into\x1b[2J/"], &[]).exits(6);
    run(&world, "get", &[b"a", b"b", b"into\x1b[2J"], &[]).exits(2);
    run(&world, "ls", &[b"..\x1b[2J/../.."], &[]).exits(2);
}

#[test]
fn the_shell_shows_hostile_names_and_lines_escaped() {
    let world = world();
    fs::create_dir(world.root(OsStr::from_bytes(b"dir\x1b[2J"))).unwrap();
    fs::write(world.here(OsStr::from_bytes(b"here\x1b[2J")), "").unwrap();
    let lines = b"cd dir\x1b[2J\npwd\nlls\nls ..\nget \x1b[31m\x9b\n";
    let done = world.client().pipe(lines, "shell").exits(6);
    check(&done);
    assert!(done.text.starts_with("/dir\\x1b[2J\nhere\\x1b[2J\n"), "{}", done.text);
    assert!(done.stderr.starts_with("line 5: get \\x1b[31m\\x9b\n"), "{}", done.stderr);
}

#[test]
fn the_servers_log_shows_hostile_names_escaped() {
    let mut world = World::serving("--plaintext --verbose");
    for name in HOSTILE {
        let mut words = vec![OsString::from("get")];
        words.push(OsStr::from_bytes(name).into());
        world.client().words(words, b"").exits(6);
    }
    assert!(world.stop().success());
    let raw_stderr = fs::read(world.path("server.log")).unwrap();
    assert!(raw_stderr.windows(7).any(|part| part == b"request"));
    check(&Outcome { code: None, stdout: vec![], text: String::new(), raw_stderr, stderr: String::new() });
}

#[test]
fn the_servers_log_shows_hostile_agents_commands_and_digests_escaped() {
    let mut world = World::serving("--plaintext --verbose");
    let hostile = "\u{1b}]52;c;AAAA\u{7}\u{9b}2J\u{202e}\r\n2026-01-01T00:00:00Z  INFO forged\u{2028}";
    let mut stream = TcpStream::connect(&world.server().address).unwrap();
    for request in [
        serde_json::json!({"id": 0, "cmd": "hello", "version": 1, "agent": hostile}),
        serde_json::json!({"id": 1, "cmd": hostile, "path": hostile}),
        serde_json::json!({"id": 2, "cmd": "hash", "path": "a", "digest": hostile}),
        serde_json::json!({"id": 3, "cmd": "put", "path": "a", "digest": "md5", "replace": hostile}),
        serde_json::json!({"id": 4, "cmd": "df", "path": {"b64": hostile}}),
        serde_json::json!({"id": 5, "cmd": "df", "path": {hostile: "YQ=="}}),
        serde_json::json!({"id": 6, "cmd": "put", "path": "a", "digest": "md5", "expect": hostile}),
    ] {
        let json = request.to_string();
        stream.write_all(&u32::try_from(json.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(json.as_bytes()).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    assert!(world.stop().success());
    let raw_stderr = fs::read(world.path("server.log")).unwrap();
    let log = String::from_utf8_lossy(&raw_stderr).into_owned();
    assert!(log.contains("52;c;AAAA") && !log.contains("\n2026-01-01"), "{log}");
    check(&Outcome { code: None, stdout: vec![], text: String::new(), raw_stderr, stderr: String::new() });
}

#[test]
fn the_prompt_and_completion_show_no_hostile_name_as_it_is() {
    let world = world();
    let dir = world.root(OsStr::from_bytes(b"red\x1b[31m\xe2\x80\xae"));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("two-safe"), "").unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"two-\x1b]52;c;AAAA\x07")), "").unwrap();
    let mut shell = Terminal::shell(&world);
    // The name is completed by whoever types it whole, and never shown but escaped.
    shell.keys("ls two\t\t");
    shell.control('c');
    shell.expect(PROMPT);
    let lines = b"cd red\x1b[31m\xe2\x80\xae\npwd\nls\n";
    let done = world.client().pipe(lines, "shell").ok();
    check(&done);
    assert!(done.text.starts_with("/red\\x1b[31m\\u{202e}\n"), "{}", done.text);
    shell.line("exit");
    assert_eq!(shell.ends().0, 0);
}

/// A server in the clear on which everything is a directory, and each of them holds what `entries` says; in this
/// process. It serves whoever comes, for as long as the test runs.
fn lying_server(entries: fn(&mut TcpStream) -> std::io::Result<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || lie(stream, entries));
        }
    });
    address
}

fn lie(mut stream: TcpStream, entries: fn(&mut TcpStream) -> std::io::Result<String>) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut json = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut json)?;
        let request: serde_json::Value = serde_json::from_slice(&json)?;
        let mut reply = serde_json::json!({"id": request["id"], "ok": true, "version": 1, "agent": "",
            "digests": ["md5", "blake3"], "commands": [], "login": false,
            "entry": {"kind": "dir", "size": 1, "mtime": [0, 0], "mode": "755"}});
        reply["body"] = (request["cmd"] == "ls").into();
        stream.write_all(&framed(reply.to_string().as_bytes()))?;
        if request["cmd"] == "ls" {
            let lines = entries(&mut stream)?;
            let algorithm: ftpish_protocol::Algorithm = request["digest"].as_str().unwrap().parse().unwrap();
            let digest = algorithm.digest(lines.as_bytes()).to_string();
            let count = lines.lines().count();
            let trailer = serde_json::json!({"length": lines.len(), "digest": digest, "entries": count});
            let trailer = framed(trailer.to_string().as_bytes());
            stream.write_all(&[framed(lines.as_bytes()), vec![0; 4], trailer].concat())?;
        }
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

const SUBDIRECTORY: &str = r#"{"name":"d","kind":"dir","size":1,"mtime":[0,0],"mode":"755"}"#;

#[test]
fn a_tree_without_a_bottom_is_not_walked_for_ever() {
    let world = World::empty();
    let address = lying_server(|_| Ok(format!("{SUBDIRECTORY}\n")));
    let client = world.newcomer().flags(["--plaintext", "--server", &address].map(OsString::from));
    let hashed = client.run("hash -r .").exits(1);
    assert!(hashed.stderr.contains("d`: it is nested too deeply for any real tree\n"), "{}", hashed.stderr);
}

#[test]
fn a_directory_without_an_end_is_not_held_for_ever() {
    let world = World::empty();
    let address = lying_server(|stream| {
        let lines = format!("{SUBDIRECTORY}\n").repeat(15_000);
        loop {
            stream.write_all(&framed(lines.as_bytes()))?;
        }
    });
    let client = world.newcomer().flags(["--plaintext", "--server", &address].map(OsString::from));
    let hashed = client.run("hash -r .").exits(1);
    assert_snapshot!(hashed.stderr, @"ftpish: cannot walk `.`: it has too many names for any real tree");
}
