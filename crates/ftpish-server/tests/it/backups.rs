//! What is replaced or removed is kept where that is asked: by one request, and by `sync --backup-dir` either way.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use ftpish_client::{Compare, Outcome, Progress, Step, Tree, TreeJob, Way};
use ftpish_protocol::{Algorithm, RemotePath};
use ftpish_server::{Accounts, Right, Rights, Users};
use serde_json::{Value, json};

use crate::harness::{TestServer, path};
use crate::raw::{Raw, body, code, frame, put_header};

/// Puts a file that says its own request, and tells what was said to that: nothing, or a code.
#[track_caller]
fn put(raw: &mut Raw, at: &str, backup: &str, content: &str) -> String {
    let mut header = put_header(1, at);
    header["backup"] = json!(backup);
    header["size"] = json!(content.len());
    raw.send(&[frame(&header), body(content.as_bytes())].concat());
    said(&raw.receive())
}

#[track_caller]
fn ask(raw: &mut Raw, request: Value) -> String {
    let mut all = json!({"id": 1});
    all.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    said(&raw.ask(&all))
}

fn said(reply: &Value) -> String {
    if reply["ok"] == true { String::new() } else { code(reply).to_owned() }
}

#[test]
fn a_file_that_is_replaced_or_removed_is_kept_under_the_name_of_its_backup() {
    for sync in [false, true] {
        let server = TestServer::with(|setup| setup.sync = sync);
        server.write("a", "one");
        let inode = fs::metadata(server.path("a")).unwrap().ino();
        let mut raw = server.greeted();
        assert_eq!(put(&mut raw, "a", "old/deep/a", "two"), "");
        assert_eq!((server.read("a"), server.read("old/deep/a")), (b"two".to_vec(), b"one".to_vec()));
        let kept = fs::metadata(server.path("old/deep/a")).unwrap();
        assert_eq!((kept.ino(), kept.nlink()), (inode, 1), "the very file, and no copy");
        assert_eq!(fs::metadata(server.path("old/deep")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(put(&mut raw, "a", "old/deep/a", "three"), "");
        assert_eq!(server.read("old/deep/a"), b"two", "an earlier backup is replaced");
        assert_eq!(put(&mut raw, "new", "old/new", "new"), "");
        assert!(!server.path("old/new").exists(), "nothing was there");
        let link = json!({"cmd": "symlink", "path": "a", "target": "new", "backup": "old/a"});
        assert_eq!(ask(&mut raw, link.clone()), "");
        assert_eq!(server.read("old/a"), b"three");
        assert_eq!(ask(&mut raw, link), "", "once more, as if the reply had been lost");
        assert_eq!(server.read("old/a"), b"three");
        assert_eq!(put(&mut raw, "a", "old/a", "four"), "");
        assert_eq!(fs::read_link(server.path("old/a")).unwrap(), Path::new("new"));
        let link = json!({"cmd": "link", "from": "new", "to": "a", "backup": "old/b"});
        assert_eq!(ask(&mut raw, link.clone()), "");
        assert_eq!(ask(&mut raw, link), "");
        assert_eq!((server.read("a"), server.read("old/b")), (b"new".to_vec(), b"four".to_vec()));
        assert_eq!(ask(&mut raw, json!({"cmd": "rm", "path": "a", "backup": "old/a"})), "");
        assert_eq!(server.read("old/a"), b"new");
        assert!(!server.path("a").exists());
        let names: Vec<_> = server.tree().into_keys().collect();
        let expected = ["new", "old", "old/a", "old/b", "old/deep", "old/deep/a"];
        assert_eq!(names, expected.map(PathBuf::from), "and nothing else is left");
    }
}

#[test]
fn files_that_are_committed_together_are_kept_each_for_itself() {
    let server = TestServer::with(|setup| setup.sync = true);
    fs::create_dir(server.path("d")).unwrap();
    let mut raw = server.greeted();
    let mut requests = Vec::new();
    for id in 0..200_u64 {
        let at = format!("d/{id}");
        server.write(&at, format!("old {id}"));
        let mut header = put_header(id, &at);
        header["backup"] = json!(format!("bak/{}/{id}", id % 3));
        header["size"] = json!(3);
        requests.extend([frame(&header), body(b"new")].concat());
    }
    raw.send(&requests);
    for id in 0..200_u64 {
        assert_eq!(raw.receive()["ok"], true);
        assert_eq!(server.read(&format!("d/{id}")), b"new");
        assert_eq!(server.read(&format!("bak/{}/{id}", id % 3)), format!("old {id}").into_bytes());
    }
}

#[test]
fn where_nothing_can_be_kept_nothing_is_lost() {
    let server = TestServer::start();
    server.write("a", "precious");
    server.write("file", "file");
    for dir in ["dir", "dir/full", "other"] {
        fs::create_dir(server.path(dir)).unwrap();
    }
    server.write("other/a", "another");
    symlink(".", server.path("here")).unwrap();
    symlink("other", server.path("to-other")).unwrap();
    symlink("..", server.path("out")).unwrap();
    let before = server.tree();
    let mut raw = server.greeted();
    for (backup, expected) in [
        ("a", "bad-path"),
        (".", "bad-path"),
        ("../a", "bad-path"),
        ("a/a", "not-directory"),
        ("file/a", "not-directory"),
        ("dir", "is-directory"),
        ("dir/full", "is-directory"),
        // A link might lead to what others have under the same name; or to the very file.
        ("here/a", "not-directory"),
        ("to-other/a", "not-directory"),
        ("out/a", "not-directory"),
        (".ftpish-0123456789abcdef", "forbidden"),
    ] {
        assert_eq!(put(&mut raw, "a", backup, "new"), expected, "{backup}");
        assert_eq!(ask(&mut raw, json!({"cmd": "rm", "path": "a", "backup": backup})), expected, "{backup}");
        let link = json!({"cmd": "symlink", "path": "a", "target": "x", "backup": backup});
        assert_eq!(ask(&mut raw, link), expected, "{backup}");
        let link = json!({"cmd": "link", "from": "file", "to": "a", "backup": backup});
        assert_eq!(ask(&mut raw, link), expected, "{backup}");
        assert_eq!(server.tree(), before, "{backup}");
    }
    for path in ["dir", "dir/full"] {
        let rm = json!({"cmd": "rm", "path": path, "recursive": true, "backup": "old"});
        assert_eq!(ask(&mut raw, rm), "is-directory");
    }
    assert_eq!(ask(&mut raw, json!({"cmd": "rm", "path": "gone", "backup": "x"})), "not-found");
    // By way of a link above, the backup would be the very name.
    symlink("bak", server.path("l")).unwrap();
    fs::create_dir(server.path("bak")).unwrap();
    fs::write(server.path("bak/x"), "mine").unwrap();
    assert_eq!(put(&mut raw, "l/x", "bak/x", "new"), "bad-path");
    assert_eq!(ask(&mut raw, json!({"cmd": "rm", "path": "l/x", "backup": "bak/x"})), "bad-path");
    assert_eq!(server.read("bak/x"), b"mine");
    // Links that both paths go through are followed as far as ever.
    assert_eq!(put(&mut raw, "to-other/a", "to-other/old/a", "new"), "");
    assert_eq!(server.read("other/old/a"), b"another");
}

#[test]
fn what_was_interrupted_when_the_file_had_both_names_goes_on() {
    let server = TestServer::start();
    fs::create_dir(server.path("old")).unwrap();
    let mut raw = server.greeted();
    for at in ["a", "b"] {
        server.write(at, at);
        fs::hard_link(server.path(at), server.path("old").join(at)).unwrap();
    }
    assert_eq!(put(&mut raw, "a", "old/a", "new"), "");
    assert_eq!(ask(&mut raw, json!({"cmd": "rm", "path": "b", "backup": "old/b"})), "");
    assert_eq!((server.read("a"), server.read("old/a")), (b"new".to_vec(), b"a".to_vec()));
    assert_eq!(server.read("old/b"), b"b");
    assert!(!server.path("b").exists());
}

#[test]
fn what_is_there_already_does_not_replace_the_backup_of_what_it_replaced() {
    let server = TestServer::with(|setup| setup.sync = true);
    server.write("a", "first");
    let mut raw = server.greeted();
    let mut request = put_header(1, "a");
    request["backup"] = json!("old/a");
    request["size"] = json!(3);
    request["mtime"] = json!([1_000_000_000, 7]);
    for (content, kept) in [("new", "first"), ("new", "first"), ("NEW", "new"), ("NEW", "new")] {
        raw.send(&[frame(&request), body(content.as_bytes())].concat());
        assert_eq!(raw.receive()["ok"], true);
        assert_eq!(server.read("a"), content.as_bytes());
        assert_eq!(server.read("old/a"), kept.as_bytes(), "as a try would do it whose client is long gone");
    }
    // Two tries in one breath, that are committed together.
    request["mtime"] = json!([1_000_000_001, 7]);
    let twice = [frame(&request), body(b"one"), frame(&request), body(b"one")].concat();
    raw.send(&twice);
    assert!((0..2).all(|_| raw.receive()["ok"] == true));
    assert_eq!((server.read("a"), server.read("old/a")), (b"one".to_vec(), b"NEW".to_vec()));
}

#[test]
fn a_backup_needs_the_rights_of_a_rename() {
    let below = |at: &str, rights: &[Right]| (path(at), rights.to_vec());
    let unreadable = [Right::List, Right::Write, Right::Delete];
    let rights = Rights::new(&Rights::ALL, vec![below("secret", &unreadable), below("fixed", &Rights::READ)]);
    let server =
        TestServer::with(|setup| setup.accounts = Some(Accounts::new(Users::default(), Some(rights))));
    for at in ["secret", "fixed", "free"] {
        fs::create_dir(server.path(at)).unwrap();
        server.write(&format!("{at}/a"), at);
    }
    let before = server.tree();
    let mut raw = server.greeted();
    for (at, backup) in [("secret/a", "free/b"), ("free/a", "fixed/b"), ("fixed/a", "free/b")] {
        assert_eq!(put(&mut raw, at, backup, "new"), "forbidden", "{at}");
        assert_eq!(ask(&mut raw, json!({"cmd": "rm", "path": at, "backup": backup})), "forbidden", "{at}");
        assert_eq!(ask(&mut raw, json!({"cmd": "link", "from": at, "to": backup})), "forbidden", "{at}");
    }
    assert_eq!(server.tree(), before);
    assert_eq!(put(&mut raw, "free/a", "secret/b", "new"), "");
    assert_eq!(ask(&mut raw, json!({"cmd": "rm", "path": "free/a", "backup": "free/b"})), "");
}

/// As `sync --delete --backup-dir` has them.
fn rules(way: Way, local: &Path, backup: &str) -> Tree {
    Tree {
        digest: Algorithm::Md5,
        sync: false,
        compare: Some(Compare::Time),
        delete: Some(1000),
        backup: Some(path(backup)),
        perms: true,
        ..Tree::new(way, path("tree"), local)
    }
}

/// Runs it; gives the steps that were done, or would be, one word each.
#[track_caller]
fn run(server: &TestServer, tree: Tree) -> Vec<String> {
    let mut done = Vec::new();
    let mut report = |step: &Step, outcome: Outcome| {
        assert!(outcome.is_ok(), "{step:?}: {outcome:?}");
        let verb = match step {
            Step::BackUp { to, .. } => format!("back up to {to}:"),
            Step::Remove(_) => "remove".to_owned(),
            Step::Set { .. } => "set".to_owned(),
            _ => "make".to_owned(),
        };
        done.push(format!("{verb} {}", step.path()));
    };
    TreeJob::new(tree).run(&mut server.client(), &Progress::default(), &mut report).unwrap();
    done
}

/// The source and the destination of each way, and what they are before a sync.
fn each_way(test: impl Fn(&TestServer, Way, &Path, &Path, &Path)) {
    for way in [Way::Put, Way::Get] {
        let server = TestServer::start();
        let scratch = tempfile::tempdir().unwrap();
        let (here, there) = (scratch.path().join("tree"), server.path("tree"));
        let (source, target) = if way == Way::Put { (&here, &there) } else { (&there, &here) };
        for dir in ["same", "dir-to-file/in", "gone/deep/er", "gone/empty", "bak/z"] {
            fs::create_dir_all(target.join(dir)).unwrap();
        }
        for dir in ["same", "file-to-dir", "bak"] {
            fs::create_dir_all(source.join(dir)).unwrap();
        }
        let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
        for (top, files) in [
            (source, &["same/a", "file-to-dir/in", "dir-to-file", "bak/of-the-source"][..]),
            (target, &["same/a", "file-to-dir", "dir-to-file/in/f", "gone/deep/er/f", "gone/g", "bak/z/f"]),
        ] {
            for file in files {
                fs::write(top.join(file), format!("{} {file}", top == source)).unwrap();
            }
            fs::write(top.join(odd), format!("{} odd", top == source)).unwrap();
            symlink(if top == source { "new" } else { "old" }, top.join("link")).unwrap();
        }
        // Larger than what is sent in one piece, and the same in its first half.
        for (top, last) in [(source, "newer"), (target, "old")] {
            fs::write(top.join("large"), [&[7; 5 << 20][..], last.as_bytes()].concat()).unwrap();
        }
        test(&server, way, &here, source, target);
    }
}

#[test]
fn a_sync_keeps_all_that_it_replaces_or_removes() {
    each_way(|server, way, here, source, target| {
        let tree = rules(way, here, "bak");
        let told = run(server, Tree { dry_run: true, ..tree.clone() });
        assert!(target.join("gone/g").exists() && !target.join("bak/same").exists(), "{way:?}");
        let done = run(server, tree.clone());
        assert_eq!(sorted(told), sorted(done), "{way:?}");
        let kept = |at: &str| fs::read_to_string(target.join("bak").join(at)).unwrap();
        for at in ["same/a", "file-to-dir", "dir-to-file/in/f", "gone/deep/er/f", "gone/g"] {
            assert_eq!(kept(at), format!("false {at}"), "{way:?}");
        }
        let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
        assert_eq!(fs::read(target.join("bak").join(odd)).unwrap(), b"false odd");
        assert_eq!(fs::read_link(target.join("bak/link")).unwrap(), Path::new("old"));
        assert!(fs::read(target.join("bak/large")).unwrap().ends_with(b"old"), "{way:?}");
        // The directory itself is left alone, and is none of the source's.
        assert_eq!(kept("z/f"), "false bak/z/f");
        assert!(!target.join("bak/of-the-source").exists() && !target.join("bak/bak").exists());
        assert!(!target.join("gone").exists());
        for at in ["same/a", "file-to-dir/in", "dir-to-file"] {
            assert_eq!(fs::read_to_string(target.join(at)).unwrap(), format!("true {at}"), "{way:?}");
        }
        assert!(fs::read(target.join("large")).unwrap().ends_with(b"newer"), "{way:?}");
        assert_eq!(run(server, tree.clone()), [""; 0], "{way:?}: a second run finds nothing to do");
        // A later run replaces what an earlier one has kept.
        fs::write(source.join("same/a"), "third time").unwrap();
        assert_eq!(
            sorted(run(server, tree.clone())),
            ["back up to bak/same/a: same/a", "make same/a", "set .", "set same"],
            "{way:?}"
        );
        assert_eq!(run(server, tree), [""; 0], "{way:?}");
        assert_eq!(kept("same/a"), "true same/a");
        assert_eq!(kept("gone/g"), "false gone/g");
    });
}

fn sorted(mut steps: Vec<String>) -> Vec<String> {
    steps.sort();
    steps
}

/// What all files below a directory have.
fn contents(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => contents(&path),
            false => vec![fs::read_to_string(path).unwrap()],
        })
        .collect()
}

/// What an earlier run has kept may be a file where a directory is needed, and the other way round.
#[test]
fn a_backup_that_is_in_the_way_stops_nothing_and_is_not_lost() {
    for way in [Way::Put, Way::Get] {
        let server = TestServer::start();
        let scratch = tempfile::tempdir().unwrap();
        let (here, there) = (scratch.path().join("tree"), server.path("tree"));
        let (source, target) = if way == Way::Put { (&here, &there) } else { (&there, &here) };
        fs::create_dir_all(source).unwrap();
        fs::create_dir_all(target).unwrap();
        let tree = || rules(way, &here, "old");
        let all = || {
            let mut all = contents(&target.join("old"));
            all.sort();
            all
        };
        let mut kept = Vec::new();
        for round in 0..6 {
            // By turns a file, and a directory with something in it.
            let _ = fs::remove_file(source.join("x")).or_else(|_| fs::remove_dir_all(source.join("x")));
            if round % 2 == 0 {
                fs::write(source.join("x"), format!("file {round}")).unwrap();
            } else {
                fs::create_dir_all(source.join("x/deep")).unwrap();
                for name in ["x/a", "x/deep/b"] {
                    fs::write(source.join(name), format!("{name} {round}")).unwrap();
                }
            }
            fs::write(source.join("other"), format!("other {}", "x".repeat(round))).unwrap();
            run(&server, tree());
            assert_eq!(run(&server, tree()), [""; 0], "{way:?}, round {round}: nothing is left to do");
            kept.push(all());
        }
        // The first three that were replaced are there, and a later one of the same kind may have taken their place.
        let last = kept.last().unwrap();
        assert!(last.iter().any(|text| text.starts_with("file ")), "{way:?}: {last:?}");
        assert!(last.iter().any(|text| text.starts_with("x/deep/b ")), "{way:?}: {last:?}");
        assert_eq!(kept[1], ["file 0", "other "], "{way:?}");
        assert!(kept[2].contains(&"file 0".to_owned()), "{way:?}: what was kept is not lost: {:?}", kept[2]);
        assert!(kept[2].contains(&"x/deep/b 1".to_owned()), "{way:?}: {:?}", kept[2]);
    }
}

#[test]
fn a_directory_that_leads_to_the_backups_stays() {
    each_way(|server, way, here, _, target| {
        run(server, rules(way, here, "gone/new/er"));
        assert_eq!(fs::read_to_string(target.join("gone/new/er/gone/g")).unwrap(), "false gone/g");
        assert_eq!(
            run(server, rules(way, here, "gone/new/er")),
            ["set ."],
            "{way:?}: the source has no `gone`"
        );
    });
}

#[test]
fn directories_that_backups_come_into_have_the_times_of_the_source_in_the_end() {
    each_way(|server, way, here, source, _| {
        for dir in ["same/deep/x", "z"] {
            fs::create_dir_all(source.join(dir)).unwrap();
        }
        fs::write(source.join("z/f"), "1").unwrap();
        let tree = || rules(way, here, "same/deep/bak");
        run(server, tree());
        assert_eq!(run(server, tree()), [""; 0], "{way:?}");
        fs::write(source.join("z/f"), "22").unwrap();
        let done = sorted(run(server, tree()));
        assert_eq!(
            done,
            ["back up to same/deep/bak/z/f: z/f", "make z/f", "set .", "set same", "set same/deep", "set z"],
            "{way:?}"
        );
        assert_eq!(run(server, tree()), [""; 0], "{way:?}");
    });
}

#[test]
fn backups_of_a_tree_at_the_top_lie_in_the_top() {
    let server = TestServer::start();
    let here = tempfile::tempdir().unwrap();
    server.write("a", "old");
    fs::write(here.path().join("a"), "newer").unwrap();
    let tree = Tree { remote: RemotePath::root(), ..rules(Way::Put, here.path(), ".old") };
    assert_eq!(run(&server, tree.clone()), ["back up to .old/a: a", "make a"]);
    assert_eq!(run(&server, tree), [""; 0]);
    assert_eq!((server.read("a"), server.read(".old/a")), (b"newer".to_vec(), b"old".to_vec()));
}
