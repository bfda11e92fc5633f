//! Keys made, told to a server and logged in with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Client, Server, World, is_installed};
use crate::terminal::Terminal;
use crate::trial::eventually;

/// A server whose users file ada's key was added to.
fn with_ada(world: &World, public: &str) -> Server {
    let users = world.path("users.toml").display().to_string();
    world.newcomer().pipe(public.as_bytes(), &format!("user add {users} ada --key -")).ok().silent();
    world.start("127.0.0.1:0", &format!("--users {users} --verbose"))
}

/// Ada at the command line.
fn ada<'w>(world: &'w World, server: &Server) -> Client<'w> {
    let key = ["--host-key".into(), server.key.clone().unwrap().into()];
    world.stranger_to(&server.address).flags(key).env("FTPISH_USER", "ada")
}

#[test]
fn a_new_key_logs_in_without_a_word() {
    let world = World::empty();
    let public = world.newcomer().run("key gen --comment ada@example").ok().text;
    let file = world.path("home/.config/ftpish/id_ed25519");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(file.with_extension("pub")).unwrap(), public);
    assert!(public.starts_with("ssh-ed25519 ") && public.ends_with(" ada@example\n"), "{public}");
    let server = with_ada(&world, &public);
    ada(&world, &server).run("mkdir made").ok().silent();
    // The log is written a moment later.
    eventually(|| {
        let log = fs::read_to_string(world.path("server.log")).unwrap();
        log.contains("by=\"key\"") || log.contains("by=key")
    });

    let again = world.newcomer().run("key gen").exits(8);
    assert!(again.stderr.contains("already") && !again.stderr.contains("PRIVATE"), "{}", again.stderr);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let open = ada(&world, &server).run("ls").exits(4);
    assert!(open.stderr.contains("others may read it"), "{}", open.stderr);
}

#[test]
fn another_key_is_exit_code_4_and_another_user_is_asked_for_the_password() {
    let world = World::empty();
    let [own, other] = ["own", "other"].map(|name| world.path(name).display().to_string());
    let public = world.newcomer().run(&format!("key gen {own}")).ok().text;
    world.newcomer().run(&format!("key gen {other}")).ok();
    let server = with_ada(&world, &public);
    ada(&world, &server).run(&format!("ls --identity {own}")).ok();
    let wrong = ada(&world, &server).run(&format!("ls -i {other}")).exits(4);
    assert!(wrong.stderr.contains("wrong user or key"), "{}", wrong.stderr);
    let nobody = world.stranger_to(&server.address).run(&format!("ls -i {own}")).exits(2);
    assert!(nobody.stderr.contains("say who, with --login"), "{}", nobody.stderr);

    world.newcomer().run("key gen").ok();
    let mut terminal = Terminal::start(&ada(&world, &server), "ls");
    terminal.expect("Password of ada");
    terminal.line("sesame");
    let (code, said) = terminal.ends();
    assert!(code == 4 && said.contains("wrong user or password"), "{said}");
}

#[test]
fn a_key_of_openssh_with_a_passphrase_logs_in() {
    if !is_installed("ssh-keygen") {
        return;
    }
    let world = World::empty();
    let file = world.path("id").display().to_string();
    let mut keygen = std::process::Command::new("ssh-keygen");
    assert!(
        keygen.args(["-q", "-t", "ed25519", "-N", "open sesame", "-f", &file]).status().unwrap().success()
    );
    let server = with_ada(&world, &fs::read_to_string(format!("{file}.pub")).unwrap());
    let mut terminal = Terminal::start(&ada(&world, &server), &format!("mkdir made -i {file}"));
    terminal.expect("Passphrase of");
    terminal.line("open sesame");
    let (code, said) = terminal.ends();
    assert!(code == 0 && world.root("made").is_dir() && !said.contains("sesame"), "{said}");
}
