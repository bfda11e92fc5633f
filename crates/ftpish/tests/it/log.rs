//! A log that cannot be written: no request fails for it, and nobody waits.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{PATIENCE, World};

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

/// Both ends of a pipe that nobody reads, and into which no byte goes.
fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[test]
fn a_server_whose_output_is_stuck_from_the_start_serves_and_ends() {
    let (_reader, writer) = full_pipe();
    let world = World::empty();
    let mut serve = world.serve_command("--listen unix:socket --plaintext --no-sync --verbose");
    serve.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut server = serve.spawn().unwrap();
    let socket = world.path("socket");
    let began = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        assert!(server.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    fs::write(world.here("file"), "content").unwrap();
    let client = world.stranger_to(&format!("unix:{}", socket.display()));
    for line in ["--plaintext put file", "--plaintext get file back"] {
        client.run(line).ok();
    }
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_server_that_cannot_start_ends_although_nobody_can_be_told_why() {
    let (_reader, writer) = full_pipe();
    let world = World::empty();
    let mut serve = world.serve_command("--listen unix:missing/socket --plaintext");
    serve.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    assert_eq!(serve.status().unwrap().code(), Some(3));
}
