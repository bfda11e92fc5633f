//! Every way to reach a server, and to name it.

use std::fs;

use insta::assert_snapshot;

use crate::harness::{Client, Outcome, World, names, noise, skip};

/// Puts a file, gets it back with each digest, and compares.
#[track_caller]
fn check(world: &World, client: &Client<'_>) {
    let bytes = noise(700_001);
    fs::write(world.here("a"), &bytes).unwrap();
    for digest in ["blake3", "sha256", "md5"] {
        let put = client.run(&format!("put a there --digest {digest}")).ok();
        let got = client.run(&format!("get there back --digest {digest}")).ok();
        let proof = format!("  verified {digest} ");
        assert!(put.stderr.contains(&proof) && got.stderr.contains(&proof), "{}{}", put.stderr, got.stderr);
        assert!(fs::read(world.here("back")).unwrap() == bytes);
        fs::remove_file(world.here("back")).unwrap();
        fs::remove_file(world.root("there")).unwrap();
    }
    client.run("ls").ok().silent();
}

#[test]
fn encrypted_over_tcp_with_each_digest() {
    let world = World::new();
    check(&world, &world.client());
}

#[test]
fn in_the_clear_over_tcp_with_each_digest() {
    let world = World::plaintext();
    assert_eq!(world.server().key, None);
    check(&world, &world.client());
}

#[test]
fn encrypted_and_in_the_clear_over_a_unix_socket() {
    for flags in ["", "--plaintext"] {
        let world = World::serving_on("unix:{}/socket", flags);
        assert!(world.server().address.starts_with("unix:/"));
        check(&world, &world.client());
    }
}

#[test]
fn over_ipv6_where_there_is_any() {
    if let Err(error) = std::net::TcpListener::bind("[::1]:0") {
        return skip(format_args!("no IPv6: {error}"));
    }
    let world = World::serving_on("[::1]:0", "");
    check(&world, &world.client());
}

#[test]
fn one_server_listens_in_several_places() {
    let world = World::serving_on("127.0.0.1:0 --listen unix:{}/socket", "");
    assert_eq!(world.server().addresses.len(), 2);
    for address in &world.server().addresses {
        check(&world, &world.client_of(address));
    }
}

#[test]
fn a_url_names_the_server_in_place_of_a_path() {
    let world = World::new();
    fs::create_dir(world.root("dir")).unwrap();
    fs::write(world.root("dir/a b"), "a b\n").unwrap();
    let key = world.server().key.clone().unwrap();
    let client = world.newcomer().flags(["--host-key".into(), key.into()]);
    let url = |path: &str| world.server().url(path);
    let run = |line: String| client.run(&line).ok();
    assert_eq!(run(format!("ls {}", url(""))).text, "dir\n");
    assert_eq!(run(format!("ls {}", url("dir"))).text, "a b\n");
    assert_eq!(run(format!("cat {}", url("dir/a%20b"))).text, "a b\n");
    assert_eq!(run(format!("ls {} /", url("dir"))).text.lines().count(), 5);
    run(format!("get {} copy", url("dir/a%20b")));
    run(format!("put copy {}", url("dir/")));
    run(format!("mv {} {}", url("dir/copy"), url("moved")));
    assert_eq!(fs::read_to_string(world.root("moved")).unwrap(), "a b\n");
    assert_eq!(names(&world.here("")), ["copy"]);
}

#[test]
fn one_command_works_with_one_server() {
    let world = World::new();
    let other = client_urls(&world, "ftpish://elsewhere:99/b").exits(2);
    assert_snapshot!(other.stderr, @"ftpish: `elsewhere:99` is another server than [SERVER]: one command works with one server");
    let half = client_urls(&world, "ftpish://me:hun/ter2@elsewhere/b").exits(2);
    assert!(half.stderr.contains("are written %2F") && !half.stderr.contains("hun"), "{}", half.stderr);
}

fn client_urls(world: &World, second: &str) -> Outcome {
    world.client().run(&format!("mv {} {second}", world.server().url("a")))
}

#[test]
fn the_environment_names_the_server_and_the_state_and_a_flag_has_precedence() {
    let world = World::new();
    fs::write(world.root("a"), "").unwrap();
    let key = world.server().key.clone().unwrap();
    let pinned = world.newcomer().flags(["--host-key".into(), key.into()]);
    let told = pinned.env("FTPISH_SERVER", &world.server().address);
    assert_eq!(told.run("ls").ok().text, "a\n");
    let misled = world.client().env("FTPISH_SERVER", "127.0.0.1:1");
    assert_eq!(misled.run("ls").ok().text, "a\n");
    told.env("FTPISH_SERVER", "127.0.0.1:port").run("ls").exits(2);
}

#[test]
fn the_line_that_the_server_prints_works_as_it_is() {
    for flags in ["", "--plaintext"] {
        let world = World::serving(flags);
        fs::write(world.root("a"), "").unwrap();
        let line = world.server().printed.lines().nth(1).unwrap().to_owned();
        let pasted = line.trim().strip_prefix("ftpish ").unwrap();
        assert_eq!(world.newcomer().run(pasted).ok().text, "a\n");
    }
}

#[test]
fn a_client_and_a_server_that_disagree_about_encryption_get_a_hint() {
    let world = World::new();
    let clear = world.stranger().run("ls --plaintext").exits(13);
    assert_snapshot!(clear.stderr, @r"
    ftpish: cannot list `.`: a message of 352518912 bytes is over the limit of 65536
    hint: if the server speaks TLS, leave --plaintext out
    ");
    let world = World::plaintext();
    let secure = world.stranger().run("ls").exits(3);
    let hint = "hint: a server that was started with --plaintext wants clients that say so too\n";
    assert!(secure.stderr.starts_with("ftpish: no TLS with [SERVER]: "), "{}", secure.stderr);
    assert!(secure.stderr.ends_with(hint), "{}", secure.stderr);
}
