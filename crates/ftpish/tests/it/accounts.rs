//! A users file made, served and logged in with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::harness::{Client, Server, World, noise, vast};
use crate::relay::{Harm, Relay, Toward};
use crate::terminal::Terminal;

/// What must not appear anywhere.
const PASSWORD: &str = "open sesame";

/// A server that knows ada, and logs all it can.
fn with_ada(world: &World) -> Server {
    let name = world.path("users.toml").display().to_string();
    let made = world.newcomer().pipe(PASSWORD.as_bytes(), &format!("user add {name} ada --password-fd 0"));
    made.ok().silent();
    world.start("127.0.0.1:0", &format!("--users {name} --verbose"))
}

/// Ada at the command line, who has yet to say her password.
fn ada<'w>(world: &'w World, server: &Server, address: &str) -> Client<'w> {
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
