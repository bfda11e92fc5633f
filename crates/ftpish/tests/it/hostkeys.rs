//! Whose key is trusted, and how loudly one is refused that is not.

use std::fs;

use insta::assert_snapshot;

use crate::harness::World;

/// A key that no server has.
const OTHER: &str = "SHA256:AAAAv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";

#[test]
fn an_unknown_key_is_refused_and_shown_and_not_remembered() {
    let world = World::new();
    let refused = world.stranger().run("ls").exits(5);
    assert_snapshot!(refused.stderr, @r"
    ftpish: the host key of [SERVER] is not known: [KEY]
    hint: compare it with what [SERVER] printed when it started; then --host-key [KEY], or --accept-new
    ");
    assert_eq!(refused.text, "");
    assert!(!world.path("state/known_hosts").exists());
    world.stranger().run("ls").exits(5);
}

#[test]
fn accept_new_remembers_the_key_for_the_next_time() {
    let world = World::new();
    fs::write(world.root("a"), "").unwrap();
    assert_eq!(world.stranger().run("ls --accept-new").ok().text, "a\n");
    let known = fs::read_to_string(world.path("state/known_hosts")).unwrap();
    let (address, key) = (&world.server().address, world.server().key.as_ref().unwrap());
    assert_eq!(known, format!("{address} {key}\n"));
    assert_eq!(world.stranger().run("ls").ok().stderr, "");
}

#[test]
fn a_pinned_key_is_not_remembered_and_another_one_is_refused() {
    let world = World::new();
    world.client().run("ls").ok();
    assert!(!world.path("state/known_hosts").exists());
    let wrong = world.stranger().run(&format!("ls --host-key {OTHER}")).exits(5);
    let said = wrong.stderr.replace(OTHER, "[OTHER]");
    assert_snapshot!(said, @"ftpish: the host key of [SERVER] is [KEY], but [OTHER] is expected");
    world.stranger().run(&format!("ls --accept-new --host-key {OTHER}")).exits(5);
}

#[test]
fn a_changed_key_is_refused_loudly_and_the_message_says_what_to_do() {
    const ADDRESS: &str = "unix:{}/socket";
    let mut world = World::serving_on(ADDRESS, "");
    world.stranger().run("ls --accept-new").ok();
    let old = world.server().key.clone().unwrap();
    assert!(world.stop().success());
    fs::remove_dir_all(world.path("server-state")).unwrap();
    let address = ADDRESS.replace("{}", world.path("").to_str().unwrap().trim_end_matches('/'));
    world.restart(&address);
    let refused = world.stranger().run("ls").exits(5);
    assert_snapshot!(refused.stderr.replace(&old, "[OLD KEY]"), @r"
    ftpish: the host key of unix:[DIR]/socket is [KEY], but [OLD KEY] is expected
    THE HOST KEY HAS CHANGED: somebody may be in between and read what you send
    hint: if the server was set up anew, remove the line of unix:[DIR]/socket from [DIR]/state/known_hosts and connect again
    ");
    assert_eq!(refused.text, "");
    // What the hint says helps, and nothing less.
    world.stranger().run("ls --accept-new").exits(5);
    fs::write(world.path("state/known_hosts"), "").unwrap();
    world.stranger().run("ls").exits(5);
    world.stranger().run("ls --accept-new").ok();
    world.stranger().run("ls").ok();
}

#[test]
fn a_line_of_known_hosts_that_cannot_be_read_is_never_taken_for_a_missing_one() {
    let world = World::new();
    fs::create_dir(world.path("state")).unwrap();
    let line = format!("{} SHA256:broken\n", world.server().address);
    fs::write(world.path("state/known_hosts"), format!("# mine\n{line}")).unwrap();
    let refused = world.stranger().run("ls --accept-new").exits(5);
    assert_snapshot!(refused.stderr, @"ftpish: line 2 of the known hosts in `[DIR]/state/known_hosts` is not `HOST:PORT SHA256:…`");
}

#[test]
fn the_server_of_the_same_user_on_the_same_machine_needs_no_question() {
    let world = World::new();
    let mut command = world.command();
    command
        .args(["--server", &world.server().address, "ls"])
        .env("FTPISH_STATE_DIR", world.path("server-state"));
    let output = command.output().unwrap();
    world.outcome("ls, with the state that the server has", output).ok().silent();
    // Elsewhere the same key is anybody's.
    world.stranger().run("ls").exits(5);
}
