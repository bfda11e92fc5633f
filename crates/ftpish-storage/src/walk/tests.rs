//! Tests of what is promised there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use ftpish_protocol::WalkOrder;
use ftpish_protocol::message::Kind;

use super::*;

fn scratch() -> (tempfile::TempDir, PathBuf, Root) {
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path().join("top");
    fs::create_dir(&top).unwrap();
    let root = Root::open(&top, false).unwrap();
    (scratch, top, root)
}

/// What a walk from the root tells, one word a node: directories with a slash, links with `@`, errors with `!`.
fn told(root: &Root, links: Links, after: Option<&str>) -> Vec<String> {
    let after = after.map(|path| path.parse().unwrap());
    let walk = root.walk(&RemotePath::root(), links, after.as_ref()).unwrap();
    let mark = |node: Node| {
        let error = if node.error.is_some() { "!" } else { "" };
        let kind = match node.kind {
            Kind::Dir => "/",
            Kind::Link => "@",
            Kind::File | Kind::Other => "",
        };
        format!("{}{kind}{error}", node.path)
    };
    walk.map(mark).collect()
}

fn plant(top: &std::path::Path) {
    for dir in ["a", "a/empty", "b"] {
        fs::create_dir(top.join(dir)).unwrap();
    }
    for file in ["a/2", "a/10", "a-b", "c", "a/.ftpish-0123456789abcdef"] {
        fs::write(top.join(file), file).unwrap();
    }
}

#[test]
fn everything_is_told_once_and_in_walk_order() {
    let (_scratch, top, root) = scratch();
    plant(&top);
    let all = ["./", "a/", "a/10", "a/2", "a/empty/", "a-b", "b/", "c"];
    assert_eq!(told(&root, Links::Tell, None), all);
    let mut order = WalkOrder::default();
    let walk = root.walk(&RemotePath::root(), Links::Tell, None).unwrap();
    walk.for_each(|node| order.admit(&node).unwrap());
    assert_eq!(told(&root, Links::Tell, Some(".")), all[1..]);
}

#[test]
fn a_walk_goes_on_behind_any_path_be_it_there_or_not() {
    let (_scratch, top, root) = scratch();
    plant(&top);
    let all = told(&root, Links::Tell, None);
    for (at, path) in all.iter().enumerate() {
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() { "." } else { path };
        assert_eq!(told(&root, Links::Tell, Some(path)), all[at + 1..], "{path}");
    }
    assert_eq!(told(&root, Links::Tell, Some("a/11")), all[3..]);
    assert_eq!(told(&root, Links::Tell, Some("a/2/gone")), all[4..]);
    assert_eq!(told(&root, Links::Tell, Some("zzz")), [""; 0]);
}

#[test]
fn links_are_told_of_or_followed_as_far_as_that_leads_to_an_end() {
    let (scratch, top, root) = scratch();
    fs::create_dir(top.join("d")).unwrap();
    fs::write(top.join("d/f"), "f").unwrap();
    fs::write(scratch.path().join("secret"), "").unwrap();
    for (target, name) in [("d", "to-d"), ("d/f", "to-f"), (".", "up"), ("gone", "dead"), ("../secret", "x")]
    {
        symlink(target, top.join(name)).unwrap();
    }
    symlink("../to-d", top.join("d/again")).unwrap();
    let told_of = ["./", "d/", "d/again@", "d/f", "dead@", "to-d@", "to-f@", "up@", "x@"];
    assert_eq!(told(&root, Links::Tell, None), told_of);
    let followed =
        ["./", "d/", "d/again@!", "d/f", "dead@!", "to-d/", "to-d/again@!", "to-d/f", "to-f", "up@!", "x@!"];
    assert_eq!(told(&root, Links::Follow, None), followed);
}

#[test]
fn a_file_is_a_tree_of_one_and_what_is_not_there_is_none() {
    let (_scratch, top, root) = scratch();
    fs::write(top.join("f"), "content").unwrap();
    let walk: Vec<_> = root.walk(&"f".parse().unwrap(), Links::Tell, None).unwrap().collect();
    assert!(walk.len() == 1 && walk[0].kind == Kind::File && walk[0].size == 7);
    let gone = root.walk(&"gone".parse().unwrap(), Links::Tell, None);
    assert_eq!(gone.err().map(|refusal| refusal.code), Some(Code::NotFound));
}

#[test]
fn links_that_lead_out_are_followed_for_whoever_may_go_there() {
    let (scratch, top, root) = scratch();
    let out = scratch.path().join("out");
    for dir in [&top.join("d"), &out.join("e")] {
        fs::create_dir_all(dir).unwrap();
    }
    fs::write(out.join("e/f"), "outside").unwrap();
    for (target, name) in [
        ("../out/e", "a"),
        ("../out/e/f", "b"),
        ("gone", "dead"),
        ("self", "self"),
        ("..", "up"),
        ("../../out", "d/out"),
    ] {
        symlink(target, top.join(name)).unwrap();
    }
    symlink("../../top/d", out.join("e/to-d")).unwrap();
    let anywhere = [
        "./",
        "a/",
        "a/f",
        "a/to-d/",
        "a/to-d/out/",
        "a/to-d/out/e/!",
        "b",
        "d/",
        "d/out/",
        "d/out/e/",
        "d/out/e/f",
        "d/out/e/to-d@!",
        "dead@!",
        "self@!",
        "up/",
        "up/out/",
        "up/out/e/",
        "up/out/e/f",
        "up/out/e/to-d/",
        "up/out/e/to-d/out@!",
        "up/top/!",
    ];
    assert_eq!(told(&root, Links::FollowAnywhere, None), anywhere);
    for (at, path) in anywhere.iter().enumerate() {
        let path = path.trim_end_matches(['!', '/', '@']);
        let path = if path.is_empty() { "." } else { path };
        assert_eq!(told(&root, Links::FollowAnywhere, Some(path)), anywhere[at + 1..], "{path}");
    }
    let inside = told(&root, Links::Follow, None);
    assert_eq!(inside, ["./", "a@!", "b@!", "d/", "d/out@!", "dead@!", "self@!", "up@!"]);
}

#[test]
fn what_lies_deep_behind_a_link_that_leads_out_is_walked_as_any_other() {
    let (scratch, top, root) = scratch();
    let mut deep = scratch.path().join("out");
    symlink("../out", top.join("link")).unwrap();
    for _ in 0..3 * OPEN {
        fs::create_dir(&deep).unwrap();
        fs::write(deep.join("z"), "").unwrap();
        deep.push("d");
    }
    let walk = root.walk(&RemotePath::root(), Links::FollowAnywhere, None).unwrap();
    let nodes: Vec<_> = walk.collect();
    assert_eq!(nodes.iter().filter(|node| node.kind == Kind::File).count(), 3 * OPEN);
    assert!(nodes.iter().all(|node| node.error.is_none()));
}

#[test]
fn a_file_that_comes_again_is_told_by_its_first_name() {
    let (_scratch, top, root) = scratch();
    fs::create_dir_all(top.join("d/e")).unwrap();
    for file in ["b", "d/lone", "d/x"] {
        fs::write(top.join(file), file).unwrap();
    }
    for (from, to) in [("b", "d/e/b"), ("b", "d/caf"), ("d/x", "z"), ("d/x", "../outside")] {
        fs::hard_link(top.join(from), top.join(to)).unwrap();
    }
    symlink("b", top.join("a-link")).unwrap();
    fs::hard_link(top.join("a-link"), top.join("other-link")).unwrap();
    let told = |links: Links, same: bool| -> Vec<String> {
        let walk = root.walk(&RemotePath::root(), links, None).unwrap();
        let walk = if same { walk.telling_same() } else { walk };
        walk.filter_map(|node| node.same.map(|first| format!("{} {first}", node.path))).collect()
    };
    let all = ["d/caf b", "d/e/b b", "z d/x"];
    assert_eq!(told(Links::Tell, true), all);
    assert_eq!(told(Links::Follow, true), all);
    assert_eq!(told(Links::Tell, false), [""; 0]);
}

#[test]
fn more_levels_than_are_held_open_are_walked_to_the_longest_path() {
    let (_scratch, top, root) = scratch();
    let mut dir = root.dir().try_clone().unwrap();
    for _ in 0..MAX_PATH {
        dir.write("z", "").unwrap();
        dir.create_dir("d").unwrap();
        dir = dir.open_dir("d").unwrap();
    }
    let all: Vec<_> = root.walk(&RemotePath::root(), Links::Tell, None).unwrap().collect();
    // `d/d/…/d` has an odd number of bytes.
    assert_eq!(all.iter().filter(|node| node.kind == Kind::Dir).count() - 1, MAX_PATH / 2 - 1);
    let files = all.iter().filter(|node| node.kind == Kind::File).count();
    assert_eq!(files, MAX_PATH / 2 - 1);
    let faults: Vec<_> = all.iter().filter_map(|node| node.error.as_ref()).collect();
    assert!(faults.len() == 1 && faults[0].code == Code::BadPath, "{faults:?}");
    drop(top);
}
