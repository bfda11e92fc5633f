//! Two clients that put different content under one name, a thousand times each.

use std::fs;
use std::io::Write as _;

use crate::harness::{World, dress, names};
use crate::trial::content;

const ROUNDS: usize = 1000;

pub fn run() {
    for (size, flags) in [(300_000, ""), ((4 << 20) + 1, ""), ((4 << 20) + 1, "--repair")] {
        let world = World::plaintext();
        let contents = [content(1, size), content(2, size)];
        for (name, content) in ["a", "b"].iter().zip(&contents) {
            fs::write(world.here(name), content).unwrap();
            // Neither size nor time tells them apart.
            dress(&world.here(name), 0o644, 1_000_000_000);
        }
        let mut writers = ["a", "b"].map(|name| {
            let mut shell = world.client().spawn("shell -q");
            let batch = format!("put {flags} {name} big\n").repeat(ROUNDS);
            shell.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
            Some(shell)
        });
        let mut seen = [0, 0];
        while writers.iter().any(Option::is_some) {
            for writer in &mut writers {
                if writer.as_mut().is_some_and(|writer| writer.try_wait().unwrap().is_some()) {
                    world.wait(writer.take().unwrap()).ok();
                }
            }
            if let Ok(now) = fs::read(world.root("big")) {
                let one = contents.iter().position(|content| *content == now);
                seen[one.expect("what is there is one of the two, whole")] += 1;
            }
        }
        assert_eq!(names(&world.root("")), ["big"], "nothing is left beside it");
        let [a, b] = seen;
        println!(
            "  {ROUNDS} puts each of {size} bytes {flags}: looked at {} times, {a} times the one, {b} times the other, never anything else",
            a + b
        );
    }
}
