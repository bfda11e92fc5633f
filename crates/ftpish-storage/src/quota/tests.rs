//! A quota under whatever is done to a root, one thing behind the other and many at once: what lies there never exceeds
//! it, and what truly fits is never refused.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ftpish_protocol::blocks::{MIN_BLOCK, WriteAt as _};
use ftpish_protocol::message::{Link, LinkTarget, Replace};
use ftpish_protocol::{Algorithm, Connection, RemotePath, Verified, receive_body, send_body};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use tempfile::TempDir;

use super::*;
use crate::Permissions;
use crate::{Root, Stage};

/// What a partial file needs to be worth keeping.
const UNIT: u64 = MIN_BLOCK;

/// A root in which so many bytes and names may lie.
fn scratch(bytes: u64, names: u64) -> (TempDir, Root) {
    let scratch = tempfile::tempdir().unwrap();
    let root = bounded(scratch.path(), &Ledgers::default(), bytes, names);
    (scratch, root)
}

fn bounded(top: &Path, ledgers: &Ledgers, bytes: u64, names: u64) -> Root {
    let quota = Quota { bytes: NonZeroU64::new(bytes), names: NonZeroU64::new(names) };
    Root::open(top, false).unwrap().bounded(ledgers, quota).unwrap()
}

fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

/// The bytes and names below a directory.
fn on_disk(top: &Path) -> (u64, u64) {
    fs::read_dir(top).unwrap().fold((0, 0), |(bytes, names), entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let below = if metadata.is_dir() { on_disk(&entry.path()) } else { (0, 0) };
        let own = if metadata.is_file() { metadata.len() } else { 0 };
        (bytes + own + below.0, names + 1 + below.1)
    })
}

/// Proof for so many zeros: a stage is held against the length alone, since the bytes were proven when they came.
fn proof(length: u64) -> Verified {
    let zeros = vec![0; usize::try_from(length).unwrap()];
    let mut sender = Connection::new(Cursor::new(Vec::new()));
    send_body(&mut sender, &mut &zeros[..], Algorithm::Blake3, &mut |_, _| true).unwrap();
    sender.flush().unwrap();
    let mut wire = std::mem::take(sender.stream());
    wire.set_position(0);
    let mut receiver = Connection::new(wire);
    receiver.begin_body();
    receive_body(&mut receiver, &mut std::io::sink(), Algorithm::Blake3, None, &mut |_, _| true).unwrap()
}

/// Makes the file `length` bytes long. No space is needed for what lies before the last.
fn grow(stage: &mut Stage, length: u64) -> Result<(), Refusal> {
    stage.write_at(&[1], length - 1).map_err(|error| Refusal::from_io(&error))
}

/// Stores a file of this length.
fn store(root: &Root, name: &str, length: u64) -> Result<(), Refusal> {
    let mut stage = root.stage(&path(name), Replace::Always, None)?;
    match stage.claim(length).and_then(|()| grow(&mut stage, length)) {
        Ok(()) => stage.commit(proof(length), Permissions::Usual).map(drop),
        Err(refusal) => {
            stage.abandon();
            Err(refusal)
        }
    }
}

/// Stores a file of this length, and keeps what it replaces.
fn store_keeping(root: &Root, name: &str, length: u64, kept: &RemotePath) -> Result<(), Refusal> {
    let mut stage = root.stage(&path(name), Replace::Always, None)?;
    stage.back_up(root.backup(&path(name), kept)?);
    match stage.claim(length).and_then(|()| grow(&mut stage, length)) {
        Ok(()) => stage.commit(proof(length), Permissions::Usual).map(drop),
        Err(refusal) => {
            stage.abandon();
            Err(refusal)
        }
    }
}

fn link(root: &Root, from: &str, to: &str) -> Result<(), Refusal> {
    let (size, mtime, replace, backup) = (None, None, Replace::Always, None);
    root.link(&Link { from: path(from), to: path(to), size, mtime, replace, backup })
}

/// Whatever was counted last, no time that passes makes it old.
fn stop_time(ledgers: &Ledgers) {
    for ledger in ledgers.0.lock().unwrap().values() {
        let mut book = ledger.book();
        book.last = book.last.map(|_| (Instant::now(), Duration::from_secs(3600)));
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: Result<T, Refusal>, line: &str) {
    let refusal = outcome.unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::NoSpace, line));
}

#[test]
fn what_does_not_fit_is_refused_with_what_is_used_and_what_there_is() {
    let (_scratch, root) = scratch(1000, 3);
    store(&root, "a", 600).unwrap();
    assert_refused(
        store(&root, "b", 401),
        "over the quota: 600 of 1000 bytes are used, and this needs 401 more",
    );
    store(&root, "b", 400).unwrap();
    root.make_dir(&path("d"), false, None).unwrap();
    let full = "over the quota: 3 of 3 files, links and directories are used";
    assert_refused(root.make_dir(&path("e"), false, None), full);
    assert_refused(root.make_dir(&path("d/e/f"), true, None), full);
    root.make_dir(&path("d"), true, None).unwrap();
    assert_refused(root.make_link(&path("l"), &LinkTarget(b"a".into()), Replace::Always, None), full);
    assert_refused(store(&root, "c", 1), full);
    root.remove(&path("b"), false).unwrap();
    store(&root, "c", 400).unwrap();
}

#[test]
fn whoever_waits_is_told_before_that_there_is_to_count() {
    let (scratch, ledgers) = (tempfile::tempdir().unwrap(), Ledgers::default());
    let root = bounded(scratch.path(), &ledgers, 1000, 0);
    assert!(root.must_count(0), "nothing is known yet");
    root.count(0);
    stop_time(&ledgers);
    assert!(!root.must_count(1000));
    store(&root, "a", 600).unwrap();
    assert!(!root.must_count(500), "that does not fit, and nothing has gone");
    root.remove(&path("a"), false).unwrap();
    assert!(root.must_count(500));
    assert!(!root.must_count(400), "that fits anyway");
    assert!(!root.must_count(1001), "that never will");
    assert!(!bounded(scratch.path(), &ledgers, 0, 0).must_count(u64::MAX));
}

#[test]
fn what_was_there_before_and_what_others_share_counts() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("old"), [7; 500]).unwrap();
    let ledgers = Ledgers::default();
    let [small, large, free] =
        [(1000, 0), (2000, 0), (0, 0)].map(|(bytes, names)| bounded(scratch.path(), &ledgers, bytes, names));
    store(&large, "a", 300).unwrap();
    store(&free, "b", 100).unwrap();
    assert_refused(
        store(&small, "c", 101),
        "over the quota: 900 of 1000 bytes are used, and this needs 101 more",
    );
    store(&small, "c", 100).unwrap();
    store(&large, "d", 1000).unwrap();
    store(&free, "e", 1000).unwrap();
    assert_refused(store(&large, "f", 1), "over the quota: 3000 of 2000 bytes are used");
    assert_eq!(on_disk(scratch.path()), (3000, 6));
}

#[test]
fn what_can_never_fit_and_the_largest_numbers_are_refused_at_once() {
    let (scratch, root) = scratch(1000, 1000);
    for size in [1001, u64::MAX] {
        let mut stage = root.stage(&path("a"), Replace::Always, None).unwrap();
        assert_eq!(stage.claim(size).unwrap_err().code, Code::NoSpace, "{size}");
        stage.abandon();
    }
    // Where no bytes are bounded, no number overflows, either.
    let free = bounded(scratch.path(), &Ledgers::default(), 0, 1000);
    let stages: Vec<_> = (0..3)
        .map(|i| {
            let mut stage = free.stage(&path(&i.to_string()), Replace::Always, None).unwrap();
            stage.claim(u64::MAX).unwrap();
            stage
        })
        .collect();
    stages.iter().for_each(Stage::abandon);
    drop(stages);
    store(&free, "a", 1).unwrap();
}

/// Leaves so much of a file behind as a session does that was cut off.
fn leave(root: &Root, name: &str, length: u64) {
    let mut stage = root.resume(&path(name), Replace::Always, None, Duration::ZERO).unwrap();
    grow(&mut stage, length).unwrap();
    stage.abandon();
}

#[test]
fn what_a_rename_replaces_and_what_is_cut_off_makes_room_at_once() {
    let (scratch, ledgers) = (tempfile::tempdir().unwrap(), Ledgers::default());
    let root = bounded(scratch.path(), &ledgers, 10 * UNIT, 2);
    store(&root, "a", 6 * UNIT).unwrap();
    store(&root, "b", 4 * UNIT).unwrap();
    stop_time(&ledgers);
    root.rename(&path("b"), &path("a"), Replace::Always).unwrap();
    store(&root, "b", 6 * UNIT).unwrap();
    root.remove(&path("a"), false).unwrap();
    root.remove(&path("b"), false).unwrap();
    leave(&root, "b", 6 * UNIT);
    let mut stage = root.resume(&path("b"), Replace::Always, None, Duration::ZERO).unwrap();
    // Now it is counted, and left out of that.
    assert_eq!(store(&root, "a", 5 * UNIT).unwrap_err().code, Code::NoSpace);
    stop_time(&ledgers);
    stage.cut(2 * UNIT).unwrap();
    stage.commit(proof(2 * UNIT), Permissions::Usual).unwrap();
    store(&root, "a", 8 * UNIT).unwrap();
}

#[test]
fn what_cannot_be_taken_up_again_still_counts() {
    let (scratch, root) = scratch(10 * UNIT, 0);
    leave(&root, "a", 6 * UNIT);
    fs::File::create(scratch.path().join("b")).unwrap().set_len(8 * UNIT).unwrap();
    let refusal = root.resume(&path("a"), Replace::Always, None, Duration::ZERO).unwrap_err();
    assert_eq!(refusal.code, Code::NoSpace);
    assert_eq!(store(&root, "c", 2 * UNIT).unwrap_err().code, Code::NoSpace);
    root.remove(&path("b"), false).unwrap();
    store(&root, "c", 4 * UNIT).unwrap();
    assert_eq!(on_disk(scratch.path()), (10 * UNIT, 2));
}

/// What may be done to a root.
#[derive(Clone, Debug)]
enum Step {
    /// Begins a file, of an announced size or of none.
    Begin(&'static str, Option<u64>),
    /// Takes up what an earlier try left.
    Resume(&'static str),
    /// Makes an open file longer.
    Grow(usize, u64),
    Commit(usize),
    Abandon(usize),
    /// Leaves a file open without a word, as a session does that panics.
    Drop(usize),
    Remove(&'static str),
    Rename(&'static str, &'static str),
    MakeDir(&'static str),
    Link(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let size = || (0..7 * UNIT).prop_map(|size| size / 1000 * 1000);
    let step = prop_oneof![
        4 => (name(), prop::option::of(size())).prop_map(|(name, size)| Step::Begin(name, size)),
        3 => name().prop_map(Step::Resume),
        6 => (any::<usize>(), size()).prop_map(|(at, more)| Step::Grow(at, more + 1)),
        4 => any::<usize>().prop_map(Step::Commit),
        2 => any::<usize>().prop_map(Step::Abandon),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => name().prop_map(Step::Remove),
        1 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name().prop_map(Step::MakeDir),
        1 => name().prop_map(Step::Link),
    ];
    vec(step, 1..40)
}

/// An open file, and what of it is claimed.
struct Open {
    stage: Stage,
    /// Set where a later try finds it.
    resumes: Option<&'static str>,
    end: u64,
    claimed: u64,
}

/// A root, and what is known of it without looking into it.
struct Model {
    scratch: TempDir,
    root: Root,
    ledgers: Ledgers,
    open: Vec<Open>,
}

impl Model {
    const BYTES: u64 = 10 * UNIT;
    const NAMES: u64 = 6;

    /// Whether so much more truly fits: beside what lies there, and what is claimed of what is being made.
    fn fits(&self, bytes: u64, names: u64) -> bool {
        let (disk, there) = on_disk(self.scratch.path());
        let is_unnamed = |open: &&Open| open.stage.file().metadata().unwrap().nlink() == 0;
        let unnamed = self.open.iter().filter(is_unnamed).count() as u64;
        let seen = |open: &Open| if is_unnamed(&open) { 0 } else { open.end };
        let unseen: u64 = self.open.iter().map(|open| open.claimed - seen(open)).sum();
        disk + unseen + bytes <= Self::BYTES && there + unnamed + names <= Self::NAMES
    }

    /// Does a step, and holds what was said to it against the truth.
    fn step(&mut self, step: &Step) {
        let root = self.root.clone();
        self.stop_time();
        match *step {
            Step::Begin(name, size) => {
                let is_dir = self.scratch.path().join(name).is_dir();
                let fits = self.fits(0, 1);
                match root.stage(&path(name), Replace::Always, None) {
                    Ok(stage) => {
                        assert!(fits);
                        self.open.push(Open { stage, resumes: None, end: 0, claimed: 0 });
                        if let Some(size) = size {
                            self.claim(self.open.len() - 1, size, |stage| stage.claim(size));
                        }
                    }
                    Err(refusal) => assert_eq!(refusal.code == Code::NoSpace, !fits && !is_dir, "{refusal}"),
                }
            }
            Step::Resume(name) => {
                let is_dir = self.scratch.path().join(name).is_dir();
                let held = self.open.iter().any(|open| open.resumes == Some(name));
                let left = root.partial_length(&path(name)).filter(|_| !held);
                let fits = left.is_some() || self.fits(0, 1);
                match root.resume(&path(name), Replace::Always, None, Duration::ZERO) {
                    Ok(stage) => {
                        assert!(fits);
                        let end = stage.length();
                        assert_eq!(end, left.unwrap_or(0));
                        let resumes = Some(name).filter(|_| !held);
                        self.open.push(Open { stage, resumes, end, claimed: end });
                    }
                    Err(refusal) => assert_eq!(refusal.code == Code::NoSpace, !fits && !is_dir, "{refusal}"),
                }
            }
            Step::Grow(at, more) if !self.open.is_empty() => {
                let at = at % self.open.len();
                let end = self.open[at].end + more;
                if self.claim(at, end, |stage| grow(stage, end)) {
                    self.open[at].end = end;
                }
            }
            Step::Commit(at) if !self.open.is_empty() => {
                let Open { stage, end, .. } = self.open.swap_remove(at % self.open.len());
                // Where a directory has the name by now it is refused.
                let _ = stage.commit(proof(end), Permissions::Usual);
            }
            Step::Abandon(at) if !self.open.is_empty() => {
                self.open.swap_remove(at % self.open.len()).stage.abandon();
            }
            Step::Drop(at) if !self.open.is_empty() => {
                let _left_behind = self.open.swap_remove(at % self.open.len());
            }
            Step::Grow(..) | Step::Commit(_) | Step::Abandon(_) | Step::Drop(_) => {}
            Step::Remove(name) => drop(root.remove(&path(name), true)),
            Step::Rename(from, to) => drop(root.rename(&path(from), &path(to), Replace::Always)),
            Step::MakeDir(name) => {
                let fits = self.fits(0, 1);
                let refused = root.make_dir(&path(name), false, None).err();
                assert_eq!(refused.is_some_and(|refusal| refusal.code == Code::NoSpace), !fits);
            }
            Step::Link(name) => {
                let fits = self.fits(0, 1);
                let refused =
                    root.make_link(&path(name), &LinkTarget(b"x".into()), Replace::Always, None).err();
                assert_eq!(refused.is_some_and(|refusal| refusal.code == Code::NoSpace), !fits);
            }
        }
        let (bytes, names) = on_disk(self.scratch.path());
        assert!(
            bytes <= Self::BYTES && names <= Self::NAMES,
            "{bytes} bytes and {names} names behind {step:?}"
        );
    }

    /// Lets nothing be counted anew because time has passed, so that it depends on what was done alone.
    fn stop_time(&self) {
        stop_time(&self.ledgers);
    }

    /// Has an open file claim so much in all, one way or the other; whether it was granted.
    fn claim(
        &mut self,
        at: usize,
        total: u64,
        claim: impl FnOnce(&mut Stage) -> Result<(), Refusal>,
    ) -> bool {
        let fits = self.fits(total.saturating_sub(self.open[at].claimed), 0);
        self.stop_time();
        let granted = claim(&mut self.open[at].stage);
        assert_eq!(granted.as_ref().err().map(|refusal| refusal.code), (!fits).then_some(Code::NoSpace));
        let open = &mut self.open[at];
        if fits {
            open.claimed = open.claimed.max(total);
        }
        fits
    }
}

proptest! {
    #![proptest_config(Config { cases: 100, failure_persistence: None, ..Config::default() })]

    #[test]
    fn whatever_is_done_the_quota_holds_and_what_fits_is_granted(steps in steps()) {
        let (scratch, ledgers) = (tempfile::tempdir().unwrap(), Ledgers::default());
        let root = bounded(scratch.path(), &ledgers, Model::BYTES, Model::NAMES);
        let mut model = Model { scratch, root, ledgers, open: Vec::new() };
        steps.iter().for_each(|step| model.step(step));
    }
}

#[test]
fn another_name_counts_with_its_bytes_and_what_is_kept_is_not_gone() {
    let (scratch, root) = scratch(1000, 6);
    store(&root, "a", 600).unwrap();
    let much = "over the quota: 600 of 1000 bytes are used, and this needs 600 more";
    assert_refused(link(&root, "a", "b"), much);
    link(&root, "a", "a").unwrap();
    store_keeping(&root, "a", 300, &path("old/a")).unwrap();
    assert_eq!(on_disk(scratch.path()), (900, 3));
    let full = "over the quota: 900 of 1000 bytes are used, and this needs 300 more";
    assert_refused(store_keeping(&root, "a", 300, &path("old/a")), full);
    assert_refused(link(&root, "a", "b"), full);
    assert_eq!(on_disk(scratch.path()), (900, 3), "nothing is left of what was refused");
    // An earlier backup makes room, but not before it goes.
    store_keeping(&root, "a", 100, &path("old/a")).unwrap();
    assert_eq!(on_disk(scratch.path()), (400, 3));
    link(&root, "a", "b").unwrap();
    let backup = root.backup(&path("b"), &path("old/deep/b")).unwrap();
    root.move_away(&path("b"), &backup).unwrap();
    assert_eq!(on_disk(scratch.path()), (500, 5));
    link(&root, "a", "b").unwrap();
    let names = "over the quota: 6 of 6 files, links and directories are used";
    assert_refused(link(&root, "a", "c"), names);
    let backup = root.backup(&path("b"), &path("old/er/b")).unwrap();
    assert_refused(root.move_away(&path("b"), &backup), names);
    assert!(scratch.path().join("b").exists());
}

#[test]
fn many_at_once_never_store_more_than_there_may_be_and_all_the_room_comes_back() {
    const BYTES: u64 = 2_000;
    let (scratch, root) = scratch(BYTES, 12);
    std::thread::scope(|scope| {
        for worker in 0..8_u64 {
            let root = root.clone();
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(worker);
                for _ in 0..300 {
                    let name = format!("d{}/{}", random.u8(..2), random.u8(..8));
                    let other = format!("d{}/{}", random.u8(..2), random.u8(..8));
                    // Whether each was refused depends on the others.
                    let kept = path(&format!("k/{name}"));
                    let _ = match random.u8(..12) {
                        0..=3 => store(&root, &name, random.u64(1..600)),
                        4 => root.make_dir(&path(&name), true, None),
                        5 => root.rename(&path(&name), &path(&other), Replace::Always),
                        6 => root.make_link(&path(&name), &LinkTarget(b"x".into()), Replace::Always, None),
                        7 => link(&root, &name, &other),
                        8 => store_keeping(&root, &name, random.u64(1..600), &kept),
                        9 => root
                            .backup(&path(&name), &kept)
                            .and_then(|backup| root.move_away(&path(&name), &backup)),
                        _ => root.remove(&path(&name), true),
                    };
                }
            });
        }
    });
    let (bytes, names) = on_disk(scratch.path());
    assert!(bytes <= BYTES && names <= 12, "{bytes} bytes, {names} names");
    for top in ["d0", "d1", "k"] {
        let _ = root.remove(&path(top), true);
    }
    assert_eq!(on_disk(scratch.path()), (0, 0));
    store(&root, "all", BYTES).unwrap();
}

#[test]
fn no_count_misses_what_is_renamed_meanwhile() {
    const TREES: u64 = 40;
    let (_scratch, root) = scratch(TREES * 10, 0);
    for i in 0..TREES {
        root.make_dir(&path(&format!("a/{i}")), true, None).unwrap();
        store(&root, &format!("a/{i}/file"), 10).unwrap();
    }
    root.make_dir(&path("b"), false, None).unwrap();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (root, end) = (&root, &end);
            scope.spawn(move || {
                for i in (worker..TREES).step_by(2).cycle() {
                    let [here, there] = ["a", "b"].map(|dir| path(&format!("{dir}/{i}")));
                    root.rename(&here, &there, Replace::Never).unwrap();
                    root.rename(&there, &here, Replace::Never).unwrap();
                    if end.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        let told: Vec<_> = (0..300).map(|_| store(&root, "one more", 1)).collect();
        end.store(true, Ordering::SeqCst);
        let full = "over the quota: 400 of 400 bytes are used, and this needs 1 more";
        told.into_iter().for_each(|told| assert_refused(told, full));
    });
}

#[test]
fn what_others_did_is_noticed_when_the_last_count_is_long_ago_or_the_user_was() {
    let (scratch, ledgers) = (tempfile::tempdir().unwrap(), Ledgers::default());
    let root = bounded(scratch.path(), &ledgers, 1000, 0);
    let let_pass = |time: Duration| {
        for ledger in ledgers.0.lock().unwrap().values() {
            let ended = Instant::now().checked_sub(time).unwrap();
            ledger.book().last = Some((ended, Duration::from_secs(1)));
        }
    };
    store(&root, "a", 900).unwrap();
    fs::write(scratch.path().join("b"), [7; 500]).unwrap();
    let_pass(Duration::from_secs(40));
    store(&root, "c", 50).unwrap();
    root.doubt();
    let_pass(Duration::from_secs(10));
    store(&root, "d", 50).unwrap();
    let_pass(Duration::from_secs(40));
    assert_refused(store(&root, "e", 1), "over the quota: 1500 of 1000 bytes are used");
    fs::remove_file(scratch.path().join("b")).unwrap();
    fs::remove_file(scratch.path().join("a")).unwrap();
    let_pass(Duration::from_secs(10));
    assert_refused(store(&root, "e", 1), "over the quota: 1500 of 1000 bytes are used");
    let_pass(Duration::from_secs(40));
    store(&root, "e", 900).unwrap();
}
