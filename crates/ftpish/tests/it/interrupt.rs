//! Ctrl-C and SIGTERM in the middle of a transfer: nothing half done is left.

use std::fs;
use std::io::Write as _;
use std::process::Child;

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{World, noise, vast, visible};
use crate::relay::{Harm, Relay, Toward};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn an_interrupted_get_is_130_and_leaves_the_target_as_it_was() {
    for by in [Signal::INT, Signal::TERM] {
        let world = World::new();
        vast(&world.root("big"));
        fs::write(world.here("big"), "old").unwrap();
        let relay = Relay::to(&world.server().address, Toward::Client, 1_000_000, Harm::Stall);
        let get = world.client_of(&relay.address).spawn("get big");
        relay.wait();
        signal(&get, by);
        assert_eq!(world.wait(get).exits(130).stderr, "ftpish: interrupted\n");
        assert_eq!(visible(&world.here("")), ["big"]);
        assert_eq!(fs::read_to_string(world.here("big")).unwrap(), "old");
    }
}

#[test]
fn an_interrupted_put_is_130_and_leaves_the_target_as_it_was() {
    for by in [Signal::INT, Signal::TERM] {
        let mut world = World::new();
        vast(&world.here("big"));
        fs::write(world.root("big"), "old").unwrap();
        let relay = Relay::to(&world.server().address, Toward::Server, 1_000_000, Harm::Stall);
        let put = world.client_of(&relay.address).spawn("put big");
        relay.wait();
        signal(&put, by);
        assert_eq!(world.wait(put).exits(130).stderr, "ftpish: interrupted\n");
        // The rest of what was under way does not become a file once it arrives.
        drop(relay);
        assert!(world.stop().success());
        assert_eq!(visible(&world.root("")), ["big"]);
        assert_eq!(fs::read_to_string(world.root("big")).unwrap(), "old");
    }
}

#[test]
fn several_files_end_with_the_one_that_was_interrupted() {
    let world = World::new();
    vast(&world.root("big"));
    fs::write(world.root("small"), "").unwrap();
    let relay = Relay::to(&world.server().address, Toward::Client, 1_000_000, Harm::Stall);
    let get = world.client_of(&relay.address).spawn("get -q small big small new/");
    relay.wait();
    signal(&get, Signal::INT);
    assert_snapshot!(world.wait(get).exits(130).stderr, @"ftpish: interrupted");
    assert_eq!(visible(&world.here("new")), ["small"]);
}

#[test]
fn a_put_that_waits_for_standard_input_can_be_interrupted() {
    let mut world = World::new();
    let relay = Relay::to(&world.server().address, Toward::Server, 300_000, Harm::Stall);
    let mut put = world.client_of(&relay.address).spawn("put - big");
    let mut stdin = put.stdin.take().unwrap();
    stdin.write_all(&noise(600_000)).unwrap();
    relay.wait();
    drop(relay);
    signal(&put, Signal::INT);
    assert_eq!(world.wait(put).exits(130).stderr, "ftpish: interrupted\n");
    drop(stdin);
    assert!(world.stop().success());
    assert_eq!(visible(&world.root("")), [""; 0]);
}

#[test]
fn an_interrupted_batch_ends_with_130() {
    let world = World::new();
    vast(&world.root("big"));
    let relay = Relay::to(&world.server().address, Toward::Client, 1_000_000, Harm::Stall);
    let mut shell = world.client_of(&relay.address).spawn("shell");
    shell.stdin.take().unwrap().write_all(b"get big\nmkdir never\n").unwrap();
    relay.wait();
    signal(&shell, Signal::INT);
    assert_snapshot!(world.wait(shell).exits(130).stderr, @r"
    line 1: get big
    ftpish: interrupted
    ");
    assert_eq!(visible(&world.here("")), [""; 0]);
    assert!(!world.root("never").exists());
}
