//! Cuts and kills: a file is on its way, something dies at a random byte, once or several times; then one more
//! invocation must end it.

use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::dice::Dice;
use crate::harness::World;
use crate::relay::{Harm, Relay};
use crate::trial::{BLOCK, TALK, Trial, Way, content};

/// How many rounds go on at once: one for each core of a small machine.
const WORKERS: u64 = 2;

/// How many rounds share a server, so that what is told of a failure is not endless.
const ROUNDS_A_WORLD: u64 = 20;

/// From which size on a file is resumed.
const RESUME_FROM: u64 = 4 << 20;

/// How something dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Cut,
    KillClient,
    KillServer,
}

/// What is still to be done, and what was seen.
#[derive(Default)]
struct Score {
    cuts_left: u64,
    kills_left: u64,
    rounds: u64,
    litter: u64,
    /// Invocations that were cut and went on by themselves, and how often they were.
    outlived: u64,
    outlived_cuts: u64,
    deaths: [u64; 3],
    /// How many of these were in transfers over several connections.
    in_parts: u64,
    /// After so many deaths the name held the old content; the new, though nobody was told; the new, and somebody was.
    old: u64,
    new_untold: u64,
    new_told: u64,
    /// The bytes of all files, those that last invocations found missing, and those that they moved.
    total: u64,
    missing: u64,
    moved: u64,
    /// The most that a last invocation moved beyond what was missing.
    most_beyond: u64,
}

pub fn run(seed: u64, cuts: u64, kills: u64) {
    let score = Mutex::new(Score { cuts_left: cuts, kills_left: kills, ..Score::default() });
    let number = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(seed, &score, &number));
        }
    });
    let score = score.into_inner().unwrap();
    let [cuts, clients, servers] = score.deaths;
    println!("  {} files, {} MiB", score.rounds, score.total >> 20);
    println!("  {cuts} connections cut, {clients} clients and {servers} servers killed");
    println!("  {} of these in transfers over up to 4 connections", score.in_parts);
    println!(
        "  {} more files came through {} of the cuts in one invocation",
        score.outlived, score.outlived_cuts
    );
    println!(
        "  the name then held the old content {} times, the new {} times ({} times told, {} times not yet)",
        score.old,
        score.new_told + score.new_untold,
        score.new_told,
        score.new_untold
    );
    println!("  {} partial files of files below 4 MiB were left to be swept", score.litter);
    println!(
        "  one more invocation completed each: {} MiB were missing, {} MiB moved; at most {} bytes beyond a file's missing blocks",
        score.missing >> 20,
        score.moved >> 20,
        score.most_beyond
    );
}

fn work(seed: u64, score: &Mutex<Score>, number: &AtomicU64) {
    loop {
        let worlds = [World::plaintext(), World::new()];
        for _ in 0..ROUNDS_A_WORLD {
            let number = number.fetch_add(1, Ordering::SeqCst);
            if !round(&worlds, &mut Dice::new(seed, number), score) {
                return;
            }
        }
    }
}

/// One file, from its first try to its last. `false` where nothing is left to be done.
fn round(worlds: &[World; 2], dice: &mut Dice, score: &Mutex<Score>) -> bool {
    let world = &worlds[usize::from(dice.chance(50))];
    let way = Way::BOTH[usize::from(dice.chance(50))];
    let size = if dice.chance(5) { dice.within(0..RESUME_FROM) } else { dice.within(RESUME_FROM..24 << 20) };
    let mut trial = Trial::new(world, way, 0);
    trial.new = content(dice.number(), size);
    trial.old = match dice.within(0..10) {
        0..3 => None,
        3..6 => Some(content(dice.number(), 1000)),
        // The file as it was before somebody edited it; and something else of the same size.
        6..8 => Some(edited(&trial.new, dice)),
        _ => Some(content(dice.number(), size)),
    };
    trial.reset();

    if dice.chance(10) {
        outlive(&trial, dice, score);
        return true;
    }
    let mut tries = dice.within(1..4);
    while tries > 0 && !trial.is_done() {
        let Some(death) = take(score, dice) else { return false };
        die(&trial, death, dice, score);
        tries -= 1;
    }
    // What is small is sent anew, rather than asked for.
    let (litter, missing) = if size < RESUME_FROM { (sweep(&trial), size) } else { (0, trial.missing()) };
    let moved = trial.completes(missing);
    let mut score = score.lock().unwrap();
    score.rounds += 1;
    score.litter += litter;
    score.total += size;
    score.missing += missing;
    score.moved += moved;
    score.most_beyond = score.most_beyond.max(moved.saturating_sub(missing));
    if score.rounds.is_multiple_of(100) {
        println!("  … {} files, {:?} deaths", score.rounds, score.deaths);
    }
    true
}

/// Small files have partial files of random names, which nobody takes up again. Takes away what kills left of them, as
/// time would, and tells how many there were.
fn sweep(trial: &Trial<'_>) -> u64 {
    let partials = trial.partials();
    partials.iter().for_each(|name| std::fs::remove_file(trial.dir().join(name)).unwrap());
    partials.len() as u64
}

/// Takes one of the deaths that are left.
fn take(score: &Mutex<Score>, dice: &mut Dice) -> Option<Death> {
    let score = score.lock().unwrap();
    let left = score.cuts_left + score.kills_left;
    if left == 0 {
        None
    } else if dice.within(0..left) < score.cuts_left {
        Some(Death::Cut)
    } else if dice.chance(50) {
        Some(Death::KillClient)
    } else {
        Some(Death::KillServer)
    }
}

/// Some bytes are others.
fn edited(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        for _ in 0..3 {
            let at = dice.within(0..bytes.len() as u64);
            bytes[usize::try_from(at).unwrap()] ^= 1;
        }
    }
    bytes
}

/// A random byte of what is about to travel onward: anywhere, at the beginning, or at the end.
fn place(trial: &Trial<'_>, dice: &mut Dice) -> u64 {
    let end = trial.missing() + 2500;
    match dice.within(0..10) {
        0 => dice.within(0..5000),
        1 | 2 => dice.within(end.saturating_sub(5000)..end),
        _ => dice.within(0..end),
    }
}

/// Lets something die in the middle of a try, unless the try ends before. Whatever comes of it, the name holds old or
/// new content, whole, and no block that was there is lost.
fn die(trial: &Trial<'_>, death: Death, dice: &mut Dice, score: &Mutex<Score>) {
    let world = trial.world;
    let before = trial.missing();
    let (mut toward, mut at) = (trial.way.onward(), place(trial, dice));
    if dice.chance(15) {
        (toward, at) = (trial.way.backward(), dice.within(0..3000));
    }
    let harm = if death == Death::Cut { Harm::Cut } else { Harm::Tell };
    let flags = if world.server().key.is_some() { "--no-sync" } else { "--no-sync --plaintext" };
    let victim = (death == Death::KillServer).then(|| world.start("127.0.0.1:0", flags));
    let relay = Relay::to(victim.as_ref().map_or(&trial.address, |victim| &victim.address), toward, at, harm);
    world.tell(&format!("{death:?} {toward:?} {at}, {before} bytes missing\n"));

    let connections = if dice.chance(40) { 4 } else { 1 };
    let mut client = trial.spawn(&relay, &format!("--retries 0 -j {connections}"));
    let sprung = sprung(&relay, &mut client);
    if sprung && death != Death::Cut {
        // Not always at the same step of what that byte brings about.
        std::thread::sleep(Duration::from_micros(dice.within(0..4000)));
    }
    if sprung && death == Death::KillClient {
        kill_process(Pid::from_child(&client), Signal::KILL).unwrap();
    }
    if let Some(victim) = victim {
        victim.stop(Signal::KILL);
    }
    let code = world.wait(client).code;
    assert!(sprung || code == Some(0), "{code:?}");
    assert!(matches!(code, None | Some(0 | 3 | 13)), "{code:?}");

    let done = trial.is_done();
    assert!(done || code != Some(0), "told, and not done");
    let passed = relay.passed(trial.way.onward());
    trial.settle();
    let missing = trial.missing();
    // What a dead receiver's kernel held is gone with it; anything else was written.
    let receiver = if trial.way == Way::Get { Death::KillClient } else { Death::KillServer };
    let kept = if death == receiver { 0 } else { passed };
    let most = before.min((before + connections * (2 * BLOCK + TALK)).saturating_sub(kept));
    let resumes = trial.size() >= RESUME_FROM;
    assert!(missing <= most || !resumes, "{before} bytes were missing, {passed} came, now {missing} are");

    let mut score = score.lock().unwrap();
    if sprung {
        score.deaths[death as usize] += 1;
        score.in_parts += u64::from(connections > 1);
        let left = if death == Death::Cut { &mut score.cuts_left } else { &mut score.kills_left };
        *left = left.saturating_sub(1);
        match (trial.is_done(), code) {
            (false, _) => score.old += 1,
            (true, Some(0)) => score.new_told += 1,
            (true, _) => score.new_untold += 1,
        }
    }
}

/// One invocation is cut up to eight times, and ends complete by itself.
fn outlive(trial: &Trial<'_>, dice: &mut Dice, score: &Mutex<Score>) {
    let cuts: Vec<_> = (0..dice.within(1..9))
        .map(|_| {
            let onward = dice.chance(85);
            let toward = if onward { trial.way.onward() } else { trial.way.backward() };
            (toward, if onward { place(trial, dice) } else { dice.within(0..3000) }, Harm::Cut)
        })
        .collect();
    let relay = Relay::with(&trial.address, &cuts);
    trial.run(&relay, "--retries 20 --retry-wait 0.01").ok();
    assert!(trial.is_done());
    let cuts = relay.connections() - 1;
    let (passed, most) = (relay.passed(trial.way.onward()), (cuts + 1) * (2 * BLOCK + TALK));
    let most = if trial.size() < RESUME_FROM { u64::MAX } else { trial.size() + trial.size() / 500 + most };
    assert!(passed <= most, "{passed} bytes moved for {} and {cuts} cuts", trial.size());
    let mut score = score.lock().unwrap();
    score.outlived += 1;
    score.outlived_cuts += cuts;
    score.deaths[Death::Cut as usize] += cuts;
    score.cuts_left = score.cuts_left.saturating_sub(cuts);
}

/// Waits until the relay has got as far as the harm; `false` where the client ends before.
fn sprung(relay: &Relay, client: &mut Child) -> bool {
    let began = Instant::now();
    loop {
        if relay.has_reached(Duration::from_millis(1)) {
            return true;
        }
        if client.try_wait().unwrap().is_some() {
            return relay.has_reached(Duration::ZERO);
        }
        assert!(began.elapsed() < crate::harness::PATIENCE, "a client that does not end");
    }
}
