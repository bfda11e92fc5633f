//! `serve`: its key, what it prints, where it refuses to listen, and how it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use rustix::process::Signal;

use crate::harness::{World, names};

#[test]
fn the_first_start_makes_a_private_key_and_the_next_ones_keep_it() {
    let mut world = World::new();
    let key = world.server().key.clone();
    let file = world.path("server-state/host.pem");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let dir = world.path("server-state").metadata().unwrap();
    assert_eq!(dir.permissions().mode() & 0o7777, 0o700);
    let pem = fs::read(&file).unwrap();
    assert!(world.stop().success());
    world.restart("127.0.0.1:0");
    assert_eq!(world.server().key, key);
    assert_eq!(fs::read(&file).unwrap(), pem);
    assert_eq!(names(&world.path("server-state")), ["host.pem"]);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let mut world = World::new();
    assert!(world.stop().success());
    let file = world.path("server-state/host.pem");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = world.serve_in_vain("--listen 127.0.0.1:0").exits(5);
    assert_snapshot!(refused.stderr, @"ftpish: the host key `server-state/host.pem` can be read by others: chmod 600 it, or delete it to get a new one");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    world.restart("127.0.0.1:0");
}

#[test]
fn it_prints_what_it_serves_and_a_line_to_paste() {
    let world = World::new();
    let printed = world.server().printed.replace(world.path("").to_str().unwrap(), "[DIR]/");
    let printed = printed.replace(&world.server().address, "[SERVER]");
    let printed = printed.replace("without a sandbox: this kernel has no Landlock", "in a sandbox");
    assert_snapshot!(printed.replace(world.server().key.as_ref().unwrap(), "[KEY]"), @r"
    serving [DIR]/root to read and write, in a sandbox
      ftpish --server [SERVER] --host-key [KEY] ls
    ");
    let mut world = World::serving_on("127.0.0.1:0", "--plaintext --read-only");
    assert!(world.server().printed.lines().next().unwrap().contains("/root read-only, "));
    assert!(!world.path("server-state").exists());
    assert!(world.stop().success());
    let log = fs::read_to_string(world.path("server.log")).unwrap();
    assert!(log.lines().any(|line| line.starts_with("not encrypted: ")), "{log}");
}

#[test]
fn other_machines_are_let_in_only_where_somebody_said_so() {
    let world = World::empty();
    let refused = world.serve_in_vain("--listen 0.0.0.0:0").exits(2);
    assert_snapshot!(refused.stderr, @r"
    ftpish: other machines could connect there, and there are no accounts to ask for
    hint: --users FILE says who may log in; --anonymous lets everybody read, --anonymous write lets everybody change what is served; on a terminal, and encrypted, a password for this run is made
    ");
    assert_eq!(refused.text, "");
    world.serve_in_vain("--listen 127.0.0.1:0 --listen :0").exits(2);
    assert!(!world.path("server-state").exists());
}

#[test]
fn anonymous_lets_everybody_read_and_only_with_write_change_anything() {
    #[track_caller]
    fn check(flags: &str, code: i32) {
        let world = World::serving_on("0.0.0.0:0", flags);
        fs::write(world.here("a"), "a").unwrap();
        let client = world.client_of(&world.server().address.replace("0.0.0.0", "127.0.0.1"));
        client.run("ls").ok();
        client.run("put a").exits(code);
        assert_eq!(world.root("a").exists(), code == 0);
    }
    check("--anonymous", 7);
    check("--anonymous read", 7);
    check("--anonymous write", 0);
    check("--anonymous write --read-only", 7);
}

#[test]
fn a_read_only_server_lets_nothing_be_changed() {
    let world = World::serving("--read-only");
    fs::write(world.root("a"), "served").unwrap();
    fs::write(world.here("a"), "mine").unwrap();
    for line in ["put a", "put a new", "mkdir dir", "rm a", "rm -r a", "mv a b"] {
        let denied = world.run(line).exits(7);
        assert!(denied.stderr.trim_end().ends_with(": the server is read-only"), "{}", denied.stderr);
    }
    world.client().pipe(b"piped", "put - a").exits(7);
    assert_eq!(world.run("cat a").ok().text, "served");
    assert_eq!(names(&world.root("")), ["a"]);
}

#[test]
fn a_signal_ends_it_with_0_though_a_client_is_idle() {
    for signal in [Signal::TERM, Signal::INT] {
        let world = World::empty();
        let server = world.start("127.0.0.1:0", "");
        let key = server.key.clone().unwrap();
        let client = world.stranger_to(&server.address).flags(["--host-key".into(), key.into()]);
        let mut shell = client.spawn("shell");
        let mut requests = shell.stdin.take().unwrap();
        requests.write_all(b"stat .\n").unwrap();
        let mut answer = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
        assert_eq!(answer, "path  .\n");
        // A server that waited for it would cut it in the end, and not end with 0.
        assert!(server.stop(signal).success());
        requests.write_all(b"stat .\n").unwrap();
        drop(requests);
        world.wait(shell).exits(3);
    }
}

#[test]
fn it_refuses_an_address_that_is_taken_and_a_root_that_is_none() {
    let world = World::new();
    let taken = world.serve_in_vain(&format!("--listen {}", world.server().address)).exits(3);
    assert_snapshot!(taken.stderr, @r"
    ftpish: cannot listen on [SERVER]: Address already in use (os error 98)
    hint: another server has this address; choose another with --listen
    ");
    let mut nowhere = world.command();
    nowhere.args(["serve", "nowhere", "--listen", "127.0.0.1:0"]);
    let refused = world.outcome("serve nowhere", nowhere.output().unwrap()).exits(6);
    assert_snapshot!(refused.stderr, @"ftpish: cannot serve `nowhere`: No such file or directory (os error 2)");
}
