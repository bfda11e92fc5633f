//! A sync with backups that dies, or is refused, at each system call that a name depends on: the old content is under its
//! name or its backup's, and the name is always there.

use std::fs;
use std::process::Output;

use rustix::process::Signal;

use super::order::{self, Step, may_trace, steps, traced};
use crate::harness::{Server, World};
use crate::trial::{content, eventually};

/// Which side is the one that stores, and what happens to it.
#[derive(Clone, Copy, Debug)]
struct Fate<'a> {
    on_server: bool,
    /// As strace(1) takes it behind `inject=`.
    inject: &'a str,
    /// Whether that is for calls alone which have to do with the directory of the backups.
    only_backups: bool,
}

const CALLS: &str = "trace=linkat,mkdirat,renameat,renameat2,fsync";

const LINES: [&str; 2] = [
    "sync -q --delete --backup-dir bak --retries 0 :tree tree",
    "sync -q --delete --backup-dir bak --retries 0 tree :tree",
];

/// A world in which `a` is new on one side and old on the other, which alone has `gone`.
fn furnished(on_server: bool) -> World {
    let world = World::plaintext();
    for (is_target, top) in [(on_server, world.root("tree")), (!on_server, world.here("tree"))] {
        fs::create_dir(&top).unwrap();
        fs::write(top.join("a"), if is_target { "old" } else { "newer" }).unwrap();
        if is_target {
            fs::write(top.join("gone"), "gone").unwrap();
        }
    }
    world
}

/// Runs the sync with one side traced.
fn run(world: &World, Fate { on_server, inject, only_backups }: Fate<'_>) -> Output {
    let (trace, inject) = (world.path("trace"), format!("inject={inject}"));
    let backups = if on_server { world.root("tree/bak") } else { world.here("tree/bak") };
    let mut words = vec!["-e", CALLS, "-e", &inject];
    if only_backups {
        words.extend(["-P", backups.to_str().unwrap()]);
    }
    let line = LINES[usize::from(on_server)].split_whitespace();
    if !on_server {
        return traced(&world.client().command(line), &trace, &words).output().unwrap();
    }
    let serve = world.serve_command("--listen 127.0.0.1:0 --plaintext");
    let server = Server::start(traced(&serve, &trace, &words), world.path("server.log"));
    let output = world.client_of(&server.address).command(line).output().unwrap();
    server.stop(Signal::KILL);
    output
}

#[track_caller]
fn check(fate: Fate<'_>, succeeds: Option<bool>) {
    let world = furnished(fate.on_server);
    let top = if fate.on_server { world.root("tree") } else { world.here("tree") };
    let read = |name: &str| fs::read_to_string(top.join(name)).ok();
    let output = run(&world, fate);
    assert!(succeeds.is_none_or(|succeeds| output.status.success() == succeeds), "{fate:?}: {output:?}");
    let (now, kept) = (read("a").unwrap_or_default(), read("bak/a").unwrap_or_default());
    assert!(["old", "newer"].contains(&&*now), "{fate:?}: {now:?}");
    assert!(now == "old" || kept == "old", "{fate:?}: {now:?}, {kept:?} is kept");
    assert!([read("gone"), read("bak/gone")].contains(&Some("gone".to_owned())), "{fate:?}");
    world.run(LINES[usize::from(fate.on_server)]).ok();
    let all = [read("a"), read("bak/a"), read("bak/gone"), read("gone")];
    assert_eq!(all.map(Option::unwrap_or_default), ["newer", "old", "gone", ""], "{fate:?}, and once more");
}

#[test]
fn whatever_call_it_dies_at_or_fails_at_the_old_content_is_kept_and_the_name_is_there() {
    if !may_trace() {
        return;
    }
    for on_server in [true, false] {
        for (calls, times) in [("linkat", 3), ("mkdirat", 1), ("renameat,renameat2", 3), ("fsync", 4)] {
            for when in 1..=times {
                for what in ["signal=KILL", "error=EIO"] {
                    let inject = format!("{calls}:{what}:when={when}");
                    // The calls are counted by the thread, so there may be no later one.
                    check(
                        Fate { on_server, inject: &inject, only_backups: false },
                        (when == 1).then_some(false),
                    );
                }
            }
        }
    }
}

#[test]
fn a_file_system_without_second_names_keeps_what_is_replaced_by_renaming_it() {
    if !may_trace() {
        return;
    }
    for on_server in [true, false] {
        for error in ["EPERM", "EOPNOTSUPP", "EMLINK"] {
            let inject = format!("linkat:error={error}");
            check(Fate { on_server, inject: &inject, only_backups: true }, Some(true));
        }
    }
}

#[test]
fn what_is_replaced_is_synced_under_its_other_name_before_it_loses_its_own() {
    use Step::{Name, Reply, SyncDir, SyncFile, Write};
    if !may_trace() {
        return;
    }
    for size in [300_000, 5 << 20] {
        let world = World::plaintext();
        let trace = world.path("trace");
        let serve = world.serve_command("--listen 127.0.0.1:0 --plaintext");
        let server = Server::start(traced(&serve, &trace, &["-e", order::CALLS]), world.path("server.log"));
        for dir in [world.root("tree/bak"), world.here("tree")] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(world.root("tree/a"), "old").unwrap();
        fs::write(world.here("tree/a"), content(1, size)).unwrap();
        world.client_of(&server.address).run("sync -q --backup-dir bak tree :tree").ok();
        drop(server);
        eventually(|| fs::read_to_string(&trace).unwrap().contains("+++ exited with 0 +++"));
        let expected = [Write, SyncFile, Name, SyncDir, Name, SyncDir, Reply];
        assert!(steps(&trace).ends_with(&expected), "{size}: {:?}", steps(&trace));
    }
}
