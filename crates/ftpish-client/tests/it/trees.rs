//! Whole trees from servers that lie: nothing is made, written or removed outside of the destination, and in it nothing
//! that was not told in order.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ftpish_client::{Client, Compare, Done, Error, Progress, Step, Tree, TreeJob, Way};
use ftpish_protocol::{Algorithm, Code, FEATURES, RemotePath};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::script::{Peer, Script, body, contents, end, file, framed, trailer};

/// A destination, and beside it what must stay as it is.
struct World {
    scratch: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { scratch: tempfile::tempdir().unwrap() };
        fs::create_dir(world.outside()).unwrap();
        fs::write(world.outside().join("file"), "mine").unwrap();
        fs::create_dir(world.local()).unwrap();
        world
    }

    fn outside(&self) -> PathBuf {
        self.scratch.path().join("outside")
    }

    fn local(&self) -> PathBuf {
        self.scratch.path().join("local")
    }

    #[track_caller]
    fn outside_is_as_it_was(&self) {
        let file = |name: &str, content: &str| (name.to_owned(), content.to_owned());
        assert_eq!(contents(&self.outside()), [file("file", "mine")]);
        let names: Vec<_> = contents(self.scratch.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["local", "outside"]);
    }
}

fn tree(local: &Path) -> Tree {
    Tree {
        digest: Algorithm::Md5,
        sync: false,
        perms: true,
        ..Tree::new(Way::Get, RemotePath::root(), local)
    }
}

/// As `sync --delete` does.
fn sync(local: &Path) -> Tree {
    Tree { compare: Some(Compare::Time), delete: Some(1000), ..tree(local) }
}

/// Moves a tree; gives the paths whose steps failed, and how all of it ended.
fn run(client: &mut Client, tree: Tree) -> (Vec<String>, Result<(), Error>) {
    let mut failed = Vec::new();
    let ended = TreeJob::new(tree).run(client, &Progress::default(), &mut |step, outcome| {
        if outcome.is_err() {
            failed.push(step.path().to_string());
        }
    });
    (failed, ended)
}

/// Takes a tree, and makes nothing of it.
pub fn list(client: &mut Client) -> Result<(), Error> {
    let world = World::new();
    run(client, Tree { dry_run: true, ..tree(&world.local()) }).1
}

fn node(path: impl Into<Value>, kind: &str) -> Value {
    let path: Value = path.into();
    json!({"path": path, "kind": kind, "size": 1, "mtime": [1, 0], "mode": "755"})
}

fn link(path: &str, target: impl Into<Value>) -> Value {
    let mut node = node(path, "link");
    node["target"] = target.into();
    node
}

/// A body of these nodes, and their number.
fn listing(nodes: &[Value]) -> Vec<u8> {
    let lines: String = nodes.iter().map(|node| format!("{node}\n")).collect();
    let mut trailer = trailer(lines.as_bytes());
    trailer["entries"] = json!(nodes.len());
    let chunks = lines.as_bytes().chunks(1 << 20).flat_map(framed);
    chunks.chain(end(&trailer)).collect()
}

/// Serves one tree as a server would that does not look at it, and files with `content`; a file named `gone` is not
/// there.
fn serve(peer: &mut Peer, nodes: &[Value], content: &[u8]) {
    while let Some(request) = peer.next() {
        match request["cmd"].as_str().unwrap() {
            "tree" => {
                peer.grant(&request, json!({"body": true}));
                peer.send(&listing(if request["after"].is_null() { nodes } else { &[] }));
            }
            "get" if request["path"].as_str().unwrap().ends_with("gone") => {
                peer.refuse(&request, "not-found");
            }
            "get" => {
                peer.grant(&request, file(content.len() as u64));
                peer.send(&body(content));
            }
            cmd => panic!("{cmd}"),
        }
    }
}

fn server(nodes: Vec<Value>) -> Script {
    Script::run(move |peer| serve(peer, &nodes, b"theirs"))
}

/// A tree that no walk can have told is refused, and nothing of it is made.
#[track_caller]
fn check_refused(nodes: Vec<Value>) {
    let said = format!("{nodes:?}");
    for rules in [tree, sync] {
        let (world, script) = (World::new(), server(nodes.clone()));
        symlink(world.outside(), world.local().join("d")).unwrap();
        let (_, ended) = run(&mut script.client(), rules(&world.local()));
        assert!(matches!(ended, Err(Error::Protocol(_))), "{said}: {ended:?}");
        world.outside_is_as_it_was();
        let kept: Vec<_> = contents(&world.local()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(kept, ["d"], "{said}");
    }
}

#[test]
fn trees_that_lead_elsewhere_are_refused_before_anything_is_made() {
    let top = || node(".", "dir");
    let outside = "../outside";
    check_refused(vec![top(), link("d", outside), node("d/file", "file")]);
    check_refused(vec![top(), node("d", "file"), node("d/file", "file")]);
    check_refused(vec![top(), node("d", "other"), node("d/file", "file")]);
    check_refused(vec![top(), node("d/file", "file")]);
    check_refused(vec![top(), node("b", "file"), node("a", "file")]);
    check_refused(vec![top(), node("a", "file"), node("a", "file")]);
    check_refused(vec![top(), node("d", "dir"), link("d", outside)]);
    check_refused(vec![top(), link("d", outside), node("d", "dir"), node("d/file", "file")]);
    check_refused(vec![top(), top()]);
    check_refused(vec![node("d", "dir"), node("d/file", "file")]);
    for bad in ["..", "../outside/file", "/etc/passwd", "a/../../x", "a\0", "", "a//b", "./a", "d/"] {
        check_refused(vec![top(), node(bad, "file")]);
        check_refused(vec![top(), node(bad, "dir")]);
        check_refused(vec![node(bad, "dir")]);
    }
    check_refused(vec![top(), node(json!({"b64": "Li4="}), "file")]);
    check_refused(vec![top(), node("n".repeat(256), "file")]);
    check_refused(vec![top(), link("d", "x".repeat(4097))]);
}

#[test]
fn names_that_lead_elsewhere_on_other_systems_alone_are_names_like_any() {
    let names = ["..\\x", "C:", "C:\\x", "CON", "a\\b", "nul.txt"];
    for rules in [tree, sync] {
        let nodes = [node(".", "dir")].into_iter().chain(names.map(|name| node(name, "file")));
        let (world, script) = (World::new(), server(nodes.collect()));
        let (failed, ended) = run(&mut script.client(), rules(&world.local()));
        assert!(ended.is_ok() && failed.is_empty(), "{failed:?} {ended:?}");
        let made: Vec<_> = contents(&world.local()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(made, names);
        world.outside_is_as_it_was();
    }
}

#[test]
fn a_later_page_is_held_to_the_order_of_those_before_it() {
    for bad in ["a", "f 0500", ".", "none/file"] {
        let world = World::new();
        let script = Script::run(move |peer| {
            while let Some(request) = peer.next() {
                if request["cmd"] == "get" {
                    peer.refuse(&request, "not-found");
                    continue;
                }
                assert_eq!(request["cmd"], "tree");
                peer.grant(&request, json!({"body": true}));
                let limit = request["limit"].as_u64().unwrap();
                let files = (1..limit).map(|i| node(format!("f {i:04}"), "file"));
                let page: Vec<_> = [node(".", "dir")].into_iter().chain(files).collect();
                let is_first = request["after"].is_null();
                peer.send(&if is_first { listing(&page) } else { listing(&[node(bad, "file")]) });
            }
        });
        let (_, ended) = run(&mut script.client(), tree(&world.local()));
        assert!(matches!(ended, Err(Error::Protocol(_))), "{bad}: {ended:?}");
    }
}

#[test]
fn a_link_that_was_made_before_is_not_written_through() {
    for rules in [tree, sync] {
        let world = World::new();
        let first = server(vec![node(".", "dir"), link("d", "../outside"), link("e", "/etc")]);
        let (failed, ended) = run(&mut first.client(), rules(&world.local()));
        assert!(ended.is_ok() && failed.is_empty(), "{failed:?} {ended:?}");
        assert_eq!(fs::read_link(world.local().join("d")).unwrap(), Path::new("../outside"));
        drop(first);
        let nodes = [node(".", "dir"), node("d", "dir"), node("d/file", "file"), link("d/link", "x")];
        let second = server(nodes.to_vec());
        let (failed, ended) = run(&mut second.client(), rules(&world.local()));
        assert!(ended.is_ok(), "{ended:?}");
        world.outside_is_as_it_was();
        // Only whoever looks at what is there knows that a link has to make room.
        match rules(&world.local()).compare {
            None => assert!(["d", "d/file", "d/link"].iter().all(|path| failed.iter().any(|it| it == path))),
            Some(_) => assert_eq!(fs::read(world.local().join("d/file")).unwrap(), b"theirs"),
        }
    }
}

#[test]
fn what_a_link_holds_is_made_as_it_is_and_drives_no_terminal_on_its_way() {
    let world = World::new();
    let script = server(vec![node(".", "dir"), link("l", "\u{1b}[2J\n../../outside")]);
    let (failed, ended) = run(&mut script.client(), tree(&world.local()));
    assert!(ended.is_ok() && failed.is_empty());
    let held = fs::read_link(world.local().join("l")).unwrap();
    assert_eq!(held.to_str(), Some("\u{1b}[2J\n../../outside"));
    world.outside_is_as_it_was();
    for bad in ["", "a\0b"] {
        let script = server(vec![node(".", "dir"), link("bad", bad)]);
        let (failed, ended) = run(&mut script.client(), tree(&world.local()));
        assert!(ended.is_ok());
        assert_eq!(failed, ["bad"]);
    }
}

#[test]
fn a_top_that_is_no_directory_is_told_so() {
    let world = World::new();
    for kind in ["file", "link", "other"] {
        let script = server(vec![node(".", kind)]);
        let (failed, ended) = run(&mut script.client(), sync(&world.local()));
        let code = match ended {
            Err(Error::Refused(refusal)) => refusal.code.to_string(),
            ended => panic!("{kind}: {ended:?}"),
        };
        assert_eq!((code.as_str(), failed.len()), ("not-directory", 0), "{kind}");
    }
    assert_eq!(contents(&world.local()), []);
}

#[test]
fn what_the_get_tells_of_a_file_is_what_counts_and_not_the_listing() {
    for size in [0_u64, 1, 1 << 20, 1 << 40, u64::MAX] {
        let world = World::new();
        let mut lie = node("a", "file");
        lie["size"] = json!(size);
        let script = server(vec![node(".", "dir"), lie, node("gone", "file")]);
        let (failed, ended) = run(&mut script.client(), tree(&world.local()));
        assert!(ended.is_ok(), "{size}: {ended:?}");
        assert_eq!(failed, ["gone"], "{size}");
        assert_eq!(contents(&world.local()), [("a".to_owned(), "theirs".to_owned())], "{size}");
    }
}

/// What a source could not tell of is not missing there.
#[test]
fn nothing_is_removed_for_a_listing_that_is_not_whole() {
    let error = |path: &str, kind: &str| {
        let mut node = node(path, kind);
        node["error"] = json!({"code": "permission-denied", "message": "\u{1b}[2J no".repeat(1000)});
        node
    };
    let before = |world: &World| {
        fs::write(world.local().join("extra"), "kept").unwrap();
        fs::create_dir(world.local().join("d")).unwrap();
        fs::write(world.local().join("d/extra"), "kept").unwrap();
    };
    for nodes in [
        vec![error(".", "dir")],
        vec![node(".", "dir"), error("d", "dir")],
        vec![node(".", "dir"), error("d", "other")],
        vec![node(".", "dir"), error("unheard", "unheard-of")],
    ] {
        let world = World::new();
        before(&world);
        let (said, script) = (format!("{nodes:?}"), server(nodes));
        let (failed, ended) = run(&mut script.client(), sync(&world.local()));
        assert!(ended.is_ok() && failed.contains(&".".to_owned()), "{said}: {failed:?}");
        assert_eq!(fs::read(world.local().join("d/extra")).unwrap(), b"kept", "{said}");
        assert_eq!(fs::read(world.local().join("extra")).unwrap(), b"kept", "{said}");
    }
    // One that breaks off, or whose count is another's, is none.
    let whole = listing(&[node(".", "dir"), node("d", "dir")]);
    let counted = String::from_utf8_lossy(&whole).replace("\"entries\":2", "\"entries\":3").into_bytes();
    for bytes in [whole[..whole.len() - 1].to_vec(), counted] {
        let world = World::new();
        before(&world);
        let script = Script::run(move |peer| {
            let request = peer.request();
            peer.grant(&request, json!({"body": true}));
            peer.send(&bytes);
            peer.close();
        });
        let (_, ended) = run(&mut script.client(), sync(&world.local()));
        assert!(matches!(ended, Err(Error::Connection(_) | Error::Unverified(_))), "{ended:?}");
        assert!(world.local().join("extra").exists() && world.local().join("d/extra").exists());
    }
}

#[test]
fn a_page_that_is_longer_than_was_asked_for_is_not_held() {
    let world = World::new();
    let script = Script::run(|peer| {
        let request = peer.request();
        peer.grant(&request, json!({"body": true}));
        let mut line = framed(format!("{}\n", node(".", "dir")).as_bytes());
        for i in 0_u64.. {
            if peer.try_send(&line).is_err() {
                break;
            }
            let lines: String =
                (0..100).map(|j| format!("{}\n", node(format!("f {:012}", i * 100 + j), "file"))).collect();
            line = framed(lines.as_bytes());
        }
    });
    let mut client = script.client();
    let (_, ended) = run(&mut client, tree(&world.local()));
    assert!(matches!(ended, Err(Error::Protocol(_))), "{ended:?}");
    assert!(!client.is_usable());
    assert_eq!(contents(&world.local()), []);
}

/// A tree without an end is walked for as long as anybody likes, and never is more of it held than two pages.
#[test]
fn an_endless_tree_is_taken_as_it_comes_and_can_be_interrupted() {
    let (told, most_ahead) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, ahead) = (Arc::clone(&told), Arc::clone(&most_ahead));
    let script = Script::run(move |peer| {
        let mut sent = 0;
        while let Some(request) = peer.next() {
            assert_eq!(request["cmd"], "tree");
            let limit = usize::try_from(request["limit"].as_u64().unwrap()).unwrap();
            let nodes: Vec<_> = (sent..sent + limit)
                .map(|i| if i == 0 { node(".", "dir") } else { node(format!("d {i:012}"), "dir") })
                .collect();
            sent += limit;
            peer.grant(&request, json!({"body": true}));
            peer.send(&listing(&nodes));
            // Each is told as made, and some as set.
            ahead.fetch_max(sent.saturating_sub(seen.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
    });
    let world = World::new();
    let options = script.options();
    let (interrupt, mut client) = (options.interrupt.clone(), Client::connect(&options).unwrap());
    let endless = Tree { dry_run: true, ..tree(&world.local()) };
    let ended = TreeJob::new(endless).run(&mut client, &Progress::default(), &mut |_, _| {
        if told.fetch_add(1, Ordering::Relaxed) == 150_000 {
            interrupt.set();
        }
    });
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    assert!(most_ahead.load(Ordering::Relaxed) <= 32_000, "{most_ahead:?}");
}

#[test]
fn a_server_without_a_feature_that_is_needed_is_sent_nothing_that_changes_anything() {
    for feature in ["backup", "links"] {
        let world = World::new();
        let script = Script::from_the_start(move |peer| {
            let features: Vec<_> = FEATURES.into_iter().filter(|known| *known != feature).collect();
            peer.greet_as_one_that_knows(&features);
            let request = peer.request();
            assert_eq!(request["cmd"], "tree");
            peer.grant(&request, json!({"body": true}));
            peer.send(&listing(&[node(".", "dir"), node("f", "file")]));
            assert_eq!(peer.next(), None, "the client asks for no more");
        });
        let backup = (feature == "backup").then(|| "old".parse().unwrap());
        let hard_links = feature == "links";
        let needs =
            Tree { way: Way::Put, backup, hard_links, compare: Some(Compare::Time), ..tree(&world.local()) };
        let (_, ended) = run(&mut script.client(), needs);
        let is_told = matches!(&ended, Err(Error::Refused(refusal))
            if refusal.code == Code::Unsupported && refusal.message.contains(feature));
        assert!(is_told, "{ended:?}");
    }
}

fn same(path: &str, first: &str) -> Value {
    let mut node = node(path, "file");
    node["same"] = first.into();
    node
}

fn with_hard_links(tree: Tree) -> Tree {
    Tree { hard_links: true, ..tree }
}

#[test]
fn a_file_that_is_said_to_be_one_outside_or_one_that_comes_later_is_refused() {
    for first in ["../outside/file", "/etc/passwd", "..", "b", "b/c", "z", "", "a\0"] {
        let script = server(vec![node(".", "dir"), node("a", "file"), same("b", first)]);
        let world = World::new();
        let (_, ended) = run(&mut script.client(), with_hard_links(tree(&world.local())));
        assert!(matches!(ended, Err(Error::Protocol(_))), "{first:?}: {ended:?}");
        assert_eq!(fs::read_dir(world.local()).unwrap().count(), 0, "nothing is made");
        world.outside_is_as_it_was();
    }
}

#[test]
fn a_file_that_is_said_to_be_what_it_is_not_is_fetched() {
    let nodes = [
        node(".", "dir"),
        link("l", "../outside/file"),
        link("m", "../outside"),
        node("m-gone", "file"),
        same("n1", "m-gone"),
        same("n2", "l"),
        same("n3", "."),
        same("n4", "m/file"),
        same("n5", "mine"),
        same("n6", "lost"),
    ];
    for rules in [tree, sync] {
        let world = World::new();
        let script = server(nodes.to_vec());
        fs::write(world.local().join("mine"), "of mine").unwrap();
        let rules = Tree { delete: None, ..rules(&world.local()) };
        let (failed, ended) = run(&mut script.client(), with_hard_links(rules));
        assert!(ended.is_ok(), "{ended:?}");
        assert_eq!(failed, ["m-gone"]);
        world.outside_is_as_it_was();
        for name in ["n1", "n2", "n3", "n4", "n5", "n6"] {
            let found = world.local().join(name);
            assert_eq!(fs::read(&found).unwrap(), b"theirs", "{name}");
            assert_eq!(fs::symlink_metadata(&found).unwrap().nlink(), 1, "{name}");
        }
        assert_eq!(fs::metadata(world.local().join("mine")).unwrap().nlink(), 1);
        assert_eq!(fs::metadata(world.outside().join("file")).unwrap().nlink(), 1);
    }
}

#[test]
fn a_file_that_changed_before_its_other_name_was_made_is_fetched_under_that() {
    let world = World::new();
    let script = Script::run(|peer| {
        while let Some(request) = peer.next() {
            if request["cmd"] == "tree" {
                peer.grant(&request, json!({"body": true}));
                peer.send(&listing(&[node(".", "dir"), node("a", "file"), same("b", "a"), same("c", "a")]));
                continue;
            }
            assert_eq!(request["cmd"], "get");
            let mut fields = file(1);
            let is_first = request["path"] == "a";
            fields["mtime"] = json!([if is_first { 2 } else { 1 }, 0]);
            peer.grant(&request, fields);
            peer.send(&body(if is_first { b"2" } else { b"1" }));
        }
    });
    let (failed, ended) = run(&mut script.client(), with_hard_links(tree(&world.local())));
    assert!(ended.is_ok() && failed.is_empty(), "{ended:?}");
    let one = |name: &str, content: &str| (name.to_owned(), content.to_owned());
    assert_eq!(contents(&world.local()), [one("a", "2"), one("b", "1"), one("c", "1")]);
}

/// As `sync --checksum` of a server that has the files `f 0` and so on, each of which has the content `x`; `said` is what
/// its listings add to the node of each, where digests are asked for; it refuses them where that is nothing. Tells what was asked, one word a request.
fn asked_by_digest(files: usize, here: &str, said: fn(&str) -> Value) -> Vec<String> {
    let world = World::new();
    for i in 0..files {
        fs::write(world.local().join(format!("f {i}")), here).unwrap();
    }
    let (sender, asked) = std::sync::mpsc::channel();
    let script = Script::run(move |peer| {
        let digest = Algorithm::Md5.digest(b"x").to_string();
        while let Some(request) = peer.next() {
            let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
            sender.send(text("cmd") + &text("hash")).unwrap();
            match text("cmd").as_str() {
                "tree" if request["hash"].is_null() => {
                    let nodes = (0..files).map(|i| node(format!("f {i}"), "file"));
                    peer.grant(&request, json!({"body": true}));
                    peer.send(&listing(&[node(".", "dir")].into_iter().chain(nodes).collect::<Vec<_>>()));
                }
                "tree" if said(&digest).is_null() => peer.refuse(&request, "forbidden"),
                "tree" => {
                    assert_eq!((text("after").as_str(), &request["limit"]), (".", &json!(files)));
                    let nodes = (0..files).map(|i| {
                        let mut node = node(format!("f {i}"), "file");
                        let said = said(&digest);
                        node.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
                        node
                    });
                    peer.grant(&request, json!({"body": true}));
                    peer.send(&listing(&nodes.collect::<Vec<_>>()));
                }
                "hash" => peer.grant(&request, json!({"size": 1, "digest": digest})),
                "get" => {
                    peer.grant(&request, file(1));
                    peer.send(&body(b"x"));
                }
                cmd => panic!("{cmd}"),
            }
        }
    });
    let rules = Tree { compare: Some(Compare::Digest), ..tree(&world.local()) };
    let (failed, ended) = run(&mut script.client(), rules);
    assert!(ended.is_ok() && failed.is_empty(), "{ended:?}");
    assert!(contents(&world.local()).iter().all(|(_, content)| content == "x"));
    drop(script);
    asked.iter().collect()
}

#[test]
fn digests_come_with_a_listing_or_where_they_do_not_by_hash() {
    let told = |digest: &str| json!({"digest": digest});
    let none = |_: &str| json!({});
    let other = |_: &str| json!({"digest": Algorithm::Sha256.digest(b"x").to_string()});
    assert_eq!(asked_by_digest(3, "x", told), ["tree", "treemd5"]);
    assert_eq!(asked_by_digest(3, "y", told), ["tree", "treemd5", "get", "get", "get"]);
    for said in [none, other, |_: &str| Value::Null] {
        assert_eq!(asked_by_digest(3, "x", said), ["tree", "treemd5", "hash", "hash", "hash"]);
    }
    assert_eq!(asked_by_digest(1, "x", told), ["tree", "hash"]);
    // Of another size, nobody reads it.
    assert_eq!(asked_by_digest(1, "xyz", told), ["tree", "get"]);
}

#[test]
fn digests_that_a_connection_broke_under_are_asked_for_again_over_the_next() {
    let world = World::new();
    let nodes = ["a", "b", "c"].map(|name| {
        fs::write(world.local().join(name), "x").unwrap();
        let mut node = node(name, "file");
        node["digest"] = json!(Algorithm::Md5.digest(b"x").to_string());
        node
    });
    let mut job = TreeJob::new(Tree { compare: Some(Compare::Digest), ..tree(&world.local()) });
    let mut run = |script: &Script| {
        job.run(&mut script.client(), &Progress::default(), &mut |step, outcome| {
            assert!(
                matches!((step, &outcome), (Step::Set { .. }, Ok(Done::Changed(_)))),
                "{step:?} {outcome:?}"
            );
        })
    };
    let all = nodes.clone();
    let first = Script::run(move |peer| {
        let plain = peer.request();
        peer.grant(&plain, json!({"body": true}));
        peer.send(&listing(&[&[node(".", "dir")][..], &all].concat()));
        let stretch = peer.request();
        peer.grant(&stretch, json!({"body": true}));
        peer.send(&listing(&all)[..300]);
        peer.close();
    });
    assert!(matches!(run(&first), Err(Error::Connection(_))));
    let second = Script::run(move |peer| {
        let stretch = peer.request();
        assert_eq!(
            (&stretch["hash"], &stretch["after"], &stretch["limit"]),
            (&json!("md5"), &json!("."), &json!(3))
        );
        peer.grant(&stretch, json!({"body": true}));
        peer.send(&listing(&nodes));
    });
    assert!(run(&second).is_ok());
}

#[test]
fn what_cannot_be_kept_is_told_and_the_rest_is_done() {
    let world = World::new();
    let long = format!("{}/f", vec!["d".repeat(250); 16].join("/"));
    let mut nodes = vec![node(".", "dir")];
    nodes.extend((1..=16).map(|depth| node(vec!["d".repeat(250); depth].join("/"), "dir")));
    nodes.extend([node(long.clone(), "file"), node("e", "file")]);
    let script = server(nodes);
    let backup = Some("b".repeat(200).parse().unwrap());
    let (failed, ended) = run(&mut script.client(), Tree { backup, ..tree(&world.local()) });
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(failed, [long]);
    assert_eq!(fs::read(world.local().join("e")).unwrap(), b"theirs");
}
