//! A log that cannot be written: no request fails for it, and nobody waits.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::process::Stdio;

use crate::harness::World;

/// Stores a file, lists it, fetches it, and ends the server, which logs each request.
#[track_caller]
fn serves(mut world: World) {
    fs::write(world.here("file"), "content").unwrap();
    for line in ["put file", "ls", "get file back", "rm file"] {
        world.run(line).ok();
    }
    assert_eq!(fs::read(world.here("back")).unwrap(), b"content");
    assert!(world.stop().success());
}

#[test]
fn a_full_disk_for_the_log_fails_nothing() {
    serves(World::logging_to(File::options().write(true).open("/dev/full").unwrap()));
}

#[test]
fn a_log_whose_reader_has_gone_fails_nothing() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    serves(World::logging_to(writer));
}

#[test]
fn a_server_without_standard_error_serves() {
    serves(World::logging_to(Stdio::null()));
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up_and_says_later_what_was_lost() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut world = World::logging_to(writer);
    // More lines than the pipe and the queue hold: each request has two.
    world.client().pipe("stat .\n".repeat(3000).as_bytes(), "shell").ok();
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    world.run("ls").ok();
    assert!(world.stop().success());
    let log = reading.join().unwrap();
    assert_eq!(log.matches("lines of the log could not be written").count(), 1, "{}", log.len());
    assert!(log.contains("going down"), "what comes behind that is there");
}
