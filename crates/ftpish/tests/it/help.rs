//! What `--help` offers: for each command the options that do something there.

use crate::harness::{World, dress};

/// Whom an option is for.
const CONNECTION: [&str; 6] =
    ["--server", "--login", "--identity", "--host-key", "--accept-new", "--timeout"];
const TRANSFER: [&str; 3] = ["--jobs", "--retries", "--retry-wait"];

/// The options that may stand anywhere, as the help of a command lists them.
#[track_caller]
fn offered(words: &str) -> Vec<String> {
    let world = World::empty();
    let help = world.stranger_to("127.0.0.1:1").run(&format!("{words} --help")).ok().text;
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let options = lines.filter_map(|line| line.split("--").nth(1)?.split([' ', '[', ',']).next());
    let anywhere =
        [&CONNECTION[..], &TRANSFER, &["--plaintext", "--quiet", "--no-progress", "--state-dir"]].concat();
    let mut offered: Vec<_> = options.map(|option| format!("--{option}")).collect();
    offered.retain(|option| anywhere.contains(&option.as_str()));
    offered
}

#[test]
fn a_command_offers_the_options_that_do_something_there() {
    let both = ["--plaintext", "--state-dir", "--quiet"];
    for (commands, expected) in [
        (
            &["get", "put", "sync", "shell"][..],
            [&CONNECTION[..], &TRANSFER, &both, &["--no-progress"]].concat(),
        ),
        (&["cat", "hash", "verify"], [&CONNECTION[..], &both, &["--no-progress"]].concat()),
        (&["ls", "stat", "mkdir", "rm", "mv", "df"], [&CONNECTION[..], &both].concat()),
        (&["serve"], both.to_vec()),
        (&["demo"], vec!["--quiet", "--no-progress"]),
        (&["key", "key gen"], vec!["--quiet"]),
        (&["user", "user add", "user passwd", "user key", "user ls", "user rm"], vec![]),
    ] {
        for command in commands {
            let mut expected = expected.clone();
            let mut offered = offered(command);
            expected.sort();
            offered.sort();
            offered.dedup();
            assert_eq!(offered, expected, "{command}");
        }
    }
}

/// So that one alias does for all commands.
#[test]
fn an_option_that_does_nothing_is_no_error() {
    let world = World::plaintext();
    for line in ["-j 3 ls", "ls --retries 2 --no-progress", "--retry-wait 2 df"] {
        world.run(line).ok();
    }
    // The last one counts.
    world.run("--server 127.0.0.1:1 -j 2 -j 3 ls").exits(3);
    let flags = "--server 127.0.0.1:1 --accept-new -j 3 --timeout 5";
    let users = world.path("users.toml");
    std::fs::write(&users, "").unwrap();
    dress(&users, 0o600, 1_000_000_000);
    world.stranger_to("127.0.0.1:1").run(&format!("{flags} user ls {}", users.display())).ok();
}

/// A dry run of one file would move it.
#[test]
fn what_is_for_trees_is_refused_for_files() {
    let world = World::plaintext();
    std::fs::write(world.root("file"), "").unwrap();
    std::fs::write(world.here("file"), "").unwrap();
    for option in ["-n", "--exclude x", "--include x", "--links skip", "-H", "-x"] {
        for verb in ["get", "put"] {
            let refused = world.run(&format!("{verb} {option} file new")).exits(2);
            assert!(refused.stderr.contains(" is for trees"), "{}", refused.stderr);
        }
    }
    assert!(!world.root("new").exists() && !world.here("new").exists());
}
