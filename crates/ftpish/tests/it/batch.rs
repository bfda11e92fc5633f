//! The shell as a batch: its standard input is no terminal.

use std::fs;

use insta::assert_snapshot;

use crate::harness::{Outcome, World, names};

/// Runs lines as a batch.
#[track_caller]
fn batch(world: &World, lines: &str) -> Outcome {
    world.client().pipe(lines.as_bytes(), "shell")
}

#[test]
fn comments_blank_lines_and_quotes_are_as_in_sh() {
    let world = World::plaintext();
    let lines = r#"
# make two directories
  mkdir 'two words' "say \"hi\"" back\ slash   # and say nothing
	# an indented comment

ls
"#;
    let done = batch(&world, lines).ok();
    assert_eq!(done.text, "back slash\nsay \"hi\"\ntwo words\n");
    assert_eq!(done.stderr, "");
}

#[test]
fn the_shell_has_a_place_on_each_side() {
    let world = World::plaintext();
    fs::create_dir_all(world.root("docs/old")).unwrap();
    fs::create_dir(world.here("sub")).unwrap();
    fs::write(world.here("sub/file"), "hello\n").unwrap();
    let lines = "
        pwd
        cd docs/old
        pwd
        cd ..
        pwd
        lcd sub
        lpwd
        lls
        put file
        cat file
        cat /docs/file
        cd
        pwd
        cat docs/file
        lcd
        lpwd
    ";
    let done = batch(&world, lines).ok();
    assert_snapshot!(done.text, @r"
    /
    /docs/old
    /docs
    [DIR]/here/sub
    file
    hello
    hello
    /
    hello
    [DIR]/home
    ");
    assert_snapshot!(done.stderr, @"docs/file  6 B  [SECONDS]  [SPEED]  verified blake3 8e4c7c1b99dbfd50e7a95185fead5ee1448fa904a2fdd778eaf5f2dbfd629a99");
}

#[test]
fn every_verb_works_as_on_the_command_line() {
    let world = World::plaintext();
    fs::write(world.here("a"), "abc").unwrap();
    let lines = "
        put a one
        get one two
        put two
        mkdir -p x/y
        mv one x
        mv two x/y/two
        hash --digest md5 x/one x/y/two
        stat --json x/missing
    ";
    let done = batch(&world, lines).exits(6);
    assert_snapshot!(done.text, @r"
    900150983cd24fb0d6963f7d28e17f72  x/one
    900150983cd24fb0d6963f7d28e17f72  x/y/two
    ");
    batch(&world, "rm -r x\nls\ndf\n").ok();
    assert_eq!(names(&world.root("")), [""; 0]);
}

#[test]
fn a_bang_runs_a_command_here() {
    let world = World::plaintext();
    fs::create_dir(world.here("sub")).unwrap();
    let done = batch(&world, "!echo $((6 * 7)) # yes\nlcd sub\n!pwd\n!touch made\n").ok();
    assert_eq!(done.text.lines().next(), Some("42"));
    assert!(done.text.ends_with("/here/sub\n"), "{}", done.text);
    assert!(world.here("sub/made").exists());
    let failed = batch(&world, "!exit 3\npwd\n").exits(1);
    assert_snapshot!(failed.stderr, @r"
    line 1: !exit 3
    ftpish: `exit 3`: exit status: 3
    ");
    assert_eq!(failed.text, "");
}

#[test]
fn exit_quit_and_bye_leave_with_0_and_the_rest_is_not_done() {
    let world = World::plaintext();
    for word in ["exit", "quit", "bye"] {
        batch(&world, &format!("mkdir {word}\n{word}\nmkdir never\n")).ok().silent();
    }
    assert_eq!(names(&world.root("")), ["bye", "exit", "quit"]);
}

#[test]
fn help_lists_every_command_and_tells_about_one() {
    let world = World::plaintext();
    let help = batch(&world, "help\n").ok();
    for command in [
        "ls", "stat", "cat", "get", "put", "mkdir", "rm", "mv", "hash", "df", "cd", "pwd", "lcd", "lpwd",
        "lls", "exit", "help",
    ] {
        let listed = help.text.lines().any(|line| line.trim_start().split(' ').next() == Some(command));
        assert!(listed, "{command} is not in:\n{}", help.text);
    }
    let get = batch(&world, "help get\n").ok();
    assert!(get.text.contains("--overwrite") && get.text.contains("--digest"), "{}", get.text);
    assert!(!get.text.contains("--server"), "a flag that a line cannot have:\n{}", get.text);
}

#[test]
fn it_stops_at_the_first_error_names_the_line_and_ends_with_its_code() {
    let world = World::plaintext();
    let failed = batch(&world, "pwd\n\n  get missing   \nmkdir never\n").exits(6);
    assert_eq!(failed.text, "/\n");
    assert_snapshot!(failed.stderr, @r"
    line 3:   get missing   
    ftpish: cannot get `missing`: no such file or directory on the server
    hint: `ls` shows what is there
    ");
    assert_eq!(names(&world.root("")), [""; 0]);
}

#[test]
fn each_error_of_a_line_is_the_exit_code() {
    let world = World::plaintext();
    fs::create_dir(world.root("dir")).unwrap();
    fs::write(world.root("file"), "").unwrap();
    #[track_caller]
    fn check(world: &World, line: &str, code: i32) {
        let failed = batch(world, &format!("{line}\nmkdir never\n")).exits(code);
        assert!(failed.stderr.contains(&format!("line 1: {line}\n")), "{}", failed.stderr);
        assert!(!world.root("never").exists());
    }
    check(&world, "frobnicate", 2);
    check(&world, "get", 2);
    check(&world, "ls --frobnicate", 2);
    check(&world, "ls 'never closed", 2);
    check(&world, "cd ..", 2);
    check(&world, "!false", 1);
    check(&world, "cd missing", 6);
    check(&world, "lcd missing", 6);
    check(&world, "lls missing", 6);
    check(&world, "mkdir dir", 8);
    check(&world, "cd file", 9);
    check(&world, "rm missing dir missing", 12);
}

#[test]
fn what_is_no_command_is_refused_in_one_line_with_a_hint() {
    let world = World::plaintext();
    let unknown = batch(&world, "mkdri x\n").exits(2);
    assert!(unknown.stderr.contains("unrecognized subcommand 'mkdri'"), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("'mkdir'"), "{}", unknown.stderr);
    assert_snapshot!(batch(&world, "ls 'a b\n").exits(2).stderr, @r"
    line 1: ls 'a b
    ftpish: a quote is never closed
    ");
}

#[test]
fn lines_may_end_in_crlf_lack_their_end_and_hold_any_bytes() {
    let world = World::plaintext();
    batch(&world, "mkdir one\r\nmkdir two\r\nmkdir three").ok().silent();
    assert_eq!(names(&world.root("")), ["one", "three", "two"]);
    world.client().pipe(b"mkdir caf\xe9\nls\n", "shell").ok();
    let done = world.client().pipe(b"get caf\xe9", "shell").exits(9);
    assert!(done.stderr.starts_with("line 1: get caf\\xe9\n"), "{}", done.stderr);
}

#[test]
fn a_batch_is_one_connection_and_connects_only_for_what_needs_it() {
    let mut world = World::serving("--plaintext --verbose");
    batch(&world, "pwd\nlpwd\n").ok();
    batch(&world, "ls\ncd .\nstat .\nmkdir a\nls a\n").ok();
    assert!(world.stop().success());
    let log = fs::read_to_string(world.path("server.log")).unwrap();
    assert_eq!(log.matches("hello agent=").count(), 1, "{log}");
}

#[test]
fn a_directory_behind_a_link_can_be_gone_to() {
    let world = World::plaintext();
    fs::create_dir(world.root("dir")).unwrap();
    std::os::unix::fs::symlink("dir", world.root("link")).unwrap();
    std::os::unix::fs::symlink("/etc", world.root("out")).unwrap();
    batch(&world, "cd link\nmkdir below\n").ok();
    assert!(world.root("dir/below").is_dir());
    batch(&world, "cd out\n").exits(7);
}

#[test]
fn a_transfer_cannot_take_the_batch_for_its_data() {
    let world = World::plaintext();
    let refused = batch(&world, "put - x\nmkdir never\n").exits(2);
    assert_snapshot!(refused.stderr, @r"
    line 1: put - x
    ftpish: standard input is the batch itself: `-` cannot be stored
    ");
    assert_eq!(names(&world.root("")), [""; 0]);
}
