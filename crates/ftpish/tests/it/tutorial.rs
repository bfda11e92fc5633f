//! `docs/tutorial.md`, typed line by line: each command prints what the page says.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;

use crate::harness::World;

/// A command of the page, and the lines that it is to print.
struct Typed {
    command: String,
    printed: Vec<String>,
}

/// The commands of the blocks that are typed into the second terminal.
fn commands(page: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block ends");
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => all.push(Typed { command: command.to_owned(), printed: Vec::new() }),
                None => all.last_mut().expect("a command comes first").printed.push(line.to_owned()),
            }
        }
    }
    all
}

/// Whether a line is as the page has it, where `…` stands for any text.
fn is_like(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (number, part) in parts.iter().enumerate() {
        let found = if number + 1 == parts.len() { rest.rfind(part) } else { rest.find(part) };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn each_command_of_the_tutorial_prints_what_it_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tutorial.md");
    let world = World::empty();
    // The client finds the server's key where the same user's server keeps it.
    let state = world.path("home/state/ftpish");
    let server = world.start("127.0.0.1:0", &format!("--no-sync --state-dir {}", state.display()));
    let programs = assert_cmd::cargo::cargo_bin!("ftpish").parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let typed = commands(&fs::read_to_string(page).unwrap());
    assert!(typed.len() > 15, "{} commands", typed.len());
    for Typed { command, printed } in typed {
        let mut sh = world.program("sh");
        sh.arg("-c").arg(format!("exec 2>&1; {command}")).stdin(Stdio::null());
        sh.env("PATH", &path).env("FTPISH_SERVER", &server.address);
        sh.env("XDG_STATE_HOME", world.path("home/state"));
        let output = sh.output().unwrap();
        world.tell(&format!("$ {command}\n{}", String::from_utf8_lossy(&output.stdout)));
        assert!(output.status.success(), "{command}");
        let told = String::from_utf8(output.stdout).unwrap();
        let told: Vec<&str> = told.lines().collect();
        let is_right = told.len() == printed.len()
            && told.iter().zip(&printed).all(|(line, pattern)| is_like(line, pattern));
        assert!(is_right, "{command}\nprints {told:#?}\nwhere the page has {printed:#?}");
    }
    assert!(server.stop(Signal::TERM).success());
}
