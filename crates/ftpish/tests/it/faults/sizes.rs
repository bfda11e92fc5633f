//! Sizes at which something else begins; and files that are mostly holes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use crate::harness::World;
use crate::relay::{Harm, Relay};
use crate::trial::{Trial, Way, content};

const BLOCK: u64 = 1 << 20;

#[test]
fn sizes_around_a_block_and_around_a_resume_arrive_whole_even_if_cut() {
    let world = World::plaintext();
    for way in Way::BOTH {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK - 1, 4 * BLOCK, 4 * BLOCK + 1, 5 * BLOCK] {
            let trial = Trial::new(&world, way, size);
            trial.completes(size);
            trial.reset();
            let relay = Relay::to(&world.server().address, way.onward(), size, Harm::Cut);
            trial.run(&relay, "--retries 0").exits(13);
            trial.completes(trial.missing_after(if size < 4 * BLOCK { 0 } else { size }));
        }
    }
}

/// Four MiB of data in 64.
#[test]
fn holes_stay_holes_at_both_ends_and_through_a_resume() {
    let world = World::plaintext();
    let size = 64 << 20;
    let source = File::create(world.here("sparse")).unwrap();
    source.set_len(size).unwrap();
    for at in [10 << 20, 50 << 20] {
        source.write_all_at(&content(at, 2 << 20), at).unwrap();
    }
    let relay = Relay::to(&world.server().address, Way::Put.onward(), 40 << 20, Harm::Cut);
    world.client_of(&relay.address).run("put -q sparse --retries 0").exits(13);
    world.run("put -q sparse").ok();
    let relay = Relay::to(&world.server().address, Way::Get.onward(), 40 << 20, Harm::Cut);
    world.client_of(&relay.address).run("get -q sparse back --retries 0").exits(13);
    world.run("get -q sparse back").ok();
    for copy in [world.root("sparse"), world.here("back")] {
        let metadata = copy.metadata().unwrap();
        assert_eq!(metadata.size(), size);
        let on_disk = metadata.blocks() * 512;
        assert!(on_disk <= 8 << 20, "{on_disk} bytes on the disk: {}", copy.display());
    }
    let same = world.run("hash sparse").ok().text;
    let here = world.here("back");
    fs::rename(here, world.root("back")).unwrap();
    let back = world.run("hash back").ok().text;
    assert_eq!(same.split(' ').next(), back.split(' ').next());
}
