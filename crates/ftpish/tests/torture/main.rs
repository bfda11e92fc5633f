//! What `tests/it/faults` shows at chosen places, at random ones: connections cut and processes killed by the
//! thousand, with the real binary. Does nothing unless it is told to: `just torture`, or
//! `cargo test --release -p ftpish --test torture -- run SEED CUTS KILLS`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/disk.rs"]
mod disk;
#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/relay.rs"]
mod relay;
#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/trial.rs"]
mod trial;

mod dice;
mod giants;
mod rounds;
mod survey;
mod writers;

use std::time::Instant;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
    match (words.first().map(String::as_str), &numbers[..]) {
        (Some("run"), [seed, cuts, kills]) => run(*seed, *cuts, *kills),
        // Somebody runs all tests, or lists them.
        _ => println!("SKIPPED: the torture runs for minutes, and only when it is told to: `just torture`"),
    }
}

fn run(seed: u64, cuts: u64, kills: u64) {
    let began = Instant::now();
    println!("torture: seed {seed}, {cuts} cuts, {kills} kills, in {}", std::env::temp_dir().display());
    timed("cuts and kills", || rounds::run(seed, cuts, kills));
    timed("two writers of one name", writers::run);
    timed("one bit in a conversation", survey::run);
    timed("giants", giants::run);
    println!("all of it held, after {:.0} s", began.elapsed().as_secs_f64());
}

fn timed(what: &str, step: impl FnOnce()) {
    let began = Instant::now();
    println!("\n{what}");
    step();
    println!("  {:.0} s", began.elapsed().as_secs_f64());
}
