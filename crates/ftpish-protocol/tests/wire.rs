//! The golden vectors under `fixtures/wire`: each good one is read as the value it stands for and written as the same
//! bytes again, each malformed one causes the error it names, and the pages in `docs/protocol` show the very same text.
#![allow(clippy::unwrap_used, reason = "this is how a test fails")]
#![allow(clippy::single_range_in_vec_init, reason = "the ranges of a file may be one")]

mod disk;
mod pipe;
mod vectors;

use std::fs;

use ftpish_protocol::blocks::{Assembly, Blocks, MAX_BLOCKS, MIN_BLOCK};
use ftpish_protocol::message::*;
use ftpish_protocol::*;
use vectors::{PROJECT, Replay, fixtures};

/// How many bytes a read may give: one, a few, and all there are.
const PACES: [usize; 3] = [1, 7, usize::MAX];

/// 2026-01-01 00:00:00 UTC.
const NEW_YEAR: i64 = 1_767_225_600;

/// What the server of the vectors wants to be signed.
const CHALLENGE: &str = "9b1f0c3be2a1d47e58d06f3c7720ab14";

type Play = fn(&mut Replay);

/// What each good vector holds, in the order in which its bytes do.
const VECTORS: &[(&str, Play)] = &[
    ("hello-request", |it| {
        it.request(1, false, Command::Hello(Hello { version: VERSION, agent: "example 1.0".into() }));
    }),
    ("hello-reply", |it| {
        let commands = [
            "hello", "ls", "tree", "stat", "get", "put", "mkdir", "symlink", "link", "set", "rm", "mv",
            "hash", "df", "blocks", "resume", "login",
        ];
        let welcome = Welcome {
            version: VERSION,
            agent: "ftpish 0.1.0".into(),
            digests: Algorithm::ALL.map(|a| a.to_string()).into(),
            commands: commands.map(String::from).into(),
            features: FEATURES.map(String::from).into(),
            login: true,
            challenge: Some(CHALLENGE.into()),
        };
        it.granted(1, false, welcome);
    }),
    ("login-request", |it| {
        let proof = Proof::Password(Secret::new("open sesame".into()));
        it.request(2, false, Command::Login(Login { user: "ada".into(), proof }));
    }),
    ("login-reply", |it| {
        let ticket = Some(Secret::new("258.5f0c3be2a1d47e98".into()));
        it.granted(2, false, LoggedIn { user: "ada".into(), ticket });
    }),
    ("login-ticket-request", |it| {
        let proof = Proof::Ticket(Secret::new("258.5f0c3be2a1d47e98".into()));
        it.request(2, false, Command::Login(Login { user: "ada".into(), proof }));
    }),
    ("login-signature-request", |it| {
        let key =
            PrivateKey::open(include_str!("../../../fixtures/keys/plain"), || -> Result<_, KeyError> {
                unreachable!("it has no passphrase")
            });
        let host_key = Some("SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0");
        let statement = Statement { challenge: CHALLENGE, host_key, user: "ada" };
        let proof = Proof::Signature(key.unwrap().sign(statement).unwrap());
        it.request(2, false, Command::Login(Login { user: "ada".into(), proof }));
    }),
    ("ls-request", |it| it.request(2, false, Command::Ls(Ls { path: path("docs"), digest: Algorithm::Md5 }))),
    ("ls-reply", |it| {
        it.granted(2, true, Done {});
        let file = entry("a.txt", Kind::File, 12, time(NEW_YEAR, 500_000_000), 0o644);
        let dir = entry("old", Kind::Dir, 4096, time(NEW_YEAR, 0), 0o755);
        it.listing(&[file, dir]);
    }),
    ("ls-empty", |it| {
        it.granted(2, true, Done {});
        it.listing::<Entry>(&[]);
    }),
    ("ls-odd-names", |it| {
        it.granted(2, true, Done {});
        let name = Some(Name::parse(b"\xff").unwrap());
        let other = Entry { name, ..entry("", Kind::Other, 0, time(0, 0), 0o600) };
        let target = Some(LinkTarget(b"\xff".into()));
        let link = Entry { target, ..entry("to", Kind::Link, 1, time(0, 0), 0o777) };
        it.listing(&[other, link]);
    }),
    ("tree-request", |it| {
        let tree = Tree {
            path: path("docs"),
            digest: Algorithm::Md5,
            after: None,
            limit: 1000,
            follow: false,
            same: true,
            one_file_system: false,
            hash: None,
        };
        it.request(2, false, Command::Tree(tree));
    }),
    ("tree-every-field", |it| {
        let (path, after, digest) = (path("docs"), Some(path("old/b")), Algorithm::Blake3);
        let hash = Some(Algorithm::Sha256);
        let one_file_system = true;
        let tree =
            Tree { path, digest, after, limit: u64::MAX, follow: true, same: true, one_file_system, hash };
        it.request(2, false, Command::Tree(tree));
    }),
    ("tree-hash-request", |it| {
        let (path, after, digest) = (path("docs"), Some(path("a")), Algorithm::Md5);
        let (one_file_system, hash) = (false, Some(digest));
        let tree = Tree { path, digest, after, limit: 3, follow: false, same: false, one_file_system, hash };
        it.request(4, false, Command::Tree(tree));
    }),
    ("tree-hash-reply", |it| {
        it.granted(4, true, Done {});
        let target = Some(LinkTarget(b"a.txt".into()));
        let digest = Some(Algorithm::Md5.digest(b"hello world\n"));
        it.listing(&[
            Node { digest, ..node("a.txt", Kind::File, 12, time(NEW_YEAR, 500_000_000), 0o644) },
            node("disk.img", Kind::File, 8 << 30, time(NEW_YEAR, 0), 0o644),
            Node { target, ..node("latest", Kind::Link, 5, time(NEW_YEAR, 0), 0o777) },
        ]);
    }),
    ("tree-reply", |it| {
        it.granted(2, true, Done {});
        let target = Some(LinkTarget(b"a.txt".into()));
        let error = Some(Refusal::new(Code::PermissionDenied, "permission denied"));
        let same = Some(path("a.txt"));
        it.listing(&[
            node(".", Kind::Dir, 4096, time(NEW_YEAR, 0), 0o755),
            node("a.txt", Kind::File, 12, time(NEW_YEAR, 500_000_000), 0o644),
            Node { target, ..node("latest", Kind::Link, 5, time(NEW_YEAR, 0), 0o777) },
            Node { same, ..node("notes", Kind::File, 12, time(NEW_YEAR, 500_000_000), 0o644) },
            Node { error, ..node("old", Kind::Dir, 4096, time(NEW_YEAR, 0), 0o700) },
        ]);
    }),
    ("stat-request", |it| it.request(3, false, Command::Stat(StatArgs { path: path("latest") }))),
    ("stat-reply", |it| {
        let link = entry("latest", Kind::Link, 10, time(NEW_YEAR, 0), 0o777);
        it.granted(
            3,
            false,
            Stat { entry: Entry { target: Some(LinkTarget(b"docs/a.txt".into())), ..link } },
        );
    }),
    ("stat-root", |it| {
        it.granted(3, false, Stat { entry: entry("", Kind::Dir, 4096, time(NEW_YEAR, 0), 0o755) });
    }),
    ("get-request", |it| {
        let digest = Algorithm::Md5;
        it.request(
            4,
            false,
            Command::Get(Get { path: path("docs/a.txt"), digest, offset: 0, length: None, subtree: false }),
        );
    }),
    ("get-reply", |it| {
        it.granted(4, true, file(12, 12));
        it.body(Algorithm::Md5, &[b"hello world\n"]);
    }),
    ("get-range-request", |it| {
        let digest = Algorithm::Md5;
        it.request(
            5,
            false,
            Command::Get(Get {
                path: path("docs/a.txt"),
                digest,
                offset: 6,
                length: Some(5),
                subtree: false,
            }),
        );
    }),
    ("get-range-reply", |it| {
        it.granted(5, true, file(12, 5));
        it.body(Algorithm::Md5, &[b"world"]);
    }),
    ("get-sparse-reply", |it| {
        it.granted(4, true, File { sparse: true, ..file(12, 1) });
        it.body(Algorithm::Md5, &[b"\0"]);
    }),
    ("get-subtree-request", |it| {
        let (digest, offset, length) = (Algorithm::Blake3, MIN_BLOCK, Some(5));
        let get = Get { path: path("yes.txt"), digest, offset, length, subtree: true };
        it.request(18, false, Command::Get(get));
    }),
    ("get-subtree-reply", |it| {
        it.granted(18, true, File { mtime: time(NEW_YEAR, 0), subtree: true, ..file(YES, 5) });
        it.part(&yes(), MIN_BLOCK..YES);
    }),
    ("get-aborted", |it| {
        it.granted(4, true, file(12, 12));
        it.aborted(&[b"hello "], Refusal::new(Code::Changed, "grew while it was read"));
    }),
    ("put-request", |it| {
        it.request(6, true, Command::Put(Put { size: Some(12), ..put("new.txt", Algorithm::Md5) }));
        it.body(Algorithm::Md5, &[b"hello ", b"world\n"]);
    }),
    ("put-every-field", |it| {
        let put = Put {
            size: Some(1),
            mtime: Some(time(-1, 999_999_999)),
            mode: Some(Mode::from_bits(0o007)),
            exact: false,
            replace: Replace::Older,
            expect: None,
            sparse: true,
            backup: Some(path("a/old/é")),
            ..put("a/b c/é", Algorithm::Sha256)
        };
        it.request(1 << 53, true, Command::Put(put));
        it.body(Algorithm::Sha256, &[b"\n"]);
    }),
    ("put-empty", |it| {
        it.request(0, true, Command::Put(put("empty", Algorithm::Blake3)));
        it.body(Algorithm::Blake3, &[]);
    }),
    ("put-aborted", |it| {
        it.request(6, true, Command::Put(put("new.txt", Algorithm::Md5)));
        it.aborted(&[b"hello "], Refusal::new(Code::Cancelled, "the sender stopped"));
    }),
    ("put-reply", |it| {
        it.granted(
            6,
            false,
            Stored { size: 12, digest: Algorithm::Md5.digest(b"hello world\n"), unset: Unset::default() },
        );
    }),
    ("put-unset-reply", |it| {
        let unset = Unset { mtime: true, mode: true };
        it.granted(6, false, Stored { size: 12, digest: Algorithm::Md5.digest(b"hello world\n"), unset });
    }),
    ("mkdir-request", |it| {
        it.request(7, false, Command::Mkdir(Mkdir { path: path("a/b"), parents: true, mode: None }));
    }),
    ("mkdir-reply", |it| it.granted(7, false, Done {})),
    ("symlink-request", |it| {
        let target = LinkTarget(b"docs/a.txt".into());
        it.request(
            16,
            false,
            Command::Symlink(Symlink { path: path("latest"), target, replace: Replace::Never, backup: None }),
        );
    }),
    ("link-request", |it| {
        let (size, mtime) = (Some(12), Some(time(NEW_YEAR, 500_000_000)));
        let (from, to) = (path("docs/a.txt"), path("a.txt"));
        let link = Link { from, to, size, mtime, replace: Replace::Always, backup: None };
        it.request(18, false, Command::Link(link));
    }),
    ("link-every-field", |it| {
        let (size, mtime) = (Some(u64::MAX), Some(time(i64::MIN, 999_999_999)));
        let (from, to) = (path("a/b c/é"), RemotePath::parse(b"caf\xe9").unwrap());
        let link = Link { from, to, size, mtime, replace: Replace::Older, backup: Some(path("z")) };
        it.request(u64::MAX, false, Command::Link(link));
    }),
    ("set-request", |it| {
        let (mtime, mode) = (Some(time(NEW_YEAR, 0)), Some(Mode::from_bits(0o755)));
        it.request(17, false, Command::Set(Set { path: path("docs"), mtime, mode, limited: false }));
    }),
    ("rm-request", |it| {
        it.request(8, false, Command::Rm(Rm { path: path("a"), recursive: true, backup: None }));
    }),
    ("rm-backup-request", |it| {
        let rm = Rm { path: path("a.txt"), recursive: false, backup: Some(path(".old/a.txt")) };
        it.request(8, false, Command::Rm(rm));
    }),
    ("mv-request", |it| {
        let mv = Mv { from: path("new.txt"), to: path("docs/b.txt"), replace: Replace::Never };
        it.request(9, false, Command::Mv(mv));
    }),
    ("hash-request", |it| {
        it.request(10, false, Command::Hash(Hash { path: path("disk.img"), digest: Algorithm::Md5 }));
    }),
    ("alive", |it| it.alive()),
    ("hash-reply", |it| {
        it.working(10, 1 << 30);
        let digest = "md5:9a3f0a1c5f7b3a2d8e4c6b1f0d2e7a95".parse().unwrap();
        it.granted(10, false, Hashed { size: 3 << 29, digest });
    }),
    ("df-request", |it| it.request(11, false, Command::Df(DfArgs { path: RemotePath::root() }))),
    ("df-reply", |it| {
        let space = Space { total: 1_000_000_000_000, free: 250_000_000_000, available: 200_000_000_000 };
        it.granted(11, false, space);
    }),
    ("blocks-request", |it| {
        it.request(13, false, Command::Blocks(BlocksArgs { path: path("yes.txt"), length: None }));
    }),
    ("blocks-reply", |it| {
        it.granted(13, true, cut(64));
        it.body(Algorithm::Blake3, &[&digests()]);
    }),
    ("blocks-length-request", |it| {
        it.request(13, false, Command::Blocks(BlocksArgs { path: path("yes.txt"), length: Some(u64::MAX) }));
    }),
    ("blocks-length-reply", |it| {
        it.granted(13, true, cut(32));
        it.body(Algorithm::Blake3, &[&digests()[..32]]);
    }),
    ("resume-request", |it| {
        let (size, mtime) = (YES, time(NEW_YEAR, 0));
        let resume = Resume {
            path: path("copy.txt"),
            size,
            mtime,
            repair: false,
            replace: Replace::Always,
            parts: false,
            ahead: false,
        };
        it.request(14, false, Command::Resume(resume));
    }),
    ("resume-reply", |it| {
        it.granted(14, true, Cut { tag: None, ..cut(32) });
        it.body(Algorithm::Blake3, &[&digests()[..32]]);
    }),
    ("resume-nothing", |it| {
        it.granted(14, true, Cut { tag: None, ..cut(0) });
        it.body(Algorithm::Blake3, &[]);
    }),
    ("resume-every-field", |it| {
        let (size, mtime) = (u64::MAX, time(i64::MIN, 999_999_999));
        let (replace, parts, ahead) = (Replace::Older, true, true);
        let resume = Resume { path: path("a/b c/é"), size, mtime, repair: true, replace, parts, ahead };
        it.request(u64::MAX, false, Command::Resume(resume));
    }),
    ("resume-parts-request", |it| {
        let (size, mtime, replace) = (YES, time(NEW_YEAR, 0), Replace::Always);
        let (repair, parts, ahead) = (false, true, false);
        let resume = Resume { path: path("copy.txt"), size, mtime, repair, replace, parts, ahead };
        it.request(19, false, Command::Resume(resume));
    }),
    ("resume-parts-reply", |it| {
        it.granted(19, true, Cut { tag: None, upload: Some(upload()), ..cut(0) });
        it.body(Algorithm::Blake3, &[]);
    }),
    ("resume-ahead-request", |it| {
        let (size, mtime, replace) = (YES, time(NEW_YEAR, 0), Replace::Always);
        let (repair, parts, ahead) = (false, true, true);
        let resume = Resume { path: path("copy.txt"), size, mtime, repair, replace, parts, ahead };
        it.request(20, false, Command::Resume(resume));
        it.request(21, true, Command::Part(PartArgs { upload: None, ..part(0) }));
        it.part(&yes(), MIN_BLOCK..YES);
    }),
    ("resume-ahead-reply", |it| {
        it.granted(20, true, Cut { tag: None, upload: Some(upload()), ahead: true, ..cut(0) });
        it.body(Algorithm::Blake3, &[]);
        it.granted(21, false, Done {});
    }),
    ("resume-ahead-refusal", |it| {
        it.refused(Some(20), Code::AskFirst, "something of it may be here already");
        it.refused(Some(21), Code::BadRange, "there is no such upload, or none any more");
    }),
    ("part-request", |it| {
        it.request(4, true, Command::Part(part(0)));
        it.part(&yes(), MIN_BLOCK..YES);
    }),
    ("part-again", |it| {
        it.request(4, true, Command::Part(part(1)));
        it.part(&yes(), MIN_BLOCK..YES);
    }),
    ("part-reply", |it| it.granted(4, false, Done {})),
    ("put-ranges-request", |it| {
        it.request(15, true, Command::Put(put_ranges(&[(MIN_BLOCK, YES)])));
        it.ranges(&yes(), &[MIN_BLOCK..YES]);
    }),
    ("put-ranges-none", |it| {
        it.request(15, true, Command::Put(put_ranges(&[])));
        it.ranges(&yes(), &[]);
    }),
    ("put-ranges-reply", |it| {
        it.granted(
            15,
            false,
            Stored { size: YES, digest: Algorithm::Blake3.digest(&yes()), unset: Unset::default() },
        );
    }),
    ("base64-name", |it| {
        let path = RemotePath::parse(b"caf\xe9").unwrap();
        it.request(12, false, Command::Mkdir(Mkdir { path, parents: false, mode: None }));
    }),
    ("refusal", |it| it.refused(Some(4), Code::NotFound, "no such file or directory")),
    ("refusal-without-id", |it| it.refused(None, Code::ShuttingDown, "the server is going down")),
    ("pipelined", |it| {
        it.request(1, false, Command::Hello(Hello { version: VERSION, agent: "example 1.0".into() }));
        it.request(2, true, Command::Put(Put { size: Some(1), ..put("x", Algorithm::Md5) }));
        it.body(Algorithm::Md5, &[b"x"]);
        it.request(3, false, Command::Df(DfArgs { path: RemotePath::root() }));
    }),
];

#[test]
fn every_good_vector_is_read_and_written_again_as_the_same_bytes() {
    for (name, fixture) in fixtures("") {
        println!("{name}");
        let (_, play) = VECTORS.iter().find(|(n, _)| *n == name).expect(&name);
        for pace in PACES {
            let mut replay = Replay::of(&fixture, pace);
            play(&mut replay);
            replay.ends_with_the_same_bytes(&name, &fixture.bytes);
        }
    }
}

#[test]
fn every_vector_has_its_file() {
    let files = fixtures("");
    for (name, _) in VECTORS {
        assert!(files.contains_key(*name), "fixtures/wire/{name}.hex");
    }
}

#[test]
fn a_good_vector_that_is_cut_tells_of_nothing_that_did_not_arrive() {
    for (name, fixture) in fixtures("") {
        let whole = fixture.heard(&fixture.bytes, usize::MAX);
        assert_eq!(whole.last().map(String::as_str), Some("end"), "{name}");
        for cut in 0..fixture.bytes.len() {
            let mut heard = fixture.heard(&fixture.bytes[..cut], usize::MAX);
            let end = heard.pop().unwrap();
            assert!(end == "end" || end == "lost", "{name} cut at {cut}: {end}");
            assert!(whole[..whole.len() - 1].starts_with(&heard), "{name} cut at {cut}: {heard:?}");
        }
    }
}

#[test]
fn every_malformed_vector_causes_the_error_that_it_names() {
    for (name, fixture) in fixtures("malformed") {
        for pace in PACES {
            let heard = fixture.heard(&fixture.bytes, pace);
            let expected = fixture.expect.as_deref().expect(&name);
            assert_eq!(heard[0], expected, "{name}");
            assert!(heard.len() == 1 || heard[1..] == ["end"], "{name}: {heard:?}");
        }
    }
}

#[test]
fn a_malformed_vector_that_is_cut_causes_its_error_or_none_yet() {
    for (name, fixture) in fixtures("malformed") {
        let expected = fixture.expect.as_deref().expect(&name);
        for cut in 0..fixture.bytes.len() {
            for heard in fixture.heard(&fixture.bytes[..cut], usize::MAX) {
                assert!([expected, "end", "lost"].contains(&heard.as_str()), "{name} cut at {cut}: {heard}");
            }
        }
    }
}

#[test]
fn what_is_refused_leaves_the_connection_in_step() {
    let next = &fixtures("")["pipelined"].bytes;
    for (name, fixture) in fixtures("malformed") {
        let refusal = fixture.expect.as_deref().expect(&name);
        if fixture.from_client && refusal.starts_with("refuses") {
            let heard = fixture.heard(&[&fixture.bytes[..], next].concat(), 7);
            let rest = ["hello", "put", "stored", "df", "end"];
            assert_eq!(heard[0], refusal, "{name}");
            assert_eq!(heard[1..], rest, "{name}");
        }
    }
}

#[test]
fn the_examples_show_the_vectors() {
    let (examples, files) = (page("protocol/examples.md"), fixtures(""));
    let mut shown = 0;
    for block in examples.split("```hex ").skip(1) {
        let (name, block) = block.split_once('\n').unwrap();
        let (text, _) = block.split_once("```").expect("a block has an end");
        assert_eq!(files.get(name).expect(name).text, text, "{name}");
        shown += 1;
    }
    assert_eq!(shown, 51, "the number of examples");
}

#[test]
fn the_core_is_short() {
    let lines = page(CORE).lines().count();
    assert!(lines <= 250, "{CORE} has {lines} lines");
}

#[test]
fn the_core_lists_its_codes_in_order_and_each_extension_its_own() {
    let codes = |page: &str| -> Vec<usize> {
        let rows = rows(page, "| code | meaning |");
        rows.map(|code| serde_json::from_str::<Code>(&format!("\"{code}\"")).unwrap() as usize).collect()
    };
    let core = codes(&page(CORE));
    assert!(core.is_sorted(), "{core:?}");
    let mut documented: Vec<usize> = pages().iter().flat_map(|(_, page)| codes(page)).collect();
    documented.sort_unstable();
    let declared: Vec<usize> = (0..Code::Unknown as usize).collect();
    assert_eq!(documented, declared, "each code is in one table");
}

#[test]
fn the_core_lists_every_feature_and_each_has_its_page() {
    let core = page("PROTOCOL.md");
    let listed: Vec<_> = core
        .lines()
        .filter_map(|line| line.strip_prefix("| [`")?.split_once("`](protocol/")?.1.split_once(".md)"))
        .map(|(page, _)| page)
        .collect();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, FEATURES);
}

#[test]
fn the_pages_list_every_command_once() {
    let mut documented = Vec::new();
    for (_, page) in pages() {
        documented.extend(rows(&page, "| `cmd` |").map(str::to_owned));
    }
    documented.sort_unstable();
    let mut known = [
        "hello", "login", "ls", "tree", "stat", "get", "put", "mkdir", "symlink", "link", "set", "rm", "mv",
        "hash", "df", "blocks", "part", "resume",
    ];
    known.sort_unstable();
    assert_eq!(documented, known);
    for name in known {
        let command = serde_json::from_str(&format!(r#"{{"id":1,"cmd":"{name}"}}"#));
        assert!(!matches!(command, Ok(Command::Unknown)), "{name}");
    }
}

#[test]
fn the_pages_name_the_constants() {
    for (file, what, limit) in [
        (CORE, "a message, without its length", format!("{MAX_HEADER} bytes")),
        (CORE, "arrays and objects nested in a message", MAX_DEPTH.to_string()),
        (CORE, "a chunk, without its length", format!("{MAX_CHUNK} bytes")),
        (CORE, "requests in flight", MAX_IN_FLIGHT.to_string()),
        (CORE, "a path", format!("{MAX_PATH} bytes")),
        (CORE, "a component of a path", format!("{MAX_NAME} bytes")),
        ("protocol/blocks.md", "blocks of a file", MAX_BLOCKS.to_string()),
        ("protocol/blocks.md", "ranges in a `put`", MAX_RANGES.to_string()),
    ] {
        let row = format!("\n| {what} | {limit} |\n");
        assert!(page(file).contains(&row), "{file}: {row}");
    }
    for (file, text) in [
        (CORE, format!("port {DEFAULT_PORT} ")),
        (CORE, format!("`{}`", str::from_utf8(ALPN).unwrap())),
        (CORE, format!("`version` is {VERSION};")),
        ("protocol/blocks.md", format!("at least {MIN_BLOCK} bytes")),
        ("protocol/blocks.md", format!("at most {MAX_BLOCKS} blocks")),
        ("protocol/blocks.md", format!("at most {MAX_RANGES} pairs")),
        ("protocol/login.md", format!("namespace `{NAMESPACE}`")),
        ("protocol/trees.md", format!("files of more than {MAX_LISTED_DIGEST} bytes,")),
    ] {
        // A line may end between any two words.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&page(file)).contains(text.trim_end()), "{file}: {text}");
    }
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let (mut all, mut reached) = (pages(), 0);
    all.push(("protocol/examples.md".to_owned(), page("protocol/examples.md")));
    let core = page(CORE);
    for (file, text) in &all {
        assert!(file == CORE || core.contains(&format!("]({file})")), "{CORE} links to {file}");
        for link in text.split("](").skip(1) {
            let (link, _) = link.split_once(')').expect("a link has an end");
            let (target, section) = link.split_once('#').unwrap_or((link, ""));
            let target = match (target, file.rsplit_once('/')) {
                ("", _) => file.clone(),
                (target, None) => target.to_owned(),
                (target, Some((folder, _))) => {
                    target.strip_prefix("../").map_or_else(|| format!("{folder}/{target}"), str::to_owned)
                }
            };
            let (_, text) = all.iter().find(|(file, _)| *file == target).expect(link);
            assert!(section.is_empty() || sections(text).any(|it| it == section), "{file}: {link}");
            reached += 1;
        }
    }
    assert!(reached > 20, "{reached} links");
}

/// What everybody implements.
const CORE: &str = "PROTOCOL.md";

fn page(file: &str) -> String {
    fs::read_to_string(format!("{PROJECT}/docs/{file}")).unwrap()
}

/// The core and the extensions, without the examples: where each is below `docs`, and its text.
fn pages() -> Vec<(String, String)> {
    let files = fs::read_dir(format!("{PROJECT}/docs/protocol")).unwrap();
    let files = files.map(|file| format!("protocol/{}", file.unwrap().file_name().to_str().unwrap()));
    let mut files: Vec<String> = files.filter(|file| file != "protocol/examples.md").collect();
    files.push(CORE.to_owned());
    files.into_iter().map(|file| (file.clone(), page(&file))).collect()
}

/// The first cell of each row, without its backticks, of the tables that begin with `head`.
fn rows<'a>(page: &'a str, head: &'a str) -> impl Iterator<Item = &'a str> {
    let tables = page.split("\n\n").filter(move |block| block.starts_with(head));
    tables.flat_map(|table| table.lines().skip(2).map(|row| row.split('`').nth(1).expect(row)))
}

/// What links call the sections of a page.
fn sections(page: &str) -> impl Iterator<Item = String> {
    let titles = page.lines().filter(|line| line.starts_with("##"));
    titles.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    })
}

fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

fn time(seconds: i64, nanoseconds: u32) -> Time {
    Time { seconds, nanoseconds }
}

/// An entry without a target; without a name, too, where `name` is empty.
fn entry(name: &str, kind: Kind, size: u64, mtime: Time, mode: u32) -> Entry {
    let name = Name::parse(name.as_bytes()).ok();
    Entry { name, kind, size, mtime, mode: Mode::from_bits(mode), target: None }
}

/// A node without a target, and without an error.
fn node(at: &str, kind: Kind, size: u64, mtime: Time, mode: u32) -> Node {
    Node { size, mtime, mode: Mode::from_bits(mode), ..Node::new(path(at), kind) }
}

fn file(size: u64, length: u64) -> File {
    File {
        size,
        length,
        mtime: time(NEW_YEAR, 500_000_000),
        mode: Mode::from_bits(0o644),
        sparse: false,
        tag: tag(),
        subtree: false,
    }
}

/// The size of `yes.txt`: a block, and 5 bytes.
const YES: u64 = MIN_BLOCK + 5;

/// `yes.txt`: `yes | head -c 1048581`.
fn yes() -> Vec<u8> {
    b"y\n".iter().copied().cycle().take(usize::try_from(YES).unwrap()).collect()
}

/// The digests of its two blocks.
fn digests() -> Vec<u8> {
    let blocks = Blocks::of(YES).unwrap();
    Assembly::of(&mut &yes()[..], blocks, &Meter::default()).unwrap().to_bytes()
}

/// How it is cut, before so many bytes of digests.
fn cut(length: u64) -> Cut {
    Cut {
        size: YES,
        mtime: time(NEW_YEAR, 0),
        block: MIN_BLOCK,
        length,
        tag: tag(),
        upload: None,
        ahead: false,
    }
}

fn tag() -> Option<String> {
    Some("5f0c3be2a1d47e98".to_owned())
}

fn upload() -> Secret {
    Secret::new("0d9c7a52e14b8f3660a1c2d4e5f70819".to_owned())
}

fn part(attempt: u64) -> PartArgs {
    PartArgs { path: path("copy.txt"), upload: Some(upload()), offset: MIN_BLOCK, length: 5, attempt }
}

fn put_ranges(ranges: &[(u64, u64)]) -> Put {
    Put {
        size: Some(YES),
        mtime: Some(time(NEW_YEAR, 0)),
        mode: Some(Mode::from_bits(0o644)),
        ranges: Some(ranges.to_vec()),
        ..put("copy.txt", Algorithm::Blake3)
    }
}

fn put(name: &str, digest: Algorithm) -> Put {
    Put {
        path: path(name),
        digest,
        size: None,
        mtime: None,
        mode: None,
        exact: false,
        replace: Replace::Always,
        expect: None,
        sparse: false,
        ranges: None,
        backup: None,
    }
}
