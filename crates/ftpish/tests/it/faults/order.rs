//! What a system call trace shows: write, sync, name, sync of the directory, and only then the reply; and an error of any
//! of them reaches whoever asked.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Server, World, is_installed, names};
use crate::trial::{content, eventually};

/// A step towards a stored file, or behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write,
    SyncFile,
    /// A partial file gets the name of its target, in place of its own or as its first.
    Name,
    SyncDir,
    Reply,
}

/// `strace` with these words before `command`, which stays our own child.
pub(super) fn traced(command: &Command, to: &Path, words: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-y", "-s", "512", "-o"]).arg(to).args(words);
    strace.arg(command.get_program()).args(command.get_args());
    strace.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
}

/// Whether a process may be traced here; says so where it may not, and the test is skipped.
pub(super) fn may_trace() -> bool {
    let may = is_installed("strace")
        && Command::new("strace").args(["-o", "/dev/null", "true"]).status().unwrap().success();
    if !may {
        eprintln!("SKIPPED: nothing can be traced here");
    }
    may
}

/// The steps in the order in which they ended, repetitions left out.
pub(super) fn steps(trace: &Path) -> Vec<Step> {
    let trace = fs::read(trace).unwrap();
    let mut begun: HashMap<String, String> = HashMap::new();
    let mut steps = Vec::new();
    for line in String::from_utf8_lossy(&trace).lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let mut call = call.trim_start().to_owned();
        if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(thread.to_owned(), start.to_owned());
            continue;
        }
        if call.starts_with("<... ") {
            call = begun.remove(thread).unwrap_or_default() + &call;
        }
        let name = call.split('(').next().unwrap();
        let is_partial = call.contains("/.ftpish-") || call.contains(">(deleted)");
        let step = match name {
            "pwrite64" | "write" if is_partial => Step::Write,
            "fsync" | "syncfs" if is_partial => Step::SyncFile,
            "fsync" => Step::SyncDir,
            "renameat" | "renameat2" if call.contains("\".ftpish-") => Step::Name,
            // One whose target is there gets a name of its own first, and is then renamed.
            "linkat" if call.contains("\".ftpish-") || call.contains(" EEXIST ") => continue,
            "linkat" if is_partial => Step::Name,
            // What tells of a file has its size; the reply to `hello` may come at any time.
            "sendto" | "write" if call.contains("socket:") && call.contains("\\\"ok\\\":true,\\\"size") => {
                Step::Reply
            }
            _ => continue,
        };
        assert!(!call.contains(" = -1 "), "{call}");
        if steps.last() != Some(&step) {
            steps.push(step);
        }
    }
    steps
}

pub(super) const CALLS: &str =
    "trace=write,pwrite64,fsync,fdatasync,syncfs,linkat,renameat2,rename,renameat,sendto";

#[track_caller]
fn check_put(size: u64, flags: &str, expected: &[Step]) {
    let world = World::plaintext();
    let trace = world.path("trace");
    let serve = world.serve_command(&format!("--listen 127.0.0.1:0 --plaintext {flags}"));
    let server = Server::start(traced(&serve, &trace, &["-e", CALLS]), world.path("server.log"));
    fs::write(world.here("a"), content(1, size)).unwrap();
    world.client_of(&server.address).run("put a").ok();
    drop(server);
    eventually(|| fs::read_to_string(&trace).unwrap().contains("+++ exited with 0 +++"));
    let steps = steps(&trace);
    assert!(steps.ends_with(expected), "{steps:?}");
    // What precedes are replies to what precedes the file.
    let before = &steps[..steps.len() - expected.len()];
    assert!(before.iter().all(|step| *step == Step::Reply), "{steps:?}");
}

#[test]
fn a_put_is_written_synced_named_synced_and_only_then_granted() {
    use Step::{Name, Reply, SyncDir, SyncFile, Write};
    if may_trace() {
        check_put(300_000, "", &[Write, SyncFile, Name, SyncDir, Reply]);
        check_put(5 << 20, "", &[Write, SyncFile, Name, SyncDir, Reply]);
        check_put(5 << 20, "--no-sync", &[Write, Name, Reply]);
    }
}

#[test]
fn a_get_is_written_synced_named_and_synced() {
    use Step::{Name, SyncDir, SyncFile, Write};
    if !may_trace() {
        return;
    }
    let world = World::plaintext();
    for size in [300_000, 5 << 20] {
        fs::write(world.root("a"), content(1, size)).unwrap();
        for (flags, expected) in [("", &[Write, SyncFile, Name, SyncDir][..]), ("--no-sync", &[Write, Name])]
        {
            let trace = world.path("trace");
            let get = world.client().command(["get", "-q", "a"].into_iter().chain(flags.split_whitespace()));
            let output = traced(&get, &trace, &["-e", CALLS]).output().unwrap();
            world.outcome("get, traced", output).ok();
            eventually(|| fs::read_to_string(&trace).unwrap().contains("+++ exited with 0 +++"));
            assert_eq!(steps(&trace), expected, "{size} {flags}");
            fs::remove_file(world.here("a")).unwrap();
            fs::remove_file(trace).unwrap();
        }
    }
}

/// How many syncs a trace has, of files, file systems and directories.
fn syncs(trace: &Path) -> usize {
    let trace = fs::read_to_string(trace).unwrap();
    trace.lines().filter(|line| line.contains("fsync(") || line.contains("syncfs(")).count()
}

#[test]
fn a_crowd_of_small_files_shares_its_syncs_in_both_directions() {
    use Step::{Name, Reply, SyncDir, SyncFile, Write};
    if !may_trace() {
        return;
    }
    let world = World::plaintext();
    let (put, get) = (world.path("trace.put"), world.path("trace.get"));
    let serve = world.serve_command("--listen 127.0.0.1:0 --plaintext");
    let server = Server::start(traced(&serve, &put, &["-e", CALLS]), world.path("server.log"));
    let files: Vec<_> = (0..20).map(|index| format!("f{index}")).collect();
    for (seed, name) in files.iter().enumerate() {
        fs::write(world.here(name), content(seed as u64, 500)).unwrap();
    }
    let client = world.client_of(&server.address);
    let line = |verb: &str, to: &str| format!("{verb} -q {} {to}", files.join(" "));
    client.run(&line("put", "/")).ok();
    let get_line = line("get", "back/");
    let words = get_line.split_whitespace();
    let output = traced(&client.command(words), &get, &["-e", CALLS]).output().unwrap();
    world.outcome("get, traced", output).ok();
    drop(server);
    for trace in [&put, &get] {
        eventually(|| fs::read_to_string(trace).unwrap().contains("+++ exited with 0 +++"));
        assert_eq!(syncs(trace), 2, "one of the files, one of their directory");
    }
    assert!(steps(&put).ends_with(&[Write, SyncFile, Name, SyncDir, Reply]));
    assert_eq!(steps(&get), [Write, SyncFile, Name, SyncDir]);
    for name in &files {
        assert_eq!(
            fs::read(world.here(format!("back/{name}"))).unwrap(),
            fs::read(world.root(name)).unwrap()
        );
    }
}

#[test]
fn an_error_of_each_step_reaches_whoever_asked() {
    if !may_trace() {
        return;
    }
    for size in [300_000, 5 << 20] {
        for (what, inject, code, old) in [
            ("a write", "inject=pwrite64:error=EIO:when=2", 1, true),
            ("a write to a full disk", "inject=pwrite64:error=ENOSPC:when=2", 10, true),
            ("the sync of the file", "inject=fsync:error=EIO:when=1", 1, true),
            ("the rename", "inject=renameat,renameat2:error=EIO", 1, true),
            ("the first name", "inject=linkat:error=EIO", 1, true),
            ("the sync of the directory", "inject=fsync:error=EIO:when=2", 1, false),
        ] {
            // What can be taken up again has a name from the beginning.
            if size > 4 << 20 && what == "the first name" {
                continue;
            }
            let world = World::plaintext();
            let serve = world.serve_command("--listen 127.0.0.1:0 --plaintext");
            let traced = traced(&serve, Path::new("/dev/null"), &["-e", CALLS, "-e", inject]);
            let server = Server::start(traced, world.path("server.log"));
            fs::write(world.root("a"), "old").unwrap();
            fs::write(world.here("a"), content(1, size)).unwrap();
            world.client_of(&server.address).run("put a --retries 0").exits(code);
            let is_old = fs::read(world.root("a")).unwrap() == b"old";
            assert_eq!(is_old, old, "{what} of {size}");
            // The same server, which the error has left as it was.
            world.run("put -q a").ok();
            assert!(fs::read(world.root("a")).unwrap() == content(1, size));
            assert_eq!(names(&world.root("")), ["a"], "{what} of {size}");
        }
    }
}
