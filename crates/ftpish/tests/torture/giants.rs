//! Large files: one bad byte in a GiB, and holes in 8 GiB.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::harness::World;
use crate::relay::{Relay, Toward};
use crate::trial::{BLOCK, TALK, Trial, Way, content};

pub fn run() {
    mend();
    holes();
}

/// One bad byte costs one block, and the digests of the others.
fn mend() {
    for way in Way::BOTH {
        let world = World::new();
        let trial = Trial::new(&world, way, 1 << 30);
        trial.completes(trial.size());
        trial.flip("big", 777_777_777);
        let moved = trial.completes_with("--repair", BLOCK);
        println!("  {} --repair of 1 GiB with one bad bit: {moved} bytes moved", way.verb());
        let moved = trial.completes(0);
        println!("  {} again, nothing changed: {moved} bytes moved", way.verb());
    }
}

/// Holes stay holes, at both ends.
fn holes() {
    let world = World::new();
    let (size, islands) = (8 << 30, [1 << 20, 5 << 30, (8 << 30) - 70_000]);
    let file = File::create(world.here("sparse")).unwrap();
    file.set_len(size).unwrap();
    for at in islands {
        file.write_all_at(&content(at, 70_000), at).unwrap();
    }
    let relay = Relay::harmless(&world.server().address);
    world.client_of(&relay.address).run("put -q sparse").ok();
    world.client_of(&relay.address).run("get -q sparse back").ok();
    for copy in [world.root("sparse"), world.here("back")] {
        let metadata = copy.metadata().unwrap();
        assert_eq!(metadata.size(), size);
        assert!(metadata.blocks() * 512 < 4 << 20, "{} blocks", metadata.blocks());
        assert!(same(&copy, &world.here("sparse")));
        println!("  8 GiB with three islands: {} KiB on the disk", metadata.blocks() / 2);
    }
    let moved = relay.passed(Toward::Server).max(relay.passed(Toward::Client));
    assert!(moved > size && moved < size + size / 500 + TALK);
    fs::remove_file(world.here("back")).unwrap();
}

fn same(a: &Path, b: &Path) -> bool {
    let (mut a, mut b) = (File::open(a).unwrap(), File::open(b).unwrap());
    let (mut here, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = a.read(&mut here).unwrap();
        b.read_exact(&mut there[..read]).unwrap();
        if here[..read] != there[..read] {
            return false;
        }
        if read == 0 {
            return b.read(&mut there).unwrap() == 0;
        }
    }
}
