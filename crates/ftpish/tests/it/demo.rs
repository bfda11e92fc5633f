//! `demo`: what a newcomer sees first.

use std::fs;

use crate::harness::{World, names};

#[test]
fn the_demo_ends_with_0_says_that_every_byte_is_verified_and_leaves_nothing_behind() {
    let world = World::empty();
    fs::create_dir(world.path("tmp")).unwrap();
    let mut command = world.command();
    command.arg("demo").env("TMPDIR", world.path("tmp"));
    let demo = world.outcome("demo", command.output().unwrap()).ok();
    for line in ["$ ftpish put video.bin", "$ ftpish get video.bin copy.bin", "67108864 bytes are the same"] {
        assert!(demo.text.lines().any(|said| said == line), "{}", demo.text);
    }
    assert!(demo.text.ends_with("every byte verified; now try it yourself: ftpish serve\n"));
    let proofs: Vec<_> = demo.stderr.lines().filter_map(|line| line.split("  verified ").nth(1)).collect();
    assert!(
        demo.stderr.contains("each verified") && demo.stderr.contains("nothing to do"),
        "{}",
        demo.stderr
    );
    assert_eq!(proofs.len(), 2);
    assert_eq!(proofs[0], proofs[1]);
    let hash = proofs[0].strip_prefix("blake3 ").unwrap();
    assert!(demo.text.contains(&format!("{hash}  video.bin\n")));
    assert_eq!(names(&world.path("tmp")), [""; 0]);
    assert_eq!(names(&world.path("home")), [""; 0]);
}
