//! Files with several names: told by `tree`, and made again by whole trees either way.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use ftpish_client::{Compare, Filter, Progress, Step, Tree, TreeJob, Way};
use ftpish_protocol::Algorithm;
use ftpish_protocol::message::Replace;
use serde_json::{Value, json};

use crate::harness::{TestServer, path};
use crate::raw::Raw;

/// Which nodes are said to be the same as an earlier one.
#[track_caller]
fn same(raw: &mut Raw, fields: Value) -> Vec<String> {
    let mut request = json!({"id": 1, "cmd": "tree", "path": ".", "digest": "md5", "limit": 1 << 20});
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    assert_eq!(raw.ask(&request)["ok"], true);
    let lines = raw.body(Algorithm::Md5).unwrap();
    let nodes =
        lines.split_inclusive(|b| *b == b'\n').map(|line| serde_json::from_slice::<Value>(line).unwrap());
    nodes.filter_map(|node| Some(format!("{} {}", node["path"].as_str()?, node["same"].as_str()?))).collect()
}

#[test]
fn a_tree_tells_of_files_that_come_again_and_over_its_pages_where_it_goes_on() {
    let server = TestServer::start();
    fs::create_dir(server.path("d")).unwrap();
    for file in ["a", "d/lone", "d/x"] {
        server.write(file, file);
    }
    for (from, to) in [("a", "d/b"), ("a", "z"), ("d/x", "e"), ("d/x", "../outside")] {
        fs::hard_link(server.path(from), server.path(to)).unwrap();
    }
    let all = ["d/b a", "e d/x", "z a"];
    let mut raw = server.greeted();
    assert_eq!(same(&mut raw, json!({"same": true})), all);
    assert_eq!(same(&mut raw, json!({"same": true, "path": "d"})), [""; 0], "none of them is in it twice");
    assert_eq!(same(&mut raw, json!({})), [""; 0], "nobody asked");
    // `.`, `a`, `d`, `d/b`; and then what comes behind.
    assert_eq!(same(&mut raw, json!({"same": true, "limit": 4})), all[..1]);
    assert_eq!(same(&mut raw, json!({"same": true, "after": "d/b"})), all[1..]);
    assert_eq!(
        same(&mut server.greeted(), json!({"same": true, "after": "d/b"})),
        all[1..2],
        "what came before is not known"
    );
}

fn rules(way: Way, local: &Path) -> Tree {
    Tree {
        digest: Algorithm::Md5,
        sync: false,
        compare: Some(Compare::Time),
        delete: Some(10_000),
        hard_links: true,
        perms: true,
        ..Tree::new(way, path("tree"), local)
    }
}

/// Runs it; gives the steps that were done, one word each.
#[track_caller]
fn run(server: &TestServer, tree: Tree) -> Vec<String> {
    let mut done = Vec::new();
    TreeJob::new(tree)
        .run(&mut server.client(), &Progress::default(), &mut |step, outcome| {
            assert!(outcome.is_ok(), "{step:?}: {outcome:?}");
            done.push(match step {
                Step::HardLink { path, first, .. } => format!("{path} = {first}"),
                Step::Move { path, .. } => format!("move {path}"),
                Step::Set { .. } | Step::MakeDir { .. } => return,
                step => format!("{step:?}"),
            });
        })
        .unwrap();
    done.sort();
    done
}

/// Every file by its path, with its content and the first of its names.
fn described(top: &Path) -> Vec<(String, Vec<u8>, String)> {
    let mut all = Vec::new();
    let mut dirs = vec![top.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let found = entry.metadata().unwrap();
            if found.is_dir() {
                dirs.push(entry.path());
            } else if found.is_file() {
                let name =
                    entry.path().strip_prefix(top).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
                all.push((name, fs::read(entry.path()).unwrap(), found.ino()));
            }
        }
    }
    all.sort();
    let first = |inode: u64| all.iter().find(|(_, _, other)| *other == inode).unwrap().0.clone();
    all.iter().map(|(name, content, inode)| (name.clone(), content.clone(), first(*inode))).collect()
}

fn each_way(test: impl Fn(&TestServer, Way, &Path, &Path, &Path)) {
    each_way_with(true, test);
}

fn each_way_with(sync: bool, test: impl Fn(&TestServer, Way, &Path, &Path, &Path)) {
    for way in [Way::Put, Way::Get] {
        let server = TestServer::with(|setup| setup.sync = sync);
        let scratch = tempfile::tempdir().unwrap();
        let (here, there) = (scratch.path().join("tree"), server.path("tree"));
        let (source, target) = if way == Way::Put { (&here, &there) } else { (&there, &here) };
        for dir in [source.join("d/e"), target.clone()] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(source.join("a"), "one").unwrap();
        fs::write(source.join("d/large"), vec![7; 5 << 20]).unwrap();
        fs::write(source.join("lone"), "lone").unwrap();
        symlink("a", source.join("link")).unwrap();
        let odd = std::ffi::OsStr::from_bytes(b"d/caf\xe9");
        for (from, to) in [("a", Path::new("d/b")), ("a", Path::new(odd)), ("d/large", Path::new("z"))] {
            fs::hard_link(source.join(from), source.join(to)).unwrap();
        }
        test(&server, way, &here, source, target);
    }
}

#[test]
fn what_is_one_file_stays_one_and_a_second_run_finds_nothing_to_do() {
    each_way(|server, way, here, source, target| {
        let done = run(server, rules(way, here));
        let linked = done.iter().filter(|step| step.contains(" = ")).count();
        assert_eq!((linked, done.len()), (3, 7), "{done:?}");
        assert_eq!(described(target), described(source), "{way:?}");
        assert_eq!(fs::metadata(target.join("a")).unwrap().nlink(), 3);
        assert_eq!(run(server, rules(way, here)), [""; 0], "{way:?}");
        let digests = || Tree { compare: Some(Compare::Digest), ..rules(way, here) };
        assert_eq!(run(server, digests()), [""; 0], "{way:?}");
        // The one file changes: it moves once.
        fs::write(source.join("a"), "two!").unwrap();
        assert_eq!(run(server, rules(way, here)).len(), 3, "{way:?}");
        assert_eq!(described(target), described(source), "{way:?}");
        // Unseen by size and time.
        let mtime = fs::metadata(source.join("a")).unwrap().modified().unwrap();
        fs::write(source.join("a"), "2wo!").unwrap();
        fs::File::options().write(true).open(source.join("a")).unwrap().set_modified(mtime).unwrap();
        assert_eq!(run(server, digests()).len(), 3, "{way:?}");
        assert_eq!(described(target), described(source), "{way:?}");
        // A name becomes that of another file.
        fs::remove_file(source.join("d/b")).unwrap();
        fs::hard_link(source.join("lone"), source.join("d/b")).unwrap();
        run(server, rules(way, here));
        assert_eq!(described(target), described(source), "{way:?}");
        assert_eq!(run(server, rules(way, here)), [""; 0], "{way:?}");
    });
}

#[test]
fn files_that_are_apart_are_joined_and_only_where_that_is_asked() {
    each_way(|server, way, here, source, target| {
        let apart = || Tree { hard_links: false, ..rules(way, here) };
        run(server, apart());
        assert!(described(target).iter().all(|(name, _, first)| name == first), "{way:?}");
        assert_eq!(run(server, apart()), [""; 0]);
        let linked = run(server, rules(way, here));
        assert!(linked.len() == 3 && linked.iter().all(|step| step.contains(" = ")), "{linked:?}");
        assert_eq!(described(target), described(source), "{way:?}");
    });
}

#[test]
fn a_tree_that_is_copied_over_another_joins_its_names_too() {
    each_way(|server, way, here, source, target| {
        let copy = || Tree { compare: None, delete: None, ..rules(way, here) };
        fs::create_dir(target.join("d")).unwrap();
        fs::write(target.join("d/b"), "in the way").unwrap();
        run(server, copy());
        assert_eq!(described(target), described(source), "{way:?}");
        run(server, copy());
        assert_eq!(described(target), described(source), "{way:?}");
        let never = Tree { replace: Replace::Never, ..copy() };
        let mut kept = 0;
        let mut job = TreeJob::new(never);
        let ended = job.run(&mut server.client(), &Progress::default(), &mut |_, outcome| {
            kept += usize::from(outcome.is_err());
        });
        assert!(ended.is_ok() && kept >= 6, "{ended:?}, {kept} kept");
        assert_eq!(described(target), described(source), "{way:?}");
    });
}

#[test]
fn a_name_whose_first_one_is_not_there_or_another_file_moves_for_itself() {
    each_way(|server, way, here, source, target| {
        let filter = || Filter::new(&["/a".to_owned()], &[]).unwrap();
        fs::write(target.join("a"), "own").unwrap();
        run(server, Tree { filter: filter(), ..rules(way, here) });
        assert_eq!(fs::read(target.join("a")).unwrap(), b"own");
        assert_eq!(fs::read(target.join("d/b")).unwrap(), b"one", "{way:?}");
        assert_eq!(fs::metadata(target.join("a")).unwrap().nlink(), 1);
        // It cannot take the place of a directory, and the others are there all the same.
        fs::remove_file(target.join("a")).unwrap();
        fs::create_dir(target.join("a")).unwrap();
        fs::write(target.join("a/kept"), "").unwrap();
        fs::write(source.join("a"), "three").unwrap();
        let mut failed = Vec::new();
        let mut job = TreeJob::new(Tree { delete: None, ..rules(way, here) });
        job.run(&mut server.client(), &Progress::default(), &mut |step, outcome| {
            failed.extend(outcome.is_err().then(|| step.path().to_string()));
        })
        .unwrap();
        assert_eq!(failed, ["a"], "{way:?}");
        for name in [&b"d/b"[..], b"d/caf\xe9"] {
            let name = std::ffi::OsStr::from_bytes(name);
            assert_eq!(fs::read(target.join(name)).unwrap(), b"three", "{way:?}");
        }
    });
}

#[test]
fn links_that_replace_what_is_there_keep_it_where_that_is_asked() {
    each_way(|server, way, here, _, target| {
        fs::create_dir(target.join("d")).unwrap();
        fs::write(target.join("d/b"), "old").unwrap();
        let kept = || Tree { backup: Some(path("bak")), ..rules(way, here) };
        run(server, kept());
        assert_eq!(fs::read(target.join("bak/d/b")).unwrap(), b"old", "{way:?}");
        assert_eq!(fs::read(target.join("d/b")).unwrap(), b"one", "{way:?}");
        assert_eq!(run(server, kept()), [""; 0], "{way:?}");
    });
}

#[test]
fn more_names_than_wait_at_a_time_are_all_made() {
    each_way_with(false, |server, way, here, source, target| {
        for index in 0..4200 {
            fs::hard_link(source.join("a"), source.join(format!("d/e/{index}"))).unwrap();
        }
        for delete in [Some(10_000), None] {
            run(server, Tree { delete, ..rules(way, here) });
            assert_eq!(fs::metadata(target.join("a")).unwrap().nlink(), 4203, "{way:?}");
            assert_eq!(run(server, Tree { delete, ..rules(way, here) }), [""; 0], "{way:?}");
            fs::remove_dir_all(target.join("d/e")).unwrap();
        }
    });
}
