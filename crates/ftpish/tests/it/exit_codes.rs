//! The exit codes that scripts rely on: each one produced by what it is for.

use std::fs::{self, File};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::harness::{World, names, noise, skip, vast, visible};
use crate::relay::{Harm, Relay, Toward};

#[track_caller]
fn check(world: &World, line: &str, code: i32) {
    let outcome = world.run(line).exits(code);
    assert_eq!(outcome.text, "", "standard output is for data");
    let first = outcome.stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with("ftpish: ") || code == 2, "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
}

#[test]
fn the_manual_has_the_table() {
    let world = World::empty();
    let help = world.newcomer().run("--help").ok();
    let table = help.text.split("Exit codes:\n").nth(1).unwrap();
    for code in [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 130] {
        assert!(table.contains(&format!(" {code}  ")), "{code} is not in:\n{table}");
    }
}

#[test]
fn nonsense_is_2() {
    let world = World::plaintext();
    for line in [
        "frobnicate",
        "get",
        "get --frobnicate a",
        "get --digest crc32 a",
        "get --overwrite perhaps a",
        "ls --timeout 0",
        "ls --timeout soon",
        "ls ..",
        "ls a/../..",
        "get /",
        "cat ftpish://",
        "get -r --exclude / a",
    ] {
        check(&world, line, 2);
    }
    // Nothing is wrong with what has no effect.
    world.run("ls --accept-new --plaintext").ok();
    world.stranger().run("ls --host-key SHA256:short").exits(2);
    world.stranger_to("host:99999").run("ls").exits(2);
    world.newcomer().run("serve --max-connections 0").exits(2);
    world.newcomer().run("").exits(0);
}

#[test]
fn nobody_there_is_3() {
    let world = World::empty();
    // Nobody listens on a port that was free a moment ago, and that nobody was told of.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let refused = world.stranger_to(&free).run("ls").exits(3);
    assert_snapshot!(refused.stderr.replace(&free, "[SERVER]"), @r"
    ftpish: cannot connect to [SERVER]: Connection refused (os error 111)
    hint: is `ftpish serve` running there? name another server with --server, not [SERVER]
    ");
    world.stranger_to("unix:missing").run("ls").exits(3);
    world.stranger_to("no.such.host.invalid").run("ls").exits(3);
}

#[test]
fn what_is_missing_on_either_side_is_6() {
    let world = World::plaintext();
    fs::write(world.root("a"), "").unwrap();
    for line in [
        "ls missing",
        "stat missing",
        "cat missing",
        "get missing",
        "get missing -",
        "get a missing/a",
        "put missing",
        "rm missing",
        "mv missing a",
        "mv a missing/a",
        "mkdir missing/dir",
        "hash missing",
        "df missing",
    ] {
        check(&world, line, 6);
    }
    fs::write(world.here("a"), "").unwrap();
    check(&world, "put a missing/a", 6);
    check(&world, "put a missing/", 6);
    assert_snapshot!(world.run("put nothing").exits(6).stderr, @"ftpish: cannot put `nothing`: `nothing`: no such file or directory here");
    assert_eq!(names(&world.here("")), ["a"]);
}

#[test]
fn what_is_forbidden_is_7() {
    let world = World::plaintext();
    symlink("/etc/hostname", world.root("out")).unwrap();
    symlink("..", world.root("up")).unwrap();
    for line in ["get out", "cat out", "hash out", "ls up", "rm up/root", "mkdir up/new", "rm -r ."] {
        check(&world, line, 7);
    }
    fs::write(world.here("a"), "").unwrap();
    check(&world, "put a up/a", 7);
    check(&world, "put a .ftpish-0123456789abcdef", 7);
    assert_snapshot!(world.run("put a up/new").exits(7).stderr, @r"
    ftpish: cannot put `up/new`: a link leads out of the root on the server
    ");
}

#[test]
fn what_exists_already_is_8() {
    let world = World::plaintext();
    fs::create_dir(world.root("dir")).unwrap();
    fs::write(world.root("a"), "").unwrap();
    fs::write(world.root("b"), "").unwrap();
    check(&world, "mkdir dir", 8);
    check(&world, "mkdir a", 8);
    check(&world, "mv -n a b", 8);
}

#[test]
fn the_wrong_kind_is_9() {
    let world = World::plaintext();
    fs::create_dir_all(world.root("dir/full")).unwrap();
    fs::create_dir(world.here("dir")).unwrap();
    fs::create_dir(world.here("b")).unwrap();
    fs::write(world.root("a"), "").unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_bits_truncate(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, world.root("fifo"), fifo, mode, 0).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, world.here("fifo"), fifo, mode, 0).unwrap();
    for line in [
        "get dir",
        "cat dir",
        "hash dir",
        "get fifo",
        "hash fifo",
        "put dir",
        "put fifo",
        "put /dev/zero",
        "rm dir",
        "ls a/b",
        "get a/b",
        "mv dir a",
        "mkdir a/b",
    ] {
        check(&world, line, 9);
    }
    assert_snapshot!(world.run("put fifo").exits(9).stderr, @"ftpish: cannot put `fifo`: `fifo`: it is a fifo, not a regular file");
}

#[test]
fn no_space_left_here_is_10_and_the_target_keeps_what_it_had() {
    let world = World::plaintext();
    fs::write(world.root("big"), noise(3_000_000)).unwrap();
    // A file system of 64 KiB that nobody else sees, and that is gone with the command.
    let full = "mount -t tmpfs -o size=64k tmpfs . && cd . && cd \"$PWD\" && echo old >big && \
                { \"$@\"; code=$?; cat big >&2; ls -A >&2; exit $code; }";
    let get = world.client().command(["get", "big"]);
    let mut unshare = Command::new("unshare");
    unshare.args(["-rm", "sh", "-c", full, "sh"]).arg(get.get_program()).args(get.get_args());
    unshare.current_dir(world.here(""));
    let outcome = world.outcome("get, on a full disk", unshare.output().unwrap());
    if outcome.stderr.starts_with("unshare: ") || outcome.stderr.starts_with("mount: ") {
        return skip(format_args!("no mount namespaces here: {}", outcome.stderr));
    }
    let said = outcome.exits(10).stderr.replace("no storage space", "no space left on device");
    assert_snapshot!(said, @r"
    ftpish: cannot get `big`: `big`: no space left on device
    hint: nothing was changed; make room here, and try again
    old
    big
    ");
}

#[test]
fn a_bit_that_flips_on_the_way_is_11_and_nothing_is_written() {
    let world = World::plaintext();
    for path in [world.root("big"), world.here("sent")] {
        fs::write(path, noise(1_000_000)).unwrap();
    }
    fs::write(world.here("big"), "old").unwrap();
    let relay = Relay::to(&world.server().address, Toward::Client, 100_000, Harm::Flip);
    let damaged = world.client_of(&relay.address).run("get big").exits(11);
    let (said, digests) = digests(&damaged.stderr);
    assert_snapshot!(said, @r"
    ftpish: cannot get `big`: verification failed: [DIGEST] was sent, [DIGEST] arrived; nothing was written
    hint: try again; if it happens again, suspect the network or a disk
    ");
    assert!(world.run("hash big").ok().text.starts_with(&digests[0]) && digests[0] != digests[1]);
    assert_eq!(fs::read_to_string(world.here("big")).unwrap(), "old");
    assert_eq!(names(&world.here("")), ["big", "sent"]);

    let relay = Relay::to(&world.server().address, Toward::Server, 100_000, Harm::Flip);
    let damaged = world.client_of(&relay.address).run("put sent --digest md5").exits(11);
    assert!(
        damaged.stderr.starts_with("ftpish: cannot put `sent`: verification failed: "),
        "{}",
        damaged.stderr
    );
    assert_eq!(names(&world.root("")), ["big"]);
    // The harm was done once; what comes behind it is as good as ever.
    world.client_of(&relay.address).run("put sent").ok();
}

/// Takes the digests out of a message.
fn digests(said: &str) -> (String, Vec<String>) {
    let mut found = Vec::new();
    let words = said.split(' ').map(|word| match word.strip_prefix("blake3:") {
        Some(hex) => {
            found.push(hex.to_owned());
            "[DIGEST]"
        }
        None => word,
    });
    (words.collect::<Vec<_>>().join(" "), found)
}

#[test]
fn some_of_several_is_12_and_the_others_are_done() {
    let world = World::plaintext();
    for name in ["a", "c"] {
        fs::write(world.root(name), name).unwrap();
        fs::write(world.here(name), name).unwrap();
    }
    let partial = world.run("get a missing c new/").exits(12);
    let said: Vec<_> = partial
        .stderr
        .lines()
        .filter(|line| {
            !(line.contains("  verified ") || line.contains(" files  ") || line.contains(" file  "))
        })
        .collect();
    assert_snapshot!(said.join("\n"), @r"
    ftpish: cannot get `missing`: no such file or directory on the server
    hint: `ls` shows what is there
    ftpish: 1 of 3 were not done
    ");
    assert_eq!(names(&world.here("new")), ["a", "c"]);
    fs::create_dir(world.root("dir")).unwrap();
    world.run("put a missing c dir").exits(12);
    assert_eq!(names(&world.root("dir")), ["a", "c"]);
    assert_eq!(world.run("cat a missing c").exits(12).text, "ac");
    world.run("rm missing dir/a").exits(12);
    assert_eq!(names(&world.root("dir")), ["c"]);
}

#[test]
fn a_connection_that_breaks_is_13_and_nothing_is_left_behind() {
    let mut world = World::plaintext();
    fs::write(world.root("big"), noise(1_000_000)).unwrap();
    fs::write(world.here("sent"), noise(1_000_000)).unwrap();
    fs::write(world.here("big"), "old").unwrap();
    let relay = Relay::to(&world.server().address, Toward::Client, 300_000, Harm::Cut);
    let cut = world.client_of(&relay.address).run("get big --retries 0").exits(13);
    assert!(cut.stderr.starts_with("ftpish: cannot get `big`: "), "{}", cut.stderr);
    assert_eq!(cut.stderr.lines().count(), 1, "{}", cut.stderr);
    assert_eq!(names(&world.here("")), ["big", "sent"]);
    assert_eq!(fs::read_to_string(world.here("big")).unwrap(), "old");
    let relay = Relay::to(&world.server().address, Toward::Server, 300_000, Harm::Cut);
    world.client_of(&relay.address).run("put sent big --retries 0").exits(13);
    // Once the server has ended, no session is left that could still clean up.
    assert!(world.stop().success());
    assert_eq!(names(&world.root("")), ["big"]);
    assert!(fs::read(world.root("big")).unwrap() == noise(1_000_000));
}

#[test]
fn several_files_end_where_the_connection_cannot_be_had() {
    let world = World::empty();
    let refused = world.stranger_to("unix:missing").run("get a b c .").exits(3);
    assert_eq!(refused.stderr.matches("ftpish: ").count(), 1, "{}", refused.stderr);
}

#[test]
fn a_peer_that_does_not_speak_the_protocol_is_14() {
    let world = World::empty();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let nonsense = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let reply = br#"{"id":0,"ok":"perhaps"}"#;
        client.write_all(&[&[0, 0, 0, reply.len() as u8], &reply[..]].concat()).unwrap();
        // To the end of what the client sends, so that it reads before the connection breaks.
        let _ = client.read_to_end(&mut Vec::new());
    });
    let confused = world.stranger_to(&address).run("ls --plaintext").exits(14);
    let start = "ftpish: cannot list `.`: the server does not speak the protocol: ";
    assert!(confused.stderr.starts_with(start), "{}", confused.stderr);
    assert_eq!(confused.stderr.lines().count(), 1);
    nonsense.join().unwrap();
}

#[test]
fn a_server_that_is_full_is_15() {
    for flags in ["--max-connections 1", "--max-connections 1 --plaintext"] {
        let world = World::serving(flags);
        let held = TcpStream::connect(&world.server().address).unwrap();
        let busy = world.run("ls").exits(15);
        let said = [
            "ftpish: cannot list `.`: the server has as many connections as it takes: try again later",
            "hint: try again later",
        ];
        assert!(busy.stderr.lines().eq(said), "{}", busy.stderr);
        fs::write(world.here("a"), noise(5_000_000)).unwrap();
        world.run("put a --retries 0").exits(15);
        drop(held);
    }
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_16_and_nothing_is_written() {
    let mut world = World::plaintext();
    vast(&world.root("big"));
    let mut relay = Relay::to(&world.server().address, Toward::Client, 500_000, Harm::Stall);
    let get = world.client_of(&relay.address).spawn("get big");
    relay.wait();
    File::options().write(true).open(world.root("big")).unwrap().write_all(b"other").unwrap();
    relay.go_on();
    let changed = world.wait(get).exits(16);
    assert_snapshot!(changed.stderr, @"ftpish: cannot get `big`: the file changed while it was read");
    assert_eq!(visible(&world.here("")), [""; 0]);
    assert!(world.stop().success());
}

#[test]
fn standard_output_that_takes_nothing_is_1_and_one_that_is_closed_is_silence() {
    let world = World::plaintext();
    fs::write(world.root("big"), noise(1_000_000)).unwrap();
    for line in ["cat big", "get big -", "ls -l", "hash big", "stat big", "df"] {
        let mut full = world.client().command(line.split(' '));
        full.stdout(File::options().write(true).open("/dev/full").unwrap());
        let refused = world.outcome(line, full.output().unwrap()).exits(1);
        assert!(
            refused.stderr.starts_with("ftpish: cannot write to standard output: "),
            "{}",
            refused.stderr
        );

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut closed = world.client().command(line.split(' '));
        closed.stdout(writer);
        world.outcome(line, closed.output().unwrap()).ok().silent();
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_long_output_in_silence() {
    let world = World::plaintext();
    vast(&world.root("big"));
    fs::write(world.root("0"), "").unwrap();
    for number in 1..12_000 {
        fs::hard_link(world.root("0"), world.root(number.to_string())).unwrap();
    }
    for line in ["cat big", "get big -", "ls -l", "ls --json", "get big big -", "cat big big"] {
        let mut command = world.client().command(line.split(' '));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_exact(&mut [0]).unwrap();
        drop(stdout);
        world.outcome(line, child.wait_with_output().unwrap()).ok().silent();
    }
}
