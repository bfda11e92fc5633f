//! Whole trees, there and back: what is in them arrives as it was, and only what differs moves again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ftpish_protocol::text::escape;

use crate::disk::Disk;
use crate::harness::{Outcome, Server, World, dress, names, noise, skip};
use crate::relay::{Harm, Relay, Toward};
use crate::trial::Way;

/// What a tree is, down to the last bit that is to survive: by path, what is there, its permission bits and time.
pub fn described(top: &Path) -> BTreeMap<PathBuf, String> {
    let all = walkdir::WalkDir::new(top).into_iter().map(Result::unwrap);
    let describe = |entry: walkdir::DirEntry| {
        let path = entry.path();
        let found = match path.symlink_metadata() {
            // The session of a client that was killed may be clearing up.
            Err(_) if is_partial(path) => return None,
            found => found.unwrap(),
        };
        let (mode, time) = (found.mode() & 0o777, (found.mtime(), found.mtime_nsec()));
        let what = if found.is_symlink() {
            format!("-> {}", escape(fs::read_link(path).unwrap().as_os_str().as_bytes()))
        } else if found.is_dir() {
            format!("dir {mode:o} {time:?}")
        } else {
            format!("file {mode:o} {time:?} {}", blake3(&fs::read(path).unwrap()))
        };
        Some((path.strip_prefix(top).unwrap().to_owned(), what))
    };
    all.filter_map(describe).collect()
}

/// Two trees are the same; shown is only in what they differ.
#[track_caller]
pub fn same(left: &BTreeMap<PathBuf, String>, right: &BTreeMap<PathBuf, String>) {
    let only = |a: &BTreeMap<PathBuf, String>, b: &BTreeMap<PathBuf, String>| {
        let own = a.iter().filter(|(path, what)| b.get(*path) != Some(what));
        own.map(|(path, what)| format!("{}: {what}", path.display())).collect::<Vec<_>>()
    };
    let (here, there) = (only(left, right), only(right, left));
    assert!(here.is_empty() && there.is_empty(), "{here:#?}\nin place of\n{there:#?}");
}

pub fn is_partial(path: &Path) -> bool {
    path.file_name().is_some_and(|name| ftpish_storage::is_partial(name.as_bytes()))
}

fn blake3(bytes: &[u8]) -> ftpish_protocol::Digest {
    ftpish_protocol::Algorithm::Blake3.digest(bytes)
}

#[track_caller]
fn says(outcome: &Outcome, line: &str) {
    assert!(outcome.stderr.contains(line), "{}", outcome.stderr);
}

/// Files of sizes around every boundary, odd names, empty and deep directories, links, odd permission bits.
fn plant(top: &Path) {
    for dir in ["", "empty", "a", "a/b", "a/b/c", "a-b", "z"] {
        fs::create_dir(top.join(dir)).unwrap();
    }
    let chunk = 256 * 1024;
    for (name, size) in
        [("0", 0), ("1", 1), ("a/chunk-1", chunk - 1), ("a/chunk", chunk), ("a/b/chunk+1", chunk + 1)]
    {
        fs::write(top.join(name), noise(size)).unwrap();
    }
    fs::write(top.join("a/b/c/large"), noise((5 << 20) + 17)).unwrap();
    for (index, name) in
        [&b"caf\xe9"[..], b"new\nline", b"\x1b[31m", "naïve".as_bytes(), b"-n", b" "].into_iter().enumerate()
    {
        fs::write(top.join("z").join(OsStr::from_bytes(name)), noise(index * 100)).unwrap();
    }
    symlink("../0", top.join("a/up")).unwrap();
    symlink("nowhere", top.join("a/dead")).unwrap();
    let mut deep = top.join("a-b");
    for _ in 0..30 {
        deep.push("d".repeat(100));
        fs::create_dir(&deep).unwrap();
    }
    fs::write(deep.join("bottom"), "bottom").unwrap();
    for (index, path) in described(top).into_keys().enumerate() {
        let path = top.join(path);
        if !path.is_symlink() {
            let mode = if path.is_dir() { 0o750 } else { 0o604 };
            dress(&path, mode, 1_000_000_000 + index as u64);
        }
    }
    dress(&top.join("empty"), 0o555, 7);
}

#[test]
fn a_tree_goes_there_and_comes_back_as_it_was() {
    for world in [World::new(), World::plaintext()] {
        plant(&world.here("tree"));
        let tree = described(&world.here("tree"));
        world.run("put -q -r tree /").ok();
        same(&described(&world.root("tree")), &tree);
        world.run("get -q -r tree back").ok();
        same(&described(&world.here("back")), &tree);
        // Once more, over what is there.
        world.run("get -q -r tree back/..").ok();
        world.run("put -q -r back /").ok();
        same(&described(&world.root("back")), &tree);
    }
}

#[test]
fn a_tree_comes_to_where_cp_would_put_it() {
    let world = World::plaintext();
    fs::create_dir_all(world.root("t/sub")).unwrap();
    fs::write(world.root("t/sub/f"), "f").unwrap();
    fs::create_dir_all(world.here("there")).unwrap();
    for (line, found) in [
        ("get -q -r t", "t/sub/f"),
        ("get -q -r t fresh", "fresh/sub/f"),
        ("get -q -r t there", "there/t/sub/f"),
        ("get -q -r t new/", "new/t/sub/f"),
        ("get -q -r t/sub t/sub/f many/", "many/sub/f"),
        ("get -q -r / all/", "all/t/sub/f"),
        ("get -q -r t/sub/f single", "single"),
    ] {
        world.run(line).ok();
        assert_eq!(fs::read(world.here(found)).unwrap(), b"f", "{line}");
    }
    assert!(world.here("many/f").exists());
    fs::create_dir(world.root("there")).unwrap();
    for (line, found) in [
        ("put -q -r t /fresh", "fresh/sub/f"),
        ("put -q -r t /there", "there/t/sub/f"),
        ("put -q -r t /new/", "new/t/sub/f"),
        ("put -q -r t/ /there", "there/t/sub/f"),
        ("put -q -r t/sub/f /file", "file"),
    ] {
        world.run("mkdir -p /new").ok();
        world.run(line).ok();
        assert_eq!(fs::read(world.root(found)).unwrap(), b"f", "{line}");
    }
    says(&world.run("get -r t -").exits(2), "a tree cannot be written to standard output");
    world.run("get t").exits(9);
}

#[test]
fn a_second_sync_moves_nothing_and_a_third_what_differs() {
    let world = World::plaintext();
    plant(&world.here("tree"));
    for (there, back) in [(":tree", "back"), (":deep/er", "twice")] {
        world.run(&format!("sync -q tree {there}")).ok();
        world.run(&format!("sync -q {there} {back}")).ok();
        same(&described(&world.here(back)), &described(&world.here("tree")));
        for (from, to) in [("tree", there), (there, back)] {
            assert_eq!(world.run(&format!("sync -q --dry-run {from} {to}")).ok().text, "", "{from}");
        }
    }
    fs::write(world.here("tree/1"), "other").unwrap();
    dress(&world.here("tree/0"), 0o600, 1_000_000_000);
    fs::remove_file(world.here("tree/a/chunk")).unwrap();
    fs::create_dir(world.here("tree/a/chunk")).unwrap();
    fs::remove_file(world.here("tree/a/up")).unwrap();
    symlink("chunk", world.here("tree/a/up")).unwrap();
    fs::remove_dir_all(world.here("tree/z")).unwrap();
    fs::write(world.here("tree/z"), "no directory any more").unwrap();
    let would = world.run("sync -q -n --perms tree :tree").exits(12);
    let told: Vec<&str> = would.text.lines().filter(|line| !line.starts_with("set ")).collect();
    let expected =
        ["copy 0 (0 bytes)", "copy 1 (5 bytes)", "remove a/chunk", "mkdir a/chunk/", "link a/up -> chunk"];
    assert_eq!(told, expected);
    says(&would, "cannot put `tree/z`: a directory has this name");
    world.run("rm -r tree/z").ok();
    world.run("sync -q --perms tree :tree").ok();
    same(&described(&world.root("tree")), &described(&world.here("tree")));
}

#[test]
fn what_the_source_lacks_is_removed_only_if_asked_and_never_more_than_allowed() {
    let world = World::plaintext();
    plant(&world.here("tree"));
    world.run("sync -q tree :tree").ok();
    fs::create_dir_all(world.root("tree/more/of/it")).unwrap();
    for name in ["tree/extra", "tree/more/of/it/f", "tree/a/b/extra"] {
        fs::write(world.root(name), "extra").unwrap();
    }
    world.run("sync -q tree :tree").ok();
    assert!(world.root("tree/extra").exists());
    let refused = world.run("sync -q --delete --max-delete 5 tree :tree").exits(12);
    says(&refused, "nothing is removed, because 6 names would be");
    assert!(world.root("tree/extra").exists());
    world.run("sync -q --delete --exclude extra tree :tree").ok();
    assert!(world.root("tree/extra").exists() && !world.root("tree/more").exists());
    world.run("sync -q --delete tree :tree").ok();
    same(&described(&world.root("tree")), &described(&world.here("tree")));
    // The other way.
    fs::write(world.here("tree/a/b/c/new"), "new").unwrap();
    world.run("sync -q --delete :tree tree").ok();
    same(&described(&world.here("tree")), &described(&world.root("tree")));
}

#[test]
fn a_change_that_size_and_time_do_not_tell_is_found_by_digest() {
    let world = World::plaintext();
    fs::create_dir(world.here("tree")).unwrap();
    fs::write(world.here("tree/f"), "one").unwrap();
    dress(&world.here("tree/f"), 0o644, 1_000_000_000);
    world.run("sync -q tree :tree").ok();
    fs::write(world.here("tree/f"), "two").unwrap();
    dress(&world.here("tree/f"), 0o644, 1_000_000_000);
    world.run("sync -q tree :tree").ok();
    assert_eq!(fs::read(world.root("tree/f")).unwrap(), b"one");
    world.run("sync -q --checksum tree :tree").ok();
    assert_eq!(fs::read(world.root("tree/f")).unwrap(), b"two");
}

#[test]
fn what_differs_by_digest_alone_moves_and_nothing_else_wherever_it_lies() {
    let world = World::plaintext();
    let dirs = (0..40).map(|i| format!("tree/{:02}{}", i % 30, if i < 30 { "" } else { "/below" }));
    let mut files: Vec<PathBuf> =
        dirs.flat_map(|dir| (0..30).map(move |i| Path::new(&dir).join(i.to_string()))).collect();
    files.extend(["tree/large", "tree/09/large"].map(PathBuf::from));
    let fill = |path: &Path, byte: u8| {
        let size = if path.ends_with("large") { (1 << 20) + 1 } else { 3000 };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![byte; size]).unwrap();
        dress(path, 0o644, 1_000_000_000);
    };
    files.iter().for_each(|file| fill(&world.here(file), b'a'));
    world.run("sync -q tree :tree").ok();
    for (step, line) in [(7, "sync --checksum tree :tree"), (300, "sync --checksum :tree tree")] {
        for file in files.iter().rev().step_by(step) {
            let here = if step == 7 { world.here(file) } else { world.root(file) };
            fill(&here, b'b');
        }
        // What one side alone has lies between, and so does what has another size.
        fill(&world.here("tree/03/15-here"), b'c');
        fill(&world.root("tree/04/15-there"), b'c');
        world.run(line).ok();
        for file in &files {
            assert!(fs::read(world.here(file)).unwrap() == fs::read(world.root(file)).unwrap(), "{file:?}");
        }
        let again = line.replace("sync", "sync -q -n");
        let would = world.run(&again).ok().text;
        assert!(!would.contains("copy "), "{would}");
    }
}

#[test]
fn what_is_excluded_neither_moves_nor_goes() {
    let world = World::plaintext();
    for name in ["src/main.rs", "target/debug/main", "a.o", "keep.o"] {
        let path = world.here("tree").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    world.run("put -q -r --exclude target/ --exclude *.o --include keep.o tree /").ok();
    let there: Vec<_> = described(&world.root("tree")).into_keys().collect();
    assert_eq!(there, ["", "keep.o", "src", "src/main.rs"].map(PathBuf::from));
}

#[test]
fn links_are_kept_followed_or_left_out() {
    let world = World::plaintext();
    fs::create_dir_all(world.root("tree/d")).unwrap();
    fs::write(world.root("tree/d/f"), "f").unwrap();
    symlink("d", world.root("tree/to-d")).unwrap();
    symlink("d/f", world.root("tree/to-f")).unwrap();
    world.run("get -q -r tree kept").ok();
    assert_eq!(fs::read_link(world.here("kept/to-d")).unwrap(), Path::new("d"));
    world.run("get -q -r --links skip tree skipped").ok();
    assert!(!world.here("skipped/to-d").exists());
    world.run("get -q -r --links follow tree followed").ok();
    world.run("put -q -r --links follow kept /again").ok();
    for top in [world.here("followed"), world.root("again")] {
        assert!(!top.join("to-d").is_symlink());
        assert_eq!(fs::read(top.join("to-d/f")).unwrap(), b"f");
        assert_eq!(fs::read(top.join("to-f")).unwrap(), b"f");
    }
    symlink("..", world.root("tree/loop")).unwrap();
    says(&world.run("get -q -r --links follow tree looped").exits(12), "a directory that it is in");
    assert_eq!(fs::read(world.here("looped/to-d/f")).unwrap(), b"f");
}

#[test]
fn what_cannot_move_is_told_and_does_not_stop_the_rest() {
    let world = World::plaintext();
    fs::create_dir_all(world.here("tree/d")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, world.here("tree/d/fifo"), fifo, 0o600.into(), 0).unwrap();
    for name in ["tree/a", "tree/z"] {
        fs::write(world.here(name), name).unwrap();
    }
    fs::create_dir_all(world.root("tree/a")).unwrap();
    let told = world.run("put -q -r tree /").exits(12);
    says(&told, "cannot put `tree/a`");
    assert_eq!(fs::read(world.root("tree/z")).unwrap(), b"tree/z");
}

#[test]
fn the_name_of_the_destination_may_be_a_link_to_a_directory_and_names_below_it_are_replaced() {
    let world = World::plaintext();
    fs::create_dir_all(world.here("tree/d")).unwrap();
    fs::write(world.here("tree/d/f"), "f").unwrap();
    for top in [world.root(""), world.here("")] {
        fs::create_dir(top.join("real")).unwrap();
        symlink("real", top.join("link")).unwrap();
        fs::create_dir(top.join("link/other")).unwrap();
        symlink("other", top.join("link/d")).unwrap();
    }
    for (line, top) in [
        ("sync tree :link", world.root("")),
        ("put -r tree/d link/", world.root("")),
        ("sync :link link", world.here("")),
        ("get -r link/d link/", world.here("")),
    ] {
        let said = world.run(&format!("{line} --dry-run")).ok().text;
        world.run(line).ok();
        assert!(top.join("link").is_symlink(), "{line}");
        assert!(top.join("real/d").is_dir() && !top.join("real/d").is_symlink(), "{line}, as {said} says");
        assert_eq!(fs::read(top.join("real/d/f")).unwrap(), b"f");
    }
    assert_eq!(names(&world.root("real/other")).len() + names(&world.here("real/other")).len(), 0);
}

/// For root no directory is read-only, so the server is somebody else.
#[test]
fn directories_that_can_only_be_read_are_changed_again_and_again_and_stay_so() {
    let nobody = nix::unistd::User::from_name("nobody").unwrap().filter(|_| nix::unistd::geteuid().is_root());
    let Some(nobody) = nobody else { return skip("only root can have a server be another user") };
    let world = World::serving("--user nobody --plaintext");
    std::os::unix::fs::chown(world.root(""), Some(nobody.uid.as_raw()), None).unwrap();
    for dir in ["tree/a/b", "tree/gone/deep", "tree/kept"] {
        fs::create_dir_all(world.here(dir)).unwrap();
        fs::write(world.here(dir).join("file"), "first").unwrap();
    }
    let lock = |mode| {
        for dir in ["tree/a/b", "tree/a", "tree/kept", "tree"] {
            fs::set_permissions(world.here(dir), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    for (round, flags) in [(1, ""), (2, ""), (3, "--perms"), (4, "-j 3"), (5, "--backup-dir old")] {
        lock(0o755);
        for name in ["a/b/file", "a/file", "kept/new", "file"] {
            fs::write(world.here("tree").join(name), format!("round {round}")).unwrap();
        }
        fs::create_dir_all(world.here(format!("tree/a/b/new{round}"))).unwrap();
        if round > 1 {
            let _ = fs::remove_dir_all(world.here("tree/gone"));
            fs::remove_dir_all(world.here(format!("tree/a/b/new{}", round - 1))).unwrap();
        }
        for dir in ["tree/gone/deep", "tree/gone"] {
            if world.here(dir).exists() {
                fs::set_permissions(world.here(dir), fs::Permissions::from_mode(0o555)).unwrap();
            }
        }
        lock(0o555);
        world.run(&format!("sync -q --delete tree :tree {flags}")).ok();
        if flags.starts_with("--backup-dir") {
            lock(0o755);
            assert!(world.root("tree/old/a/b/file").exists());
            world.run("rm -r tree/old").exits(7);
            continue;
        }
        same(&described(&world.root("tree")), &described(&world.here("tree")));
    }
    lock(0o755);
}

#[test]
fn one_file_is_no_tree_and_the_command_for_it_is_named() {
    let world = World::plaintext();
    fs::write(world.here("report"), "here").unwrap();
    fs::write(world.root("report"), "there").unwrap();
    for (line, command) in
        [("sync report :report", "`put` moves one file"), ("sync :report report", "`get` moves")]
    {
        assert!(world.run(line).exits(9).stderr.contains(command), "{line}");
    }
}

#[test]
fn fifos_and_sockets_are_skipped_which_is_no_failure() {
    let world = World::plaintext();
    for top in [world.here("tree"), world.root("tree")] {
        fs::create_dir_all(top.join("d")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, top.join("d/fifo"), fifo, 0o600.into(), 0).unwrap();
        drop(std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap());
        fs::write(top.join("z"), "z").unwrap();
    }
    for (line, to) in [
        ("put -r tree put", world.root("put")),
        ("sync tree :synced --delete", world.root("synced")),
        ("get -r tree got", world.here("got")),
        ("sync :tree synced --delete", world.here("synced")),
    ] {
        let told = world.run(line).ok();
        assert!(told.stderr.contains("2 skipped"), "{}", told.stderr);
        assert_eq!(fs::read(to.join("z")).unwrap(), b"z");
        assert_eq!(names(&to), ["d", "z"]);
    }
    let told = world.run("sync -n tree :elsewhere").ok().text;
    assert!(told.contains("skip d/fifo: a fifo, a socket or a device"), "{told}");
}

/// A tree in which there is something of everything that moves: a crowd of small files, and a large one.
fn crowd(top: &Path) {
    for dir in ["", "a", "b", "b/c"] {
        fs::create_dir(top.join(dir)).unwrap();
    }
    for index in 0..150 {
        let dir = ["", "a", "b", "b/c"][index % 4];
        fs::write(top.join(dir).join(format!("f{index}")), noise(index * 50)).unwrap();
    }
    fs::write(top.join("b/large"), noise(6 << 20)).unwrap();
    fs::set_permissions(top.join("b"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_tree_whose_connection_breaks_again_and_again_is_whole_in_the_end() {
    let world = World::plaintext();
    crowd(&world.here("tree"));
    crowd(&world.root("source"));
    let (sent, source) = (described(&world.here("tree")), described(&world.root("source")));
    for (toward, cuts) in [
        (Toward::Server, [300, 40_000, 400_000, 2_000_000]),
        (Toward::Client, [500, 20_000, 400_000, 3_000_000]),
    ] {
        let relay = Relay::with(&world.server().address, &cuts.map(|at| (toward, at, Harm::Cut)));
        let client = world.client_of(&relay.address);
        match toward {
            Toward::Server => {
                client.run("put -q -r --retries 9 --retry-wait 0.01 --overwrite never tree /").ok();
                same(&described(&world.root("tree")), &sent);
            }
            Toward::Client => {
                client.run("get -q -r --retries 9 --retry-wait 0.01 source back").ok();
                same(&described(&world.here("back")), &source);
            }
        }
    }
}

/// Whatever has a name in `copy` has it in `source`, too, and if it is a file, all of its bytes.
#[track_caller]
fn is_whole_as_far_as_it_goes(copy: &Path, source: &Path) {
    for entry in walkdir::WalkDir::new(copy).into_iter().map(Result::unwrap) {
        let own = source.join(entry.path().strip_prefix(copy).unwrap());
        if entry.file_type().is_file() && !is_partial(entry.path()) {
            assert!(fs::read(entry.path()).unwrap() == fs::read(&own).unwrap(), "{}", own.display());
        }
    }
}

#[test]
fn a_tree_whose_client_was_killed_has_whole_files_and_the_next_run_has_them_all() {
    let world = World::plaintext();
    for (toward, line, copy, source) in [
        (Toward::Server, "put -q -r tree /", world.root("tree"), world.here("tree")),
        (Toward::Client, "get -q -r source back/", world.here("back/source"), world.root("source")),
    ] {
        crowd(&source);
        for at in [4_000_000, 3_000, 60_000, 400_000] {
            let mut relay = Relay::to(&world.server().address, toward, at, Harm::Stall);
            let mut client = world.client_of(&relay.address).spawn(line);
            relay.wait();
            client.kill().unwrap();
            client.wait().unwrap();
            relay.go_on();
            if copy.exists() {
                is_whole_as_far_as_it_goes(&copy, &source);
            }
        }
        let again =
            if toward == Toward::Server { "sync -q tree :tree" } else { "sync -q :source back/source" };
        world.run(again).ok();
        same(&without_traces(described(&copy)), &without_traces(described(&source)));
    }
}

/// A tree but for what the session of a killed client may still be clearing up, and the times of directories, which that
/// changes.
fn without_traces(tree: BTreeMap<PathBuf, String>) -> BTreeMap<PathBuf, String> {
    let cut = |what: String| if what.starts_with("dir") { "dir".to_owned() } else { what };
    tree.into_iter().filter(|(path, _)| !is_partial(path)).map(|(path, what)| (path, cut(what))).collect()
}

/// Two crowds of the same names: what is to be synced, and what it replaces.
fn crowds(source: &Path, target: &Path) {
    crowd(source);
    crowd(target);
    for entry in walkdir::WalkDir::new(target).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            let old = [&fs::read(entry.path()).unwrap(), &b"old"[..]].concat();
            fs::write(entry.path(), old).unwrap();
        }
    }
    fs::write(target.join("a/gone"), "gone, old").unwrap();
}

/// Of every file that was in the target, the old content is under its name or that of its backup, whole; under its own
/// name it has either the old or the new. With `all`, everything is new, and everything old is kept.
#[track_caller]
fn nothing_is_lost(source: &Path, target: &Path, all: bool) {
    let names = described(source).into_iter().filter(|(_, what)| what.starts_with("file"));
    let names: Vec<_> = names.map(|(path, _)| path).chain([PathBuf::from("a/gone")]).collect();
    assert_eq!(names.len(), 152);
    for name in names {
        let new = fs::read(source.join(&name)).ok();
        let (at, kept) = (fs::read(target.join(&name)).ok(), fs::read(target.join("bak").join(&name)).ok());
        let is_old = |found: &Option<Vec<u8>>| {
            let mut old = new.clone().unwrap_or(b"gone, ".to_vec());
            old.extend(b"old");
            *found == Some(old)
        };
        assert!(if all { is_old(&kept) } else { is_old(&at) || is_old(&kept) }, "{}", name.display());
        assert!(at == new || !all && is_old(&at), "{}", name.display());
    }
}

#[test]
fn a_sync_with_backups_tells_what_it_would_do_and_keeps_it() {
    let world = World::plaintext();
    crowds(&world.here("tree"), &world.root("tree"));
    let before = described(&world.root("tree"));
    let would = world.run("sync -q -n --delete --backup-dir bak/today/ tree :tree").ok();
    for told in
        ["back up a/f1 -> bak/today/a/f1\ncopy a/f1 (50 bytes)\n", "back up a/gone -> bak/today/a/gone\n"]
    {
        assert!(would.text.contains(told), "{}", would.text);
    }
    same(&described(&world.root("tree")), &before);
    world.run("sync -q --delete --backup-dir bak tree :tree").ok();
    nothing_is_lost(&world.here("tree"), &world.root("tree"), true);
    let again = world.run("sync -q -n --delete --backup-dir bak tree :tree").ok();
    assert_eq!(again.text, "", "a second run finds nothing to do");
    for bad in ["/bak", ".", "..", "a/../..", ""] {
        let refused = world.client().words(["sync", "--backup-dir", bad, "tree", ":tree"], b"").exits(2);
        says(&refused, "cannot keep backups in");
    }
}

/// Both name every file, link, directory and removal, and what is left out and by which pattern.
#[test]
fn what_a_run_says_it_does_is_what_a_dry_run_has_said() {
    for (from, to, sides) in [("here", "root", "tree :tree"), ("root", "here", ":tree tree")] {
        let world = World::plaintext();
        let (from, to) = (world.path(from).join("tree"), world.path(to).join("tree"));
        crowds(&from, &to);
        for (dir, content) in [(&from, "1"), (&to, "22")] {
            fs::create_dir_all(dir.join("deep/er")).unwrap();
            for name in ["a.o", "deep/#b", "deep/er/c.o", "same", "replaced"] {
                fs::write(dir.join(name), content).unwrap();
            }
            fs::write(dir.join("same"), "same").unwrap();
            dress(&dir.join("same"), 0o644, 1_000_000_000);
            std::os::unix::fs::symlink(content, dir.join("link")).unwrap();
        }
        fs::hard_link(from.join("same"), from.join("same-too")).unwrap();
        let flags = "--delete --backup-dir bak -H --exclude *.o --exclude #b --links keep";
        for more in ["", " -c", " --perms"] {
            let line = format!("sync -v {flags}{more} {sides}");
            let lines = |outcome: &Outcome| {
                let mut lines: Vec<_> = outcome.text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            let would = lines(&world.run(&format!("{line} -n")).ok());
            let done = world.run(&line).ok();
            assert_eq!(lines(&done), would, "{line}");
            let left_out = ["leave out a.o: --exclude *.o", "keep deep/#b: --exclude #b"];
            assert!(left_out.iter().all(|told| would.iter().any(|line| line == told)), "{would:#?}");
            if more.is_empty() {
                for told in ["link link -> 1", "back up link -> bak/link", "link same-too = same"] {
                    assert!(would.iter().any(|line| line == told), "{told} is not in {would:#?}");
                }
                // The summary counts the lines.
                let count = |verb: &str| would.iter().filter(|line| line.starts_with(verb)).count();
                let (copied, kept, set) = (count("copy"), count("back up"), count("set"));
                let told = format!("{copied} files");
                assert!(done.stderr.contains(&told), "{told}: {}", done.stderr);
                let told = format!("1 link, 1 hard link, {kept} backed up, {set} set, ");
                assert!(done.stderr.contains(&told), "{told}: {}", done.stderr);
            }
            // One that is done moves nothing, and says so.
            let again = world.run(&line).ok();
            assert!(lines(&again).iter().all(|line| line.contains("--")), "{}", again.text);
            assert!(
                again.stderr.contains("nothing to do; ") && again.stderr.contains(" unchanged"),
                "{}",
                again.stderr
            );
            fs::write(from.join("replaced"), format!("3{more}")).unwrap();
        }
    }
}

#[test]
fn a_sync_with_backups_whose_connection_breaks_again_and_again_loses_nothing() {
    for (toward, cuts) in
        [(Toward::Server, [300, 40_000, 400_000, 2_000_000]), (Toward::Client, [500, 4_000, 6_000, 9_000])]
    {
        let world = World::plaintext();
        crowds(&world.here("tree"), &world.root("tree"));
        let relay = Relay::with(&world.server().address, &cuts.map(|at| (toward, at, Harm::Cut)));
        let client = world.client_of(&relay.address);
        let line = "sync -q --delete --backup-dir bak --retries 9 --retry-wait 0.01 tree :tree";
        client.run(line).ok();
        nothing_is_lost(&world.here("tree"), &world.root("tree"), true);
    }
}

#[test]
fn a_sync_with_backups_that_is_killed_has_lost_nothing_and_the_next_run_goes_on() {
    for (toward, source, target) in [(Toward::Server, "here", "root"), (Toward::Client, "root", "here")] {
        let world = World::plaintext();
        let place = |at: &str| if at == "here" { world.here("tree") } else { world.root("tree") };
        let (source, target) = (place(source), place(target));
        crowds(&source, &target);
        let sides = if toward == Toward::Server { "tree :tree" } else { ":tree tree" };
        let line = format!("sync -q --delete --backup-dir bak {sides}");
        for at in [3_000, 60_000, 400_000, 2_000_000] {
            let mut relay = Relay::to(&world.server().address, toward, at, Harm::Stall);
            let mut client = world.client_of(&relay.address).spawn(&line);
            relay.wait();
            client.kill().unwrap();
            client.wait().unwrap();
            relay.go_on();
            nothing_is_lost(&source, &target, false);
        }
        world.run(&line).ok();
        nothing_is_lost(&source, &target, true);
    }
}

#[test]
fn names_of_one_file_stay_that_where_it_is_asked() {
    let world = World::plaintext();
    fs::create_dir_all(world.here("tree/d")).unwrap();
    fs::write(world.here("tree/a"), "content").unwrap();
    fs::hard_link(world.here("tree/a"), world.here("tree/d/b")).unwrap();
    let links = |top: PathBuf| fs::metadata(top.join("a")).unwrap().nlink();
    world.run("put -q -r tree /apart").ok();
    assert_eq!(links(world.root("apart")), 1, "only where it is asked");
    let would = world.run("sync -q -n -H tree :joined").ok().text;
    assert!(would.contains("copy a (7 bytes)\n") && would.contains("link d/b = a\n"), "{would}");
    world.run("put -q -r -H tree /joined").ok();
    world.run("get -q -r --hard-links joined back").ok();
    for top in [world.root("joined"), world.here("back")] {
        assert_eq!(links(top.clone()), 2);
        assert_eq!(fs::read(top.join("d/b")).unwrap(), b"content");
    }
    for line in ["sync -q -n -H tree :joined", "sync -q -n -H --checksum :joined back"] {
        let would = world.run(line).ok().text;
        assert!(!would.contains("link ") && !would.contains("copy "), "{would}");
    }
}

#[test]
fn links_that_lead_out_of_a_local_tree_are_followed_and_those_of_a_server_are_not() {
    let world = World::plaintext();
    for dir in ["tree/d", "out/e"] {
        fs::create_dir_all(world.here(dir)).unwrap();
    }
    fs::write(world.here("out/e/f"), "outside").unwrap();
    fs::write(world.here("secret"), "not to be served").unwrap();
    for (target, name) in [("../../out", "tree/d/out"), ("../out/e/f", "tree/f"), ("..", "out/e/up")] {
        symlink(target, world.here(name)).unwrap();
    }
    let told = world.run("put -q -r --links follow tree /").exits(12);
    says(&told, "cannot put `tree/d/out/e/up`: by way of a link, it is a directory that it is in");
    fs::remove_file(world.here("out/e/up")).unwrap();
    world.run("sync -q --delete --links follow tree :tree").ok();
    for name in ["tree/d/out/e/f", "tree/f"] {
        assert_eq!(fs::read(world.root(name)).unwrap(), b"outside");
        assert!(!world.root(name).is_symlink());
    }
    assert_eq!(world.run("sync -q -n --delete --links follow tree :tree").ok().text, "");
    let mtime = fs::metadata(world.here("out/e/f")).unwrap().modified().unwrap();
    fs::write(world.here("out/e/f"), "OUTSIDE").unwrap();
    fs::File::options().write(true).open(world.here("out/e/f")).unwrap().set_modified(mtime).unwrap();
    world.run("sync -q --checksum --links follow tree :tree").ok();
    assert_eq!(fs::read(world.root("tree/d/out/e/f")).unwrap(), b"OUTSIDE");
    // Down, nothing is told of what is outside.
    symlink(world.here("secret"), world.root("tree/d/secret")).unwrap();
    symlink(world.here("out"), world.root("tree/d/elsewhere")).unwrap();
    let told = world.run("get -q -r --links follow tree back").exits(12);
    says(&told, "cannot get `tree/d/secret`");
    says(&told, "cannot get `tree/d/elsewhere`");
    let back: Vec<_> = described(&world.here("back")).into_keys().collect();
    assert_eq!(back, ["", "d", "d/out", "d/out/e", "d/out/e/f", "f"].map(PathBuf::from));
}

/// Mounts of either kind, on either side: what is there neither moves nor is removed.
#[test]
fn one_file_system_leaves_other_mounts_out_and_bind_mounts_too() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let (from, to) = match way {
            Way::Get => (world.root("tree"), world.here("tree")),
            Way::Put => (world.here("tree"), world.root("tree")),
        };
        for top in [&from, &to] {
            for dir in ["same", "mounted", "bound", "elsewhere"] {
                fs::create_dir_all(top.join(dir)).unwrap();
            }
            fs::write(top.join("elsewhere/of-it"), "elsewhere").unwrap();
        }
        fs::write(from.join("same/a"), "a").unwrap();
        fs::write(from.join("bound-file"), "").unwrap();
        let tmpfs = "mount -t tmpfs tmpfs mounted && echo new >mounted/new";
        let bind = "mount --bind elsewhere bound && mount --bind elsewhere/of-it bound-file";
        let Some(source) = Disk::mounted(&format!("cd \"$1\" && {tmpfs} && {bind}"), &from) else { return };
        let command = world.serve_command("--listen 127.0.0.1:0 --plaintext");
        let server = Server::start(source.inside(&command), world.path("server.log"));
        let client = world.client_of(&server.address);
        for (dir, name) in [("mounted", "old"), ("bound", "old")] {
            fs::write(to.join(dir).join(name), "old").unwrap();
        }
        let line = match way {
            Way::Get => "sync --delete -x -v :tree tree",
            Way::Put => "sync --delete -x -v tree :tree",
        };
        let done = client.run_in(&source, line).ok();
        for told in
            ["copy same/a (1 bytes)", "leave out mounted: --one-file-system", "keep bound: --one-file-system"]
        {
            assert!(done.text.lines().any(|line| line == told), "{told}: {}", done.text);
        }
        assert_eq!(names(&to.join("mounted")), ["old"]);
        assert_eq!(names(&to.join("bound")), ["old"]);
        assert_eq!(names(&to), ["bound", "elsewhere", "mounted", "same"]);
        // Without it, all is one tree.
        client.run_in(&source, &line.replace(" -x", "")).ok();
        assert_eq!(names(&to.join("mounted")), ["new"]);
        assert_eq!(names(&to.join("bound")), ["of-it"]);
        assert_eq!(fs::read(to.join("bound-file")).unwrap(), b"elsewhere");

        // The other way round, the mounts are where it all goes.
        let back = if line.contains(" :tree ") {
            "sync --delete -x -v tree :tree"
        } else {
            "sync --delete -x -v :tree tree"
        };
        fs::remove_file(to.join("mounted/new")).unwrap();
        fs::write(to.join("same/b"), "b").unwrap();
        client.run_in(&source, back).ok();
        assert_eq!(names(&source.path(&from.join("mounted"))), ["new"]);
        assert_eq!(names(&source.path(&from.join("same"))), ["a", "b"]);
    }
}
