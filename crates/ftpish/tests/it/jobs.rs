//! Several connections: what moves over them arrives as it would over one, whatever becomes of some of them.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::{PATIENCE, World, dress, names, noise};
use crate::relay::{Harm, Relay};
use crate::trees::{described, is_partial, same};
use crate::trial::{Way, eventually};

/// Enough files for every connection, some of them large, in directories that come to be on the way.
fn plant(top: &Path) {
    for dir in 0..12 {
        let dir = top.join(format!("{}/d{dir}", dir % 3));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..40 {
            fs::write(dir.join(format!("{file}")), noise(20_000 + file * 1000)).unwrap();
        }
        dress(&dir, 0o750, 1_000_000_000);
    }
    for (name, size) in [("0/large", 6 << 20), ("1/larger", 9 << 20), ("2/d2/half", 1 << 19)] {
        fs::write(top.join(name), noise(size + 17)).unwrap();
    }
}

/// The directory with the tree in it, and the one that it goes to.
fn ends(world: &World, way: Way) -> (std::path::PathBuf, std::path::PathBuf) {
    match way {
        Way::Get => (world.root("tree"), world.here("tree")),
        Way::Put => (world.here("tree"), world.root("tree")),
    }
}

fn planted(world: &World, way: Way) {
    let (from, _) = ends(world, way);
    fs::create_dir(&from).unwrap();
    plant(&from);
}

fn sync(way: Way) -> &'static str {
    if way == Way::Get { "sync --no-sync :tree tree" } else { "sync tree :tree" }
}

#[test]
fn a_tree_moves_over_several_connections_and_arrives_as_it_is() {
    for way in Way::BOTH {
        for world in [World::new(), World::plaintext()] {
            planted(&world, way);
            let (from, to) = ends(&world, way);
            let relay = Relay::harmless(&world.server().address);
            world.client_of(&relay.address).run(&format!("{} -j 4", sync(way))).ok();
            same(&described(&from), &described(&to));
            assert!((2..=4).contains(&relay.connections()), "{}", relay.connections());
            let again = Relay::harmless(&world.server().address);
            world.client_of(&again.address).run(&format!("{} -j 4", sync(way))).ok();
            assert_eq!(again.connections(), 1, "nothing moves, so nobody helps");
        }
    }
}

/// One of two connections stalls: what the other one moves arrives, be it the large file or the small ones.
#[test]
fn small_files_and_a_large_one_do_not_wait_for_each_other() {
    const SMALL: usize = 300;
    for way in Way::BOTH {
        let world = World::plaintext();
        let (from, to) = ends(&world, way);
        fs::create_dir_all(from.join("small")).unwrap();
        (0..SMALL).for_each(|i| fs::write(from.join(format!("small/{i}")), noise(20_000 + i)).unwrap());
        fs::write(from.join("large"), noise((33 << 20) + 5)).unwrap();
        let mut relay = Relay::to(&world.server().address, way.onward(), 2 << 20, Harm::Stall);
        let child = world.client_of(&relay.address).spawn(&format!("{} -j 2", sync(way)));
        relay.wait();
        let small = || (0..SMALL).all(|i| to.join(format!("small/{i}")).exists());
        let large = || to.join("large").exists();
        eventually(|| small() || large());
        assert!(!(small() && large()), "nothing has stalled");
        relay.go_on();
        world.wait(child).ok();
        same(&described(&from), &described(&to));
    }
}

#[test]
fn what_is_removed_goes_behind_all_that_moves() {
    for way in Way::BOTH {
        let world = World::plaintext();
        planted(&world, way);
        let (from, to) = ends(&world, way);
        fs::create_dir_all(to.join("1/d1/12")).unwrap();
        fs::create_dir_all(to.join("0/extra/deep")).unwrap();
        for file in ["0/extra/deep/file", "0/d3", "last"] {
            fs::write(to.join(file), "old").unwrap();
        }
        fs::write(to.join("1/d1/12/file"), "a directory where a file is to be").unwrap();
        world.client().run(&format!("{} -j 3 --delete --perms", sync(way))).ok();
        same(&described(&from), &described(&to));
    }
}

#[test]
fn connections_that_are_cut_cost_only_time() {
    for way in Way::BOTH {
        let world = World::new();
        planted(&world, way);
        let (from, to) = ends(&world, way);
        let harms = [400_000, 1_500_000, 3_000_000, 700_000].map(|at| (way.onward(), at, Harm::Cut));
        let relay = Relay::with(&world.server().address, &harms);
        let line = format!("{} -j 3 --retries 9 --retry-wait 0.01", sync(way));
        world.client_of(&relay.address).run(&line).ok();
        same(&described(&from), &described(&to));
        assert!(relay.connections() > 4, "{}", relay.connections());
    }
}

#[test]
fn a_server_that_takes_no_more_connections_gets_all_over_one() {
    let world = World::serving("--max-per-address 1");
    for way in Way::BOTH {
        planted(&world, way);
        let (from, to) = ends(&world, way);
        world.run(&format!("{} -j 4 --retries 0", sync(way))).ok();
        same(&described(&from), &described(&to));
        fs::remove_dir_all(from).unwrap();
        fs::remove_dir_all(to).unwrap();
    }
}

/// What is refused in the middle of a long body ends its connection: the rest moves over others, and over a new one.
#[test]
fn files_that_cannot_be_written_do_not_keep_others_from_moving() {
    for jobs in [1, 2, 4] {
        let world = World::plaintext();
        let (from, to) = ends(&world, Way::Get);
        fs::create_dir(&from).unwrap();
        for (name, size) in [("a", 5 << 20), ("b", 33 << 20), ("c", 6 << 20), ("d", 34 << 20), ("e", 100)] {
            fs::write(from.join(name), noise(size)).unwrap();
        }
        for name in ["a", "b", "c"] {
            fs::create_dir_all(to.join(name)).unwrap();
        }
        let line = format!("get -r --no-sync tree -j {jobs} --retries 9 --retry-wait 0.01");
        let said = world.run(&line).exits(12).stderr;
        for name in ["a", "b", "c"] {
            assert!(said.contains(&format!("cannot get `tree/{name}`: ")), "{said}");
        }
        assert!(said.contains("3 of the names in `tree` were not done"), "{said}");
        for name in ["d", "e"] {
            assert!(fs::read(to.join(name)).unwrap() == fs::read(from.join(name)).unwrap(), "{name}");
        }
    }
}

#[test]
fn what_fails_is_told_and_the_rest_is_done() {
    let world = World::plaintext();
    planted(&world, Way::Put);
    fs::create_dir_all(world.root("tree/1/larger")).unwrap();
    fs::create_dir_all(world.root("tree/0/d0/7")).unwrap();
    let outcome = world.run("put -r tree / -j 4").exits(12);
    assert!(
        outcome.stderr.contains("tree/1/larger") && outcome.stderr.contains("0/d0/7"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("2 of the names"), "{}", outcome.stderr);
    assert_eq!(names(&world.root("tree/2/d11")).len(), 40);
}

#[test]
fn many_files_by_name_move_over_several_connections() {
    let world = World::plaintext();
    for way in Way::BOTH {
        planted(&world, way);
        let (from, to) = ends(&world, way);
        fs::create_dir(&to).unwrap();
        for dir in 0..12 {
            for name in names(&from.join(format!("{}/d{dir}", dir % 3))) {
                fs::copy(from.join(format!("{}/d{dir}/{name}", dir % 3)), from.join(format!("{dir}-{name}")))
                    .unwrap();
            }
        }
        let relay = Relay::harmless(&world.server().address);
        let line = if way == Way::Get { "get --no-sync tree/*-* tree/" } else { "put tree/*-* tree/" };
        world.client_of(&relay.address).run(&format!("{line} -j 3")).ok();
        for name in names(&to) {
            assert_eq!(fs::read(from.join(&name)).unwrap(), fs::read(to.join(&name)).unwrap(), "{name}");
        }
        assert_eq!(names(&to).len(), 481);
        assert!((2..=3).contains(&relay.connections()), "{}", relay.connections());
        fs::remove_dir_all(from).unwrap();
        fs::remove_dir_all(to).unwrap();
    }
}

#[test]
fn a_server_that_is_killed_is_made_up_for_by_the_next_run() {
    for way in Way::BOTH {
        let world = World::plaintext();
        planted(&world, way);
        let (from, to) = ends(&world, way);
        let victim = world.start("127.0.0.1:0", "--no-sync --plaintext");
        let mut relay = Relay::to(&victim.address, way.onward(), 2_000_000, Harm::Stall);
        let client = world.client_of(&relay.address).spawn(&format!("{} -j 3 --retries 0", sync(way)));
        relay.wait();
        victim.stop(rustix::process::Signal::KILL);
        relay.go_on();
        let code = world.wait(client).code;
        assert!(matches!(code, Some(12 | 13)), "{code:?}");
        world.run(&format!("{} -j 3", sync(way))).ok();
        let mut there = described(&to);
        // Those of small files are of no use to anybody, and are swept away in a week.
        there.retain(|path, _| !is_partial(path));
        same(&described(&from), &there);
    }
}

/// As many connections as the client thinks fit, over a socket that has room for few requests: all of them are asked for, and
/// come.
#[test]
fn thousands_of_files_come_over_a_unix_socket_and_go_there() {
    let world = World::serving_on("unix:{}/socket", "--plaintext");
    for dir in 0..40 {
        let dir = world.root("tree").join(format!("a directory with a name of some length {dir}"));
        fs::create_dir_all(&dir).unwrap();
        (0..100).for_each(|file| fs::write(dir.join(file.to_string()), vec![7; 4096]).unwrap());
    }
    for line in ["get -q -r tree there", "sync -q -c :tree there", "put -q -r there back", "rm -r back"] {
        let mut command = world.client().command(line.split(' '));
        command.env_remove("FTPISH_JOBS");
        let output = assert_cmd::Command::from_std(command).timeout(PATIENCE).output().unwrap();
        world.outcome(line, output).ok();
    }
    same(&described(&world.root("tree")), &described(&world.here("there")));
}

#[test]
fn a_user_logs_in_on_the_others_by_ticket() {
    let world = World::empty();
    let server = crate::accounts::with_ada(&world);
    fs::create_dir(world.here("tree")).unwrap();
    plant(&world.here("tree"));
    let client = crate::accounts::ada(&world, &server, &server.address);
    client.env("FTPISH_PASSWORD", crate::accounts::PASSWORD).run("put -r tree / -j 4").ok();
    same(&described(&world.here("tree")), &described(&world.root("tree")));
    assert!(server.stop(Signal::TERM).success());
    let log = fs::read_to_string(world.path("server.log")).unwrap();
    let logins: Vec<_> = log.lines().filter(|line| line.contains(" login ")).collect();
    let by = |proof| logins.iter().filter(|line| line.contains(proof)).count();
    assert_eq!(by("password"), 1, "{logins:?}");
    assert!(by("ticket") >= 1, "{logins:?}");
}
