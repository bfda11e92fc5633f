//! What the serving process gave up, as the kernel tells it: core dumps, root's rights, the rest of the disk.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use crate::harness::{World, skip};

/// The lines of a file in /proc.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The lines of `/proc/PID/NAME`.
fn proc(world: &World, name: &str) -> Vec<String> {
    lines(&fs::read_to_string(format!("/proc/{}/{name}", world.server().pid())).unwrap())
}

#[track_caller]
fn expect(lines: &[String], line: &str) {
    assert!(lines.iter().any(|found| found.starts_with(line)), "{line} is not in {lines:#?}");
}

#[test]
fn the_server_leaves_no_core_and_gains_no_rights() {
    let world = World::plaintext();
    expect(&proc(&world, "limits"), "Max core file size 0 0 ");
    expect(&proc(&world, "status"), "NoNewPrivs: 1");
}

#[test]
fn serve_says_whether_it_is_in_a_sandbox() {
    let world = World::plaintext();
    let first = world.server().printed.lines().next().unwrap().to_owned();
    assert!(
        first.ends_with("to read and write, in a sandbox")
            || first.ends_with("to read and write, without a sandbox: this kernel has no Landlock"),
        "{first}"
    );
}

#[test]
fn in_a_sandbox_every_verb_works_between_directories_and_over_a_unix_socket() {
    let mut world = World::serving_on("unix:{}/socket", "--plaintext");
    fs::write(world.here("file"), "content").unwrap();
    symlink("dir", world.root("link")).unwrap();
    for line in [
        "mkdir -p dir/below",
        "put file dir/file",
        "mv dir/file dir/below/file",
        "mv dir/below moved",
        "mv moved/file .",
        "put file link/file",
        "ls link",
        "hash file",
        "df dir",
        "get file back",
        "rm -r dir",
        "rm file link moved",
    ] {
        world.run(line).ok();
    }
    assert!(world.stop().success());
    assert!(!world.path("socket").exists(), "it took its socket away");
    let log = fs::read_to_string(world.path("server.log")).unwrap();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn serve_as_a_user_has_that_users_rights_in_every_thread_and_no_way_back() {
    let nobody = nix::unistd::User::from_name("nobody").unwrap().filter(|_| nix::unistd::geteuid().is_root());
    let Some(nobody) = nobody else {
        return skip("only root can become somebody else");
    };
    let world = World::serving("--user nobody");
    fs::write(world.here("file"), "content").unwrap();
    fs::set_permissions(world.root(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(world.root("private"), "root's").unwrap();
    fs::set_permissions(world.root("private"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(world.root("public"), "everybody's").unwrap();
    let (uid, gid) = (nobody.uid.to_string(), nobody.gid.to_string());
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{}/task", world.server().pid())).unwrap() {
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else {
            continue; // The thread has ended since the directory was read.
        };
        let status = lines(&status);
        expect(&status, &format!("Uid: {uid} {uid} {uid} {uid}"));
        expect(&status, &format!("Gid: {gid} {gid} {gid} {gid}"));
        expect(&status, "CapEff: 0000000000000000");
        expect(&status, "CapPrm: 0000000000000000");
        let groups = status.iter().find(|line| line.starts_with("Groups:")).unwrap();
        assert!(!groups.split(' ').any(|group| group == "0"), "{groups}");
        threads += 1;
    }
    assert!(threads > 1, "it has more threads than its first");
    assert_eq!(world.run("cat public").ok().text, "everybody's");
    world.run("cat private").exits(7);
    world.run("put file").exits(7);
    chown(world.root(""), Some(nobody.uid.as_raw()), None).unwrap();
    world.run("put file").ok();
}

#[test]
fn a_user_that_is_none_or_root_is_refused_before_anything_is_bound() {
    let world = World::empty();
    for name in ["nosuchuser", "root"] {
        let refused = world.serve_in_vain(&format!("--listen 127.0.0.1:0 --user {name}")).exits(2);
        assert!(refused.stderr.contains(&format!("cannot become `{name}`")), "{}", refused.stderr);
    }
    assert!(!world.path("server-state").exists());
}
