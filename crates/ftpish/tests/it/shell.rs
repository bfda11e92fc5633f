//! The shell in a terminal: a real pty, keys typed as a person does.

use std::fs;

use crate::harness::{World, noise, vast, visible};
use crate::relay::{Harm, Relay, Toward};
use crate::terminal::{PROMPT, Terminal};

fn world() -> World {
    let world = World::new();
    fs::create_dir(world.root("docs")).unwrap();
    fs::write(world.root("docs/report.txt"), "the report\n").unwrap();
    fs::write(world.root("a.txt"), "a\n").unwrap();
    world
}

#[test]
fn a_key_that_is_accepted_is_remembered() {
    let world = world();
    let mut shell = Terminal::start(&world.stranger(), "shell");
    let key = world.server().key.clone().unwrap();
    shell.expect(&key);
    shell.expect("[y/N] ");
    shell.line("yes");
    shell.expect(PROMPT);
    shell.line("exit");
    assert_eq!(shell.ends().0, 0);
    let known = fs::read_to_string(world.path("state/known_hosts")).unwrap();
    assert_eq!(known, format!("{} {key}\n", world.server().address));
    // Here, too, nobody is asked.
    assert_eq!(world.stranger().run("ls").ok().text, "a.txt\ndocs\n");
    let mut again = Terminal::start(&world.stranger(), "shell");
    assert!(!again.expect(PROMPT).contains("never seen"));
    again.line("exit");
    assert_eq!(again.ends().0, 0);
}

#[test]
fn a_key_that_is_not_accepted_is_refused() {
    let world = world();
    for answer in ["\r", "no\r", "\x03"] {
        let mut shell = Terminal::start(&world.stranger(), "ls");
        shell.expect("[y/N] ");
        shell.keys(answer);
        let (code, said) = shell.ends();
        assert_eq!(code, 5, "{said}");
        assert!(said.contains("ftpish: the host key of "), "{said}");
    }
    assert!(!world.path("state/known_hosts").exists());
}

#[test]
fn a_question_about_a_key_shows_the_key_even_where_all_else_is_quiet() {
    let world = world();
    let mut ls = Terminal::start(&world.stranger(), "ls -q");
    let asked = ls.expect("[y/N] ");
    assert!(asked.contains(world.server().key.as_ref().unwrap()), "{asked}");
    ls.line("y");
    assert_eq!(ls.ends().0, 0);
}

#[test]
fn no_bar_is_drawn_over_a_question() {
    let world = world();
    let mut get = Terminal::start(&world.stranger(), "get a.txt");
    get.expect("[y/N] ");
    get.line("y");
    let (code, said) = get.ends();
    assert_eq!(code, 0, "{said}");
    // Nothing comes between the question and the answer.
    assert!(said.trim_start().starts_with("y\r\n"), "{said:?}");
}

#[test]
fn a_bare_command_on_a_terminal_is_the_shell_and_lists_goes_and_gets() {
    let world = world();
    let mut shell = Terminal::start(&world.client(), "");
    let greeting = shell.expect(PROMPT);
    assert!(
        greeting.contains(&format!("connected to {}; `help` lists the commands", world.server().address))
    );
    // On a terminal directories have a slash.
    shell.does("ls", "a.txt\r\ndocs/\r\n");
    shell.line("cd docs");
    shell.expect("ftpish:/docs> ");
    shell.line("get report.txt");
    shell.expect("docs/report.txt  11 B  ");
    shell.expect("  verified blake3 ");
    shell.expect("ftpish:/docs> ");
    assert_eq!(fs::read_to_string(world.here("report.txt")).unwrap(), "the report\n");
    shell.line("cd ..");
    shell.expect(PROMPT);
    shell.does("help", "Commands:");
    shell.line("exit");
    assert_eq!(shell.ends().0, 0);
}

#[test]
fn an_error_is_told_and_does_not_end_the_shell() {
    let world = world();
    let mut shell = Terminal::shell(&world);
    shell.does(
        "get missing",
        "ftpish: cannot get `missing`: no such file or directory on the server\r\nhint: ",
    );
    shell.does("frobnicate", "unrecognized subcommand 'frobnicate'");
    shell.does("ls 'a", "a quote is never closed");
    shell.does("cd a.txt", "it is no directory");
    shell.does("!exit 3", "exit status: 3");
    shell.does("cat a.txt", "\na\r\n");
    shell.line("exit");
    assert_eq!(shell.ends().0, 0);
}

#[test]
fn ctrl_d_leaves_with_0_and_ctrl_c_at_the_prompt_does_not_leave() {
    let world = world();
    let mut shell = Terminal::shell(&world);
    shell.keys("half a line");
    shell.control('c');
    shell.expect(PROMPT);
    shell.does("cat a.txt", "\na\r\n");
    shell.control('d');
    assert_eq!(shell.ends().0, 0);
}

#[test]
fn tab_completes_commands_and_paths_on_their_own_side() {
    let world = world();
    fs::create_dir(world.here("local dir")).unwrap();
    fs::write(world.here("local dir/mine"), "mine\n").unwrap();
    let mut shell = Terminal::shell(&world);
    // A command, then a remote directory, and a file in it.
    shell.keys("has\t");
    shell.expect("hash ");
    shell.keys("do\t");
    shell.expect("docs/");
    shell.keys("re\t");
    shell.expect("docs/report.txt ");
    shell.line("");
    shell.expect("  docs/report.txt\r\n");
    shell.expect(PROMPT);
    // A local directory whose name needs quotes.
    shell.keys("put loc\t");
    shell.expect("'local dir/'");
    shell.keys("mi\t");
    shell.expect("mine");
    shell.line("");
    shell.expect("mine  5 B  ");
    shell.expect(PROMPT);
    assert_eq!(fs::read_to_string(world.root("mine")).unwrap(), "mine\n");
    shell.control('d');
    assert_eq!(shell.ends().0, 0);
}

#[test]
fn history_lives_from_one_shell_to_the_next() {
    let world = world();
    let mut shell = Terminal::shell(&world);
    shell.does("cat a.txt", "\na\r\n");
    shell.control('d');
    assert_eq!(shell.ends().0, 0);
    assert!(fs::read_to_string(world.path("state/history")).unwrap().contains("cat a.txt\n"));
    let mut shell = Terminal::shell(&world);
    shell.keys("\x1b[A\r");
    shell.expect("\na\r\n");
    shell.expect(PROMPT);
    shell.control('d');
    assert_eq!(shell.ends().0, 0);
}

/// Forty lines of which each leaves something behind, and no one before the one in front of it.
fn forty_lines() -> Vec<String> {
    let mkdir = |n: u32| format!("mkdir {}", (0..=n).map(|n| n.to_string()).collect::<Vec<_>>().join("/"));
    (0..40).map(mkdir).collect()
}

#[track_caller]
fn assert_forty(world: &World) {
    let path: Vec<_> = (0..40).map(|n| n.to_string()).collect();
    assert!(world.root(path.join("/")).is_dir(), "each line has run, behind the one before");
}

#[test]
fn lines_that_are_typed_while_a_command_runs_are_run_in_order() {
    let world = world();
    let mut shell = Terminal::shell(&world);
    shell.line("!sleep 0.2");
    for line in forty_lines() {
        shell.line(&line);
    }
    shell.does("!echo all of them", "\nall of them");
    assert_forty(&world);
}

#[test]
fn lines_that_are_pasted_are_run_in_order_and_each_is_in_the_history() {
    let world = world();
    for (begin, end) in [("", ""), ("\x1b[200~", "\x1b[201~")] {
        let mut shell = Terminal::shell(&world);
        shell.keys(&format!("{begin}{}\r!echo all of them\r{end}\r", forty_lines().join("\r")));
        shell.expect("\nall of them");
        shell.expect(PROMPT);
        assert_forty(&world);
        // The last but one.
        shell.keys("\x1b[A\x1b[A");
        shell.expect("mkdir 0/1/2");
        shell.control('c');
        shell.expect(PROMPT);
        shell.does("!rm -r ../root/0; echo removed", "\nremoved");
    }
}

#[test]
fn ctrl_c_drops_the_lines_behind_the_command_that_it_stops() {
    let world = world();
    for (begin, end) in [("", ""), ("\x1b[200~", "\x1b[201~")] {
        let mut shell = Terminal::shell(&world);
        // Nothing is typed that `put` could store.
        let lines = ["!echo began", "put - stuck", "mkdir dropped", "mkdir dropped/too"];
        shell.keys(&format!("{begin}{}\r{end}", lines.join("\r")));
        if !begin.is_empty() {
            shell.keys("\r");
        }
        shell.expect("\nbegan");
        shell.control('c');
        shell.expect("interrupted");
        shell.expect(PROMPT);
        shell.does("!echo goes on", "\ngoes on");
        assert!(!world.root("dropped").exists());
    }
}

#[test]
fn ctrl_c_stops_the_get_and_the_shell_goes_on() {
    let world = world();
    fs::write(world.root("big"), noise(8 << 20)).unwrap();
    fs::write(world.here("big"), "old").unwrap();
    let relay = Relay::to(&world.server().address, Toward::Client, 4_000_000, Harm::Stall);
    let mut shell = Terminal::start(&world.client_of(&relay.address), "shell");
    shell.expect(PROMPT);
    shell.line("get big");
    relay.wait();
    // The bar shows that it does not move.
    shell.expect(" of 8.00 MiB");
    shell.control('c');
    shell.expect("ftpish: interrupted");
    shell.expect(PROMPT);
    assert_eq!(fs::read_to_string(world.here("big")).unwrap(), "old");
    assert_eq!(visible(&world.here("")), ["big"]);
    shell.does("cat a.txt", "\na\r\n");
    shell.does("get big", "big  8.0 MiB  ");
    assert!(fs::read(world.here("big")).unwrap() == noise(8 << 20));
    shell.control('d');
    assert_eq!(shell.ends().0, 0);
}

#[test]
fn ctrl_c_stops_the_put_and_the_shell_goes_on() {
    let mut world = world();
    vast(&world.here("big"));
    fs::write(world.root("big"), "old").unwrap();
    let relay = Relay::to(&world.server().address, Toward::Server, 4_000_000, Harm::Stall);
    let mut shell = Terminal::start(&world.client_of(&relay.address), "shell");
    shell.expect(PROMPT);
    shell.line("put big");
    relay.wait();
    shell.control('c');
    shell.expect("ftpish: interrupted");
    shell.expect(PROMPT);
    shell.does("cat big", "\nold");
    shell.control('d');
    assert_eq!(shell.ends().0, 0);
    drop(relay);
    assert!(world.stop().success());
    assert_eq!(visible(&world.root("")), ["a.txt", "big", "docs"]);
    assert_eq!(fs::read_to_string(world.root("big")).unwrap(), "old");
}

#[test]
fn ctrl_c_stops_a_put_from_the_keyboard() {
    let world = world();
    let mut shell = Terminal::shell(&world);
    shell.line("put - typed");
    shell.expect("put - typed\r\n");
    shell.keys("a line\n");
    // The bar tells that this line is on its way, and the next one awaited.
    shell.expect(" 7 B ");
    shell.control('c');
    shell.expect("ftpish: interrupted");
    shell.expect(PROMPT);
    shell.does("ls", "a.txt\r\ndocs/\r\n");
    shell.control('d');
    assert_eq!(shell.ends().0, 0);
}

#[test]
fn the_shell_reconnects_when_the_server_was_started_again() {
    let mut world = World::serving_on("unix:{}/socket", "");
    fs::write(world.root("a.txt"), "a\n").unwrap();
    let address = world.server().address.clone();
    let mut shell = Terminal::shell(&world);
    assert!(world.stop().success());
    shell.does("ls", "ftpish: cannot connect to ");
    world.restart(&address);
    shell.does("cat a.txt", "\na\r\n");
    shell.control('d');
    assert_eq!(shell.ends().0, 0);
}

#[test]
fn overwrite_ask_asks_on_a_terminal() {
    let world = world();
    fs::write(world.here("a.txt"), "mine\n").unwrap();
    let ask = |line: &str, question: &str, answer: &str| {
        let mut terminal = Terminal::start(&world.client(), line);
        terminal.expect(question);
        terminal.line(answer);
        let (code, said) = terminal.ends();
        assert_eq!(code, 0, "{said}");
        said
    };
    assert!(ask("get a.txt --overwrite ask", "replace `a.txt`? [y/N] ", "n").contains("kept what is here"));
    assert_eq!(fs::read_to_string(world.here("a.txt")).unwrap(), "mine\n");
    assert!(ask("get a.txt --overwrite ask", "replace `a.txt`? [y/N] ", "y").contains("verified"));
    assert_eq!(fs::read_to_string(world.here("a.txt")).unwrap(), "a\n");
    fs::write(world.here("a.txt"), "mine\n").unwrap();
    assert!(ask("put a.txt --overwrite ask", "replace `a.txt`? [y/N] ", "n").contains("kept what is on the"));
    assert_eq!(fs::read_to_string(world.root("a.txt")).unwrap(), "a\n");
    assert!(ask("put a.txt --overwrite ask", "replace `a.txt`? [y/N] ", "y").contains("verified"));
    assert_eq!(fs::read_to_string(world.root("a.txt")).unwrap(), "mine\n");
}

#[test]
fn a_bar_is_drawn_on_a_terminal_only_and_not_where_nobody_wants_it() {
    let world = world();
    fs::write(world.root("big"), noise(8 << 20)).unwrap();
    for (line, drawn) in [("get big", true), ("get big --no-progress", false), ("get -q big", false)] {
        let mut relay = Relay::to(&world.server().address, Toward::Client, 4_000_000, Harm::Stall);
        let mut get = Terminal::start(&world.client_of(&relay.address), line);
        relay.wait();
        let bar = if drawn { get.expect(" of 8.00 MiB") + &get.expect("/s") } else { String::new() };
        // At least a tenth of a second went by before there was a bar.
        assert!(!bar.contains(" GiB"), "{bar:?}");
        relay.go_on();
        let (code, said) = get.ends();
        assert_eq!(code, 0, "{said}");
        fs::remove_file(world.here("big")).unwrap();
        assert_eq!((bar + &said).contains(" % "), drawn, "{said:?}");
        assert_eq!(said.contains("  verified blake3 "), !line.contains("-q"), "{said:?}");
    }
    let mut relay = Relay::to(&world.server().address, Toward::Client, 4_000_000, Harm::Stall);
    let get = world.client_of(&relay.address).spawn("get big");
    relay.wait();
    relay.go_on();
    assert_eq!(world.wait(get).ok().stderr.lines().count(), 1);
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let world = World::new();
    fs::create_dir(world.root("\u{9b}31m\u{202e}dir\x07")).unwrap();
    let mut shell = Terminal::shell(&world);
    shell.does("ls", r"\u{9b}31m\u{202e}dir\x07/");
    // Nor does Tab bring them there.
    fs::create_dir(world.root("d")).unwrap();
    shell.keys("cd \t");
    shell.expect("cd d/");
    shell.line("");
    shell.expect("ftpish:/d> ");
    shell.control('d');
    assert_eq!(shell.ends().0, 0);
}
