//! A users file made, served and logged in with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::harness::{Client, Server, World, names, noise, vast};
use crate::relay::{Harm, Relay, Toward};
use crate::terminal::{PROMPT, Terminal};

/// What must not appear anywhere.
pub const PASSWORD: &str = "open sesame";

/// A server that knows ada, and logs all it can.
pub fn with_ada(world: &World) -> Server {
    let name = world.path("users.toml").display().to_string();
    let made = world.newcomer().pipe(PASSWORD.as_bytes(), &format!("user add {name} ada --password-fd 0"));
    made.ok().silent();
    world.start("127.0.0.1:0", &format!("--users {name} --verbose"))
}

/// Ada at the command line, who has yet to say her password.
pub fn ada<'w>(world: &'w World, server: &Server, address: &str) -> Client<'w> {
    let key = ["--host-key".into(), server.key.clone().unwrap().into()];
    world.stranger_to(address).flags(key).env("FTPISH_USER", "ada")
}

#[test]
fn whoever_comes_back_after_a_cut_logs_in_by_ticket_and_no_secret_is_told() {
    let world = World::empty();
    let server = with_ada(&world);
    fs::write(world.root("big"), noise(8 << 20)).unwrap();
    let relay = Relay::with(&server.address, &[(Toward::Client, 2_500_000, Harm::Cut)]);
    let client = ada(&world, &server, &relay.address).env("FTPISH_PASSWORD", PASSWORD);
    let got = client.env("FTPISH_LOG", "trace").run("get big --retry-wait 0.01").ok();
    assert_eq!(relay.connections(), 2);
    assert!(server.stop(Signal::TERM).success());
    let log = fs::read_to_string(world.path("server.log")).unwrap();
    let logins: Vec<_> = log.lines().filter(|line| line.contains(" login ")).collect();
    assert_eq!(logins.len(), 2, "{log}");
    assert!(logins[0].contains("password") && logins[1].contains("ticket"), "{logins:?}");
    for told in [&log, &got.text, &got.stderr] {
        assert!(!told.contains(PASSWORD) && !holds_ticket(told), "{told}");
    }
}

/// Whether a ticket is somewhere in the text: a number, a point, and a MAC in hex.
fn holds_ticket(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_hexdigit() && c != '.');
    words.any(|word| word.split_once('.').is_some_and(|(_, mac)| mac.len() == 64))
}

#[test]
fn a_server_that_was_started_anew_is_told_the_password_again() {
    let world = World::empty();
    let server = with_ada(&world);
    let other = world.start("127.0.0.1:0", &format!("--users {}", world.path("users.toml").display()));
    vast(&world.root("big"));
    let mut relay = Relay::to(&server.address, Toward::Client, 2_500_000, Harm::Stall);
    let client = ada(&world, &server, &relay.address).env("FTPISH_PASSWORD", PASSWORD);
    let child = client.spawn("get big --retry-wait 0.01");
    relay.wait();
    relay.lead_to(&other.address);
    server.stop(Signal::KILL);
    relay.go_on();
    world.wait(child).ok();
    assert_eq!(relay.connections(), 3, "the cut one, the ticket's and the password's");
}

#[test]
fn a_password_is_asked_for_behind_the_host_key_and_not_shown() {
    let world = World::empty();
    let server = with_ada(&world);
    let client = world.stranger_to(&server.address).env("FTPISH_USER", "ada");
    let mut terminal = Terminal::start(&client, "mkdir made");
    let before = terminal.expect("[y/N] ");
    assert!(!before.contains("Password"), "{before}");
    terminal.line("y");
    terminal.expect("Password of ada at ");
    terminal.expect(": ");
    terminal.line(PASSWORD);
    let (code, rest) = terminal.ends();
    assert_eq!(code, 0, "{rest}");
    assert!(!rest.contains("sesame"), "{rest}");
    assert!(world.root("made").is_dir());
}

#[test]
fn a_pasted_url_logs_in_and_its_password_is_nowhere_to_be_seen() {
    let world = World::empty();
    let server = with_ada(&world);
    let (address, key) = (server.address.clone(), server.key.clone().unwrap());
    let url = |rest: &str| format!("ftpish://ada:open%20sesame@{address}/{rest}#{key}");
    let stranger = world.newcomer();
    stranger.run(&format!("mkdir {}", url("made"))).ok().silent();
    assert!(world.root("made").is_dir());
    for line in [
        format!("stat {}", url("missing")),
        format!("teleport {}", url("a")),
        format!("ls --no-such-flag {}", url("a")),
        url("a"),
        format!("mkdir {} ftpish://ada:open%20sesam/e@{address}/", url("b")),
        format!("mkdir {} {}", url("b"), url("b").replace("sesame", "sesamum")),
        format!("mkdir {}", url("b").replace("sesame", "sesamum")),
    ] {
        let said = stranger.run(&line);
        assert_ne!(said.code, Some(0), "{line}");
        assert!(!said.stderr.contains("sesam") && !said.text.contains("sesam"), "{}", said.stderr);
    }
    let batch = format!("mkdir {}\nmkdir\u{20}'{}\n", url("c"), url("d"));
    let said = stranger.pipe(batch.as_bytes(), "shell");
    assert!(world.root("c").is_dir() && !said.stderr.contains("sesam"), "{}", said.stderr);
    assert!(said.stderr.contains("line 2: "), "{}", said.stderr);
    assert!(server.stop(Signal::TERM).success());
    assert!(!fs::read_to_string(world.path("server.log")).unwrap().contains("sesam"));
}

#[test]
fn the_process_list_does_not_show_a_pasted_password() {
    let world = World::empty();
    let server = with_ada(&world);
    vast(&world.root("big"));
    let mut relay = Relay::to(&server.address, Toward::Client, 2_500_000, Harm::Stall);
    let url = format!("ftpish://ada:open%20sesame@{}/big#{}", relay.address, server.key.as_ref().unwrap());
    let child = world.newcomer().spawn(&format!("get {url}"));
    relay.wait();
    let shown = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("ftpish://ada@") && !shown.contains("sesame"), "{shown}");
    relay.go_on();
    world.wait(child).ok();
}

#[test]
fn the_shell_remembers_a_pasted_url_without_its_password() {
    let world = World::empty();
    let server = with_ada(&world);
    let mut terminal =
        Terminal::start(&ada(&world, &server, &server.address).env("FTPISH_PASSWORD", PASSWORD), "shell");
    terminal.expect(PROMPT);
    terminal.line(&format!("ls ftpish://ada:open%20sesame@{}/", server.address));
    terminal.expect(PROMPT);
    terminal.line("exit");
    assert_eq!(terminal.ends().0, 0);
    let history = fs::read_to_string(world.path("state/history")).unwrap();
    assert!(history.contains("ftpish://ada:…@") && !history.contains("sesame"), "{history}");
}

#[test]
fn a_server_for_others_without_accounts_prints_a_password_for_this_run_to_a_terminal() {
    let world = World::empty();
    let serve = || Terminal::of(world.serve_command("--listen 0.0.0.0:0 --verbose"), &world.newcomer());
    let printed_by = |server: &mut Terminal| {
        server.expect("  ftpish ls '");
        server.expect("'").trim_end_matches('\'').replace("0.0.0.0", "127.0.0.1")
    };
    let (mut server, mut next) = (serve(), serve());
    let (url, other) = (printed_by(&mut server), printed_by(&mut next));
    let password = url.split([':', '@']).nth(2).unwrap();
    assert!(password.len() == 32 && !other.contains(password), "{url} {other}");
    world.newcomer().run(&format!("mkdir {}", url.replace("/#", "/made#"))).ok();
    assert!(world.root("made").is_dir());
    let wrong = other.split([':', '@']).nth(2).unwrap();
    world.newcomer().run(&format!("ls {}", url.replace(password, wrong))).exits(4);
    for mut server in [server, next] {
        server.control('c');
        let (code, log) = server.ends();
        assert_eq!(code, 0, "{log}");
        assert!(!log.contains(password) && !log.contains(wrong), "{log}");
    }
}

#[test]
fn no_password_is_asked_for_where_the_host_key_is_another() {
    let world = World::empty();
    let server = with_ada(&world);
    let other = ["--host-key".into(), format!("SHA256:{}", "A".repeat(43)).into()];
    let client = world.stranger_to(&server.address).flags(other).env("FTPISH_USER", "ada");
    let (_, said) = Terminal::start(&client, "ls").ends();
    assert!(said.contains("is expected") && !said.contains("Password"), "{said}");
}

#[test]
fn a_user_is_added_logs_in_and_a_wrong_password_is_exit_code_4() {
    let world = World::empty();
    let file = world.path("users.toml");
    let name = file.to_str().unwrap();
    // Standard input is a file descriptor as good as any.
    let made = world.newcomer().pipe(b"open sesame\n", &format!("user add {name} ada --password-fd 0"));
    made.ok().silent();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("$argon2id$") && !text.contains("sesame"), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let server = world.start("127.0.0.1:0", &format!("--users {name} --verbose"));
    let client =
        || world.stranger_to(&server.address).flags(["--accept-new".into()]).env("FTPISH_USER", "ada");
    client().env("FTPISH_PASSWORD", "open sesame").run("mkdir made").ok();
    assert!(world.root("made").is_dir());
    let wrong = client().env("FTPISH_PASSWORD", "sesame").run("mkdir other").exits(4);
    assert!(wrong.stderr.contains("wrong user or password"), "{}", wrong.stderr);
    let stranger = world.stranger_to(&server.address).flags(["--accept-new".into()]).run("ls").exits(4);
    assert!(stranger.stderr.contains("the server wants a login"), "{}", stranger.stderr);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = world.serve_in_vain(&format!("--users {name}"));
    assert!(open.stderr.contains("is open to others: chmod 600 it"), "{}", open.stderr);
}

/// What is there of a file is told only to those who may read it, so a file goes as a whole.
#[test]
fn a_user_who_can_only_write_stores_files_of_any_size() {
    let world = World::empty();
    let file = world.path("users.toml");
    let name = file.display().to_string();
    let made = world.newcomer().pipe(PASSWORD.as_bytes(), &format!("user add {name} ada --password-fd 0"));
    made.ok().silent();
    let paths = "rights = [\"list\"]\n[ada.paths]\n\"/incoming\" = [\"write\"]\n";
    fs::write(&file, fs::read_to_string(&file).unwrap() + paths).unwrap();
    fs::create_dir_all(world.root("incoming")).unwrap();
    let server = world.start("127.0.0.1:0", &format!("--users {name} --no-sync"));
    let client = ada(&world, &server, &server.address).env("FTPISH_PASSWORD", PASSWORD);
    fs::create_dir(world.here("tree")).unwrap();
    for (name, size) in [("small", 7), ("middle", 6 << 20), ("large", 33 << 20)] {
        fs::write(world.here("tree").join(name), noise(size)).unwrap();
    }
    for line in [
        "put tree/large incoming/large -j 1",
        "put tree/middle tree/small incoming/",
        "put -r tree incoming/ -j 2",
        "put tree/large incoming/large -j 2",
    ] {
        client.run(line).ok();
    }
    for name in ["large", "middle", "small", "tree/large", "tree/middle", "tree/small"] {
        let sent = world.here("tree").join(name.trim_start_matches("tree/"));
        assert!(fs::read(world.root("incoming").join(name)).unwrap() == fs::read(sent).unwrap(), "{name}");
    }
    assert_eq!(names(&world.root("incoming")), ["large", "middle", "small", "tree"]);
    client.run("get incoming/small").exits(7);
    client.run("put tree/large elsewhere").exits(7);
}

#[test]
fn the_credentials_file_logs_in_unless_others_may_read_it() {
    let world = World::empty();
    let server = with_ada(&world);
    let file = world.path("home/.config/ftpish/credentials");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, format!("[\"{}\"]\nuser = \"ada\"\npassword = \"{PASSWORD}\"\n", server.address))
        .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let key = ["--host-key".into(), server.key.clone().unwrap().into()];
    let client = world.stranger_to(&server.address).flags(key);
    client.run("mkdir made").ok().silent();
    client.run("ls --login bob").exits(4);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = client.run("ls").exits(4);
    assert!(refused.stderr.contains("others may read it"), "{}", refused.stderr);
    assert!(!refused.stderr.contains(PASSWORD));
}

#[test]
fn a_root_apart_is_reached_from_within_the_sandbox_and_one_that_is_missing_is_told_at_the_start() {
    let world = World::empty();
    let (file, apart) = (world.path("users.toml"), world.path("apart"));
    fs::create_dir(&apart).unwrap();
    let name = file.to_str().unwrap();
    world.newcomer().pipe(b"open sesame\n", &format!("user add {name} ada --password-fd 0")).ok();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}root = {apart:?}\n")).unwrap();
    let server = world.start("127.0.0.1:0", &format!("--users {name}"));
    let client = world.stranger_to(&server.address).flags(["--accept-new".into()]).env("FTPISH_USER", "ada");
    client.env("FTPISH_PASSWORD", "open sesame").run("mkdir made").ok();
    assert!(apart.join("made").is_dir() && !world.root("made").exists());

    fs::remove_dir_all(&apart).unwrap();
    let missing = world.serve_in_vain(&format!("--users {name}"));
    assert!(missing.stderr.contains("cannot serve `"), "{}", missing.stderr);
}

#[test]
fn a_quota_that_is_used_up_is_exit_code_10_and_says_how_much_there_is() {
    let world = World::empty();
    let file = world.path("users.toml");
    let name = file.to_str().unwrap();
    world.newcomer().pipe(b"open sesame\n", &format!("user add {name} ada --password-fd 0")).ok();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}quota_bytes = 1_048_576\nquota_files = 2\n")).unwrap();
    let server = world.start("127.0.0.1:0", &format!("--users {name}"));
    let client = || {
        let flags = ["--accept-new".into()];
        world
            .stranger_to(&server.address)
            .flags(flags)
            .env("FTPISH_USER", "ada")
            .env("FTPISH_PASSWORD", PASSWORD)
    };
    let (half, more) = (world.path("half"), world.path("more"));
    fs::write(&half, noise(512 << 10)).unwrap();
    fs::write(&more, noise((512 << 10) + 1)).unwrap();
    client().run(&format!("put {}", half.display())).ok();
    let told = client().run("df").ok().text;
    let told: Vec<_> = told.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(told, ["1.0", "MiB", "512.0", "KiB", "512.0", "KiB"]);
    let full = client().run(&format!("put {}", more.display())).exits(10);
    let line = "over the quota: 524288 of 1048576 bytes are used, and this needs 524289 more";
    assert!(full.stderr.contains(line), "{}", full.stderr);
    assert!(full.stderr.contains("make room on the server"), "{}", full.stderr);
    client().run("mkdir one").ok();
    let full = client().run("mkdir two").exits(10);
    assert!(full.stderr.contains("2 of 2 files, links and directories are used"), "{}", full.stderr);
}
