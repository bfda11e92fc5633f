//! Processes that may have few files open (ulimit -n): they go on with less, and lose nothing.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::{Server, World, limited};

/// A tree of small files, and a directory that is deep.
fn plant(world: &World) {
    for dir in 0..10 {
        let dir = world.here("tree").join(format!("d{dir}"));
        fs::create_dir_all(&dir).unwrap();
        (0..60).for_each(|n| fs::write(dir.join(format!("f{n}")), format!("{n}")).unwrap());
    }
    let deep = world.here("tree").join("deep/".repeat(40));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("last"), "content").unwrap();
}

/// Puts a tree and gets it back, over eight connections.
#[track_caller]
fn moves_a_tree(world: &World, server: &Server, files_of_the_client: usize, name: &str) {
    let client = world.stranger_to(&server.address).flags(["--plaintext".into(), "-j".into(), "8".into()]);
    for line in [format!("put -r tree /{name}"), format!("get -r {name} back-{name}")] {
        let command = client.command(line.split(' '));
        let output =
            limited(&command, &format!("-n {files_of_the_client}")).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut diff = Command::new("diff");
    let same = diff.arg("-r").arg(world.here("tree")).arg(world.here(format!("back-{name}"))).status();
    assert!(same.unwrap().success(), "nothing is lost");
}

#[test]
fn a_server_with_few_descriptors_loses_no_file_of_a_client_with_many_connections() {
    let world = World::empty();
    plant(&world);
    let command = world.serve_command("--listen 127.0.0.1:0 --plaintext --no-sync");
    let server = Server::start(limited(&command, "-n 128"), world.path("server.log"));
    moves_a_tree(&world, &server, 1024, "tree");
    assert!(server.stop(rustix::process::Signal::TERM).success());
}

#[test]
fn a_client_with_few_descriptors_loses_no_file() {
    let world = World::empty();
    plant(&world);
    let server = world.start("127.0.0.1:0", "--plaintext --no-sync");
    moves_a_tree(&world, &server, 48, "tree");
}

#[test]
fn several_clients_share_the_descriptors_of_a_server() {
    let world = World::empty();
    plant(&world);
    let command = world.serve_command("--listen 127.0.0.1:0 --plaintext --no-sync");
    let server = Server::start(limited(&command, "-n 128"), world.path("server.log"));
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let client =
                world.stranger_to(&server.address).flags(["--plaintext".into(), "-j".into(), "4".into()]);
            client
                .command(["put", "-r", "tree", &format!("/tree{n}")])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(server.stop(rustix::process::Signal::TERM).success());
}
