//! Roots on a real file system.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use ftpish_protocol::message::{Kind, LinkTarget, Replace};

use super::store::STALE;
use super::*;
use crate::partial::sweep;

fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

/// A root named `root` beside a secret, in a directory of its own.
fn scratch() -> (tempfile::TempDir, PathBuf, Root) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("root");
    fs::create_dir(&top).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    let root = Root::open(&top, true).unwrap();
    (dir, top, root)
}

fn names(root: &Root, at: &str) -> Vec<String> {
    let mut names: Vec<_> =
        root.list(&path(at)).unwrap().map(|e| e.unwrap().name.unwrap().to_string()).collect();
    names.sort();
    names
}

#[test]
fn listings_tell_kinds_and_link_targets_and_hide_partial_files() {
    let (_dir, top, root) = scratch();
    fs::write(top.join("file"), "12345").unwrap();
    fs::write(top.join(".ftpish-0123456789abcdef"), "").unwrap();
    fs::create_dir(top.join("dir")).unwrap();
    symlink("nowhere", top.join("link")).unwrap();
    assert_eq!(names(&root, "."), ["dir", "file", "link"]);
    let file = root.stat(&path("file")).unwrap();
    assert_eq!((file.kind, file.size), (Kind::File, 5));
    let link = root.stat(&path("link")).unwrap();
    assert_eq!((link.kind, link.target), (Kind::Link, Some(LinkTarget(b"nowhere".to_vec()))));
    assert_eq!(root.stat(&path(".")).unwrap().name, None);
}

#[test]
fn links_that_stay_inside_work_and_links_that_lead_out_do_not() {
    let (_dir, top, root) = scratch();
    fs::write(top.join("file"), "inside").unwrap();
    symlink("file", top.join("good")).unwrap();
    symlink("../secret", top.join("bad")).unwrap();
    symlink("..", top.join("up")).unwrap();
    assert_eq!(root.open_file(&path("good")).unwrap().size(), 6);
    for (what, refusal) in [
        ("open", root.open_file(&path("bad")).err()),
        ("open below", root.open_file(&path("up/secret")).err()),
        ("list", root.list(&path("up")).err()),
        ("stat below", root.stat(&path("up/secret")).err()),
        ("stage below", root.stage(&path("up/new"), Replace::Always, None).err()),
        ("make below", root.make_dir(&path("up/new"), true, None).err()),
        ("remove below", root.remove(&path("up/secret"), false).err()),
        ("rename out", root.rename(&path("file"), &path("up/file"), Replace::Always).err()),
        ("rename in", root.rename(&path("up/secret"), &path("stolen"), Replace::Always).err()),
        ("space", root.space(&path("up")).err()),
    ] {
        assert_eq!(refusal.map(|r| r.code), Some(Code::PermissionDenied), "{what}");
    }
    assert_eq!(names(&root, "."), ["bad", "file", "good", "up"]);
}

#[test]
fn removing_takes_the_link_and_never_what_it_points_at() {
    let (dir, top, root) = scratch();
    fs::create_dir_all(top.join("tree/below")).unwrap();
    symlink(dir.path(), top.join("tree/out")).unwrap();
    let code = root.remove(&path("tree"), false).unwrap_err().code;
    assert_eq!(code, Code::NotEmpty);
    root.remove(&path("tree"), true).unwrap();
    assert!(dir.path().join("secret").exists());
    assert_eq!(root.remove(&path("tree"), true).unwrap_err().code, Code::NotFound);
}

#[test]
fn a_directory_that_looks_empty_can_be_removed() {
    let (_dir, top, root) = scratch();
    fs::create_dir(top.join("dir")).unwrap();
    fs::write(top.join("dir/.ftpish-0123456789abcdef"), "").unwrap();
    root.remove(&path("dir"), false).unwrap();
    fs::create_dir(top.join("dir")).unwrap();
    let stage = root.resume(&path("dir/file"), Replace::Always, None, Duration::ZERO).unwrap();
    assert_eq!(root.remove(&path("dir"), false).unwrap_err().code, Code::NotEmpty, "a writer is at it");
    stage.abandon();
}

#[test]
fn what_an_upload_left_that_broke_off_goes_with_its_name_unless_somebody_is_at_it() {
    let (_dir, top, root) = scratch();
    let names = || fs::read_dir(&top).unwrap().count();
    let leave = || {
        let mut stage = root.resume(&path("file"), Replace::Always, None, Duration::ZERO).unwrap();
        stage.write_all(&vec![7; 1 << 20]).unwrap();
        stage
    };
    for with_file in [false, true] {
        leave().abandon();
        if with_file {
            fs::write(top.join("file"), "file").unwrap();
        }
        assert_eq!(names(), 1 + usize::from(with_file));
        root.remove(&path("file"), with_file).unwrap();
        assert_eq!(names(), 0);
    }
    let busy = leave();
    assert_eq!(root.remove(&path("file"), false).unwrap_err().code, Code::NotFound);
    assert_eq!(names(), 1);
    busy.remove();
    assert_eq!(root.remove(&path("file"), false).unwrap_err().code, Code::NotFound);
}

#[test]
fn partial_files_that_nobody_came_back_for_are_taken_away() {
    let (_dir, top, root) = scratch();
    let left = top.join(".ftpish-00000000000000aa");
    fs::write(&left, "left behind").unwrap();
    let stage = root.resume(&path("file"), Replace::Always, None, Duration::ZERO).unwrap();
    sweep(&root.dir, STALE).unwrap();
    assert!(left.exists(), "somebody may come back");
    sweep(&root.dir, Duration::ZERO).unwrap();
    assert!(!left.exists());
    assert_eq!(root.partial_length(&path("file")), Some(0), "a writer is at it");
    stage.abandon();
}

#[test]
fn directories_are_made_once_or_with_their_parents() {
    let (_dir, _top, root) = scratch();
    assert_eq!(root.make_dir(&path("a/b"), false, None).unwrap_err().code, Code::NotFound);
    root.make_dir(&path("a/b"), true, None).unwrap();
    root.make_dir(&path("a/b"), true, None).unwrap();
    assert_eq!(root.make_dir(&path("a"), false, None).unwrap_err().code, Code::Exists);
}

#[test]
fn renaming_replaces_only_where_it_may() {
    let (_dir, top, root) = scratch();
    fs::write(top.join("a"), "a").unwrap();
    fs::write(top.join("b"), "b").unwrap();
    let never = root.rename(&path("a"), &path("b"), Replace::Never).unwrap_err();
    assert_eq!(never.code, Code::Exists);
    root.rename(&path("a"), &path("b"), Replace::Always).unwrap();
    assert_eq!(fs::read(top.join("b")).unwrap(), b"a");
}

#[test]
fn space_is_told_for_files_too() {
    let (_dir, top, root) = scratch();
    fs::write(top.join("a"), "a").unwrap();
    assert!(root.space(&path("a")).unwrap().total > 0);
    assert_eq!(root.space(&path("b")).unwrap_err().code, Code::NotFound);
}
