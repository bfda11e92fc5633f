//! Files by the block over a stream in memory: ranges that arrive mark their blocks, once they are verified and not
//! before, and what is proven merges into the ordinary digest of the whole.
#![allow(clippy::unwrap_used, reason = "this is how a test fails")]
#![allow(clippy::single_range_in_vec_init, reason = "the ranges of a file may be one")]

mod disk;
mod in_step;
mod pipe;

use std::io;
use std::ops::Range;
use std::sync::LazyLock;

use disk::Disk;
use ftpish_protocol::blocks::{Assembly, BLOCK_DIGEST, Blocks, MIN_BLOCK, WriteAt};
use ftpish_protocol::message::Trailer;
use ftpish_protocol::*;
use in_step::{assert_in_step, body_length, finished, receiving};
use pipe::{Pieces, Pipe};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// The smallest block: that of every file here, unless a test says otherwise.
const BLOCK: u64 = MIN_BLOCK;

#[test]
fn ranges_complete_a_file_and_the_trailer_tells_the_digest_of_the_whole() {
    #[track_caller]
    fn check(size: u64, missing: &[usize], algorithm: Algorithm, pace: usize) {
        let file = Transfer::of(size);
        let ranges = file.ranges(missing);
        let (mut sender, mut receiver) = (file.known_but(&ranges), file.known_but(&ranges));
        let bytes = file.sent(&mut sender, &ranges, algorithm);
        assert!(sender.missing().is_empty(), "what has left is known, too");
        let mut disk = Disk::without(file.bytes, &ranges);
        let mut connection = receiving(&bytes, pace);
        let told =
            receive_ranges(&mut connection, &mut disk, &mut receiver, ranges, algorithm, &mut |_, _| true);
        let whole = Algorithm::Blake3.digest(file.bytes);
        assert_eq!(told.unwrap(), Some(whole));
        assert!(disk.0 == file.bytes);
        let verified = receiver.verified_as(whole).unwrap();
        assert_eq!((verified.length(), verified.digest()), (size, whole));
        assert_in_step(connection);
    }
    for size in [BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK + 5, 5 * BLOCK] {
        let last = Blocks::of(size).unwrap().count() - 1;
        let (all, odd) = ((0..=last).collect::<Vec<_>>(), (1..=last).step_by(2).collect::<Vec<_>>());
        for missing in [&all[..], &odd, &[], &[0], &[last], &[0, last]] {
            check(size, missing, Algorithm::Blake3, usize::MAX);
        }
    }
    check(3 * BLOCK + 5, &[0, 2, 3], Algorithm::Md5, 4099);
}

#[test]
fn what_is_noted_of_the_rest_is_proven_by_the_senders_digest_alone() {
    let file = Transfer::of(2 * BLOCK + 9);
    let ranges = file.ranges(&[1]);
    let bytes = file.sent(&mut file.known_but(&ranges), &ranges, Algorithm::Blake3);
    let mut receiver = file.known_but(&ranges);
    let told = file.received(&bytes, &ranges, &mut receiver).unwrap().unwrap();
    assert!(receiver.verified().is_none(), "the sender said nothing of blocks 0 and 2");
    assert!(receiver.verified_as(Algorithm::Blake3.digest(b"another file")).is_none());
    assert!(receiver.verified_as(told).is_some());

    let mut receiver = file.known_but(&ranges);
    receiver.prove_all(&file.known_but(&[]).to_bytes());
    let _file = file.received(&bytes, &ranges, &mut receiver).unwrap();
    assert_eq!(receiver.verified().unwrap().digest(), told);
}

#[test]
fn a_sender_that_does_not_have_the_whole_file_tells_no_digest_of_it() {
    let file = Transfer::of(3 * BLOCK + 9);
    let ranges = file.ranges(&[1, 2]);
    let mut sender = file.known_but(&[0..BLOCK, BLOCK..3 * BLOCK]);
    let bytes = file.sent(&mut sender, &ranges, Algorithm::Blake3);
    let mut receiver = Assembly::new(file.blocks);
    assert_eq!(file.received(&bytes, &ranges, &mut receiver).unwrap(), None);
    assert_eq!(receiver.missing(), [0..BLOCK, 3 * BLOCK..file.size()]);
    assert_eq!(receiver.present(), 2 * BLOCK);
}

#[test]
fn ranges_that_are_cut_mark_no_block() {
    #[track_caller]
    fn check(file: &Transfer, ranges: &[Range<u64>], bytes: &[u8], cut: usize) {
        let mut receiver = file.known_but(ranges);
        let error = file.received(&bytes[..cut], ranges, &mut receiver).unwrap_err();
        assert!(matches!(error, BodyError::Connection(Error::Closed)), "cut at {cut}: {error}");
        assert_eq!(receiver.missing(), ranges, "cut at {cut}");
        assert!(receiver.digest().is_none(), "cut at {cut}");
    }
    // The last block is of 5 bytes: every offset in its body.
    let file = Transfer::of(BLOCK + 5);
    let ranges = file.ranges(&[1]);
    let bytes = file.sent(&mut file.known_but(&ranges), &ranges, Algorithm::Blake3);
    for cut in 0..body_length(&bytes) {
        check(&file, &ranges, &bytes, cut);
    }
    // Whole blocks before the cut are here, but what the trailer says of them is not.
    let file = Transfer::of(4 * BLOCK + 5);
    let ranges = file.ranges(&[0, 2, 3, 4]);
    let bytes = file.sent(&mut file.known_but(&ranges), &ranges, Algorithm::Blake3);
    let (block, body) = (usize::try_from(BLOCK).unwrap(), body_length(&bytes));
    for cut in
        [0, 1, block / 2, block, block + 16, block + 17, 2 * block, 3 * block + 99, body - 300, body - 1]
    {
        check(&file, &ranges, &bytes, cut);
    }
}

#[test]
fn a_flipped_bit_marks_no_wrong_block_and_verifies_no_wrong_file() {
    let file = Transfer::of(BLOCK + 5);
    let ranges = file.ranges(&[1]);
    let bytes = file.sent(&mut file.known_but(&ranges), &ranges, Algorithm::Blake3);
    let known = file.known_but(&ranges);
    let mut verified = 0;
    // A field of another name is ignored, and says nothing of the message before the body: which has arrived as it was.
    let head = bytes.windows(4).position(|name| name == b"head").unwrap();
    for bit in (0..8 * body_length(&bytes)).filter(|bit| !(head..head + 4).contains(&(bit / 8))) {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (mut receiver, mut disk) = (known.clone(), LastBlock::default());
        let mut connection = receiving(&damaged, usize::MAX);
        let blake3 = Algorithm::Blake3;
        let range = ranges.clone();
        match receive_ranges(&mut connection, &mut disk, &mut receiver, range, blake3, &mut |_, _| true) {
            Err(_) => assert_eq!(receiver.missing(), ranges, "bit {bit}"),
            Ok(told) => {
                assert_eq!(disk.0, file.bytes[file.bytes.len() - 5..], "bit {bit}");
                assert_eq!(receiver.digest(), Some(blake3.digest(file.bytes)), "bit {bit}");
                verified += usize::from(told.is_some_and(|file| receiver.verified_as(file).is_some()));
            }
        }
    }
    assert_eq!(verified, 0, "where the ranges are right, `file` is damaged");
}

#[test]
fn ranges_with_a_trailer_of_other_bytes_mark_no_block() {
    #[track_caller]
    fn check(length: u64, digest: Digest) {
        let file = Transfer::of(BLOCK + 5);
        let ranges = file.ranges(&[1]);
        let bytes = file.sent(&mut file.known_but(&ranges), &ranges, Algorithm::Blake3);
        let told = Some(Algorithm::Blake3.digest(file.bytes));
        let mut trailer = Connection::new(Pipe::silent());
        trailer.send(&Trailer { length, digest, entries: None, file: told, head: None }).unwrap();
        let bytes = [&bytes[..4 + 5 + 4], &finished(trailer)].concat();

        let mut receiver = file.known_but(&ranges);
        let mut connection = receiving(&bytes, 3);
        let disk = &mut Disk::without(file.bytes, &ranges);
        let blake3 = Algorithm::Blake3;
        let error =
            receive_ranges(&mut connection, disk, &mut receiver, ranges.clone(), blake3, &mut |_, _| true)
                .unwrap_err();
        assert_eq!(error.refusal().unwrap().code, Code::Mismatch);
        assert_eq!(receiver.missing(), ranges);
        assert_in_step(connection);
    }
    let last = &noise()[usize::try_from(BLOCK).unwrap()..][..5];
    check(5, Algorithm::Blake3.digest(b"other"));
    check(5, Algorithm::Md5.digest(last));
    check(5, Algorithm::Blake3.digest(&noise()[..usize::try_from(BLOCK).unwrap() + 5]));
    check(4, Algorithm::Blake3.digest(last));
    check(BLOCK + 5, Algorithm::Blake3.digest(last));
}

#[test]
fn a_body_that_is_longer_or_shorter_than_its_ranges_marks_no_block() {
    let file = Transfer::of(2 * BLOCK + 5);
    let sent = file.ranges(&[1]);
    let bytes = file.sent(&mut file.known_but(&sent), &sent, Algorithm::Blake3);
    for (expected, message) in [
        (file.ranges(&[1, 2]), "1048576 bytes arrived, 1048581 were announced"),
        (file.ranges(&[2]), "more than the announced 5 bytes arrived"),
        (file.ranges(&[]), "more than the announced 0 bytes arrived"),
    ] {
        let mut receiver = file.known_but(&expected);
        let mut connection = receiving(&bytes, 70_000);
        let disk = &mut Disk::without(file.bytes, &expected);
        let blake3 = Algorithm::Blake3;
        let error =
            receive_ranges(&mut connection, disk, &mut receiver, expected.clone(), blake3, &mut |_, _| true)
                .unwrap_err();
        assert_eq!(error.refusal(), Some(Refusal::new(Code::Mismatch, message)));
        assert_eq!(receiver.missing(), expected);
        assert!(disk.0.starts_with(&file.bytes[..1 << 20]), "what was here is untouched");
        connection.drain_body().unwrap();
        assert_in_step(connection);
    }
}

#[test]
fn ranges_that_the_sender_gives_up_mark_no_block_on_either_side() {
    let file = Transfer::of(2 * BLOCK + 5);
    let ranges = file.ranges(&[0, 2]);
    // A whole block and more has left when the source fails.
    let block: Vec<&[u8]> = file.bytes[..1 << 20].chunks(1 << 18).collect();
    let pieces = &[&block[..], &[b"more"]].concat();
    let failing = || Pieces { pieces, then: Some(Refusal::new(Code::Changed, "it grew").into_io()) };
    for (goes_on, code) in [(u64::MAX, Code::Changed), (BLOCK, Code::Cancelled)] {
        let mut sender = file.known_but(&ranges);
        let mut connection = Connection::new(Pipe::silent());
        let (source, watch) = (&mut failing(), &mut |_: &mut Connection<Pipe>, sent| sent < goes_on);
        send_ranges(&mut connection, source, &mut sender, ranges.clone(), Algorithm::Blake3, watch)
            .unwrap_err();
        assert_eq!(sender.missing(), ranges);

        let mut receiver = file.known_but(&ranges);
        let error = file.received(&finished(connection), &ranges, &mut receiver).unwrap_err();
        assert!(matches!(&error, BodyError::Aborted(refusal) if refusal.code == code), "{error}");
        assert_eq!(receiver.missing(), ranges);
    }
}

#[test]
fn ranges_that_cannot_be_written_mark_no_block() {
    let file = Transfer::of(3 * BLOCK);
    let ranges = file.ranges(&[0, 2]);
    let bytes = file.sent(&mut file.known_but(&ranges), &ranges, Algorithm::Blake3);
    let mut receiver = file.known_but(&ranges);
    let mut connection = receiving(&bytes, usize::MAX);
    // There is room for the first range, and for none of the second.
    let disk = &mut Disk(vec![0; 2 << 20]);
    let blake3 = Algorithm::Blake3;
    let error =
        receive_ranges(&mut connection, disk, &mut receiver, ranges.clone(), blake3, &mut |_, _| true)
            .unwrap_err();
    assert!(matches!(error, BodyError::Sink(_)), "{error}");
    assert_eq!(receiver.missing(), ranges);
    connection.drain_body().unwrap();
    assert_in_step(connection);
}

/// A receiver that has something of a file: damaged here and there, and maybe not to its end.
#[derive(Debug)]
struct Damage {
    /// The size of the file on the side of the sender.
    size: u64,
    block: u64,
    /// How many bytes of it the receiver has.
    here: u64,
    /// Where its bytes are wrong, and how.
    flips: Vec<(u64, u8)>,
    /// How many bytes of digests the sender tells.
    told: usize,
}

fn damage() -> impl Strategy<Value = Damage> {
    let size = prop_oneof![
        BLOCK + 1..=6 * BLOCK,
        (1..6_u64, 0..3_u64).prop_map(|(blocks, more)| (blocks * BLOCK + more).max(BLOCK + 2) - 1),
    ];
    (size, prop_oneof![3 => Just(BLOCK), 1 => Just(2 * BLOCK)]).prop_flat_map(|(size, block)| {
        // A file of no more than one block has none.
        let block = if size > block { block } else { BLOCK };
        let here =
            prop_oneof![3 => Just(size), 1 => 0..=size, 1 => (0..=size / block).prop_map(move |n| n * block)];
        let flips = vec((0..size, 1..=u8::MAX), 0..4);
        let told = prop_oneof![3 => Just(7 * BLOCK_DIGEST), 1 => 0..7 * BLOCK_DIGEST];
        (here, flips, told).prop_map(move |(here, flips, told)| Damage { size, block, here, flips, told })
    })
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn exactly_the_undamaged_blocks_are_kept_and_the_others_complete_the_file(damage in damage()) {
        let Damage { size, block, here, flips, told } = damage;
        let file = Transfer { blocks: Blocks::new(size, block).unwrap(), ..Transfer::of(size) };
        let mut disk = Disk(file.bytes.to_vec());
        for (at, flip) in flips.into_iter().filter(|(at, _)| *at < here) {
            disk.0[usize::try_from(at).unwrap()] ^= flip;
        }
        let here = &disk.0[..usize::try_from(here).unwrap()];
        let mut receiver = Assembly::of(&mut &*here, file.blocks, &Meter::default()).unwrap();

        let mut digests = file.known_but(&[]).to_bytes();
        digests.truncate(told);
        let undamaged = |index: &usize| {
            let Range { start, end } = file.blocks.range(*index);
            let block = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
            here.get(block.clone()) == Some(&file.bytes[block]) && *index < digests.len() / BLOCK_DIGEST
        };
        let missing: Vec<usize> = (0..file.blocks.count()).filter(|index| !undamaged(index)).collect();
        receiver.prove_all(&digests);
        let ranges = file.ranges(&missing);
        prop_assert_eq!(receiver.missing(), &ranges[..]);
        prop_assert_eq!(receiver.verified().is_some(), ranges.is_empty());

        let bytes = file.sent(&mut file.known_but(&ranges), &ranges, Algorithm::Blake3);
        let connection = &mut receiving(&bytes, usize::MAX);
        let blake3 = Algorithm::Blake3;
        let told = receive_ranges(connection, &mut disk, &mut receiver, ranges, blake3, &mut |_, _| true);
        let whole = blake3.digest(file.bytes);
        prop_assert_eq!(told.unwrap(), Some(whole));
        prop_assert_eq!(receiver.verified().unwrap().digest(), whole);
        prop_assert_eq!(receiver.present(), size);
        prop_assert!(disk.0 == file.bytes);
    }
}

/// A file on its way, and how it is cut.
struct Transfer {
    bytes: &'static [u8],
    blocks: Blocks,
}

impl Transfer {
    fn of(size: u64) -> Self {
        Self { bytes: &noise()[..usize::try_from(size).unwrap()], blocks: Blocks::of(size).unwrap() }
    }

    fn size(&self) -> u64 {
        self.blocks.size()
    }

    /// The ranges that these blocks are, each as long as it can be.
    fn ranges(&self, blocks: &[usize]) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = vec![];
        for range in blocks.iter().map(|index| self.blocks.range(*index)) {
            match ranges.last_mut().filter(|last| last.end == range.start) {
                Some(last) => last.end = range.end,
                None => ranges.push(range),
            }
        }
        ranges
    }

    /// What an end knows that has all of the file but `ranges`.
    fn known_but(&self, ranges: &[Range<u64>]) -> Assembly {
        let mut assembly = Assembly::of(&mut &*self.bytes, self.blocks, &Meter::default()).unwrap();
        ranges.iter().for_each(|range| assembly.forget(range));
        assembly
    }

    /// The bytes of a body of `ranges`, and of the message behind it.
    fn sent(&self, sender: &mut Assembly, ranges: &[Range<u64>], algorithm: Algorithm) -> Vec<u8> {
        let mut connection = Connection::new(Pipe::silent());
        let source = &mut &Disk::gathered(self.bytes, ranges)[..];
        let sent = send_ranges(&mut connection, source, sender, ranges.to_vec(), algorithm, &mut |_, _| true);
        assert_eq!(sent.unwrap().length, ranges.iter().map(|range| range.end - range.start).sum::<u64>());
        finished(connection)
    }

    /// Receives `bytes` as the body of `ranges`.
    fn received(
        &self,
        bytes: &[u8],
        ranges: &[Range<u64>],
        receiver: &mut Assembly,
    ) -> Result<Option<Digest>, BodyError> {
        let mut disk = Disk::without(self.bytes, ranges);
        let (mut connection, blake3) = (receiving(bytes, usize::MAX), Algorithm::Blake3);
        receive_ranges(&mut connection, &mut disk, receiver, ranges.to_vec(), blake3, &mut |_, _| true)
    }
}

/// The last block of a file of a block and 5 bytes, alone.
#[derive(Default)]
struct LastBlock([u8; 5]);

impl WriteAt for LastBlock {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset - BLOCK).unwrap();
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// Bytes without a pattern that a mistake in their order could hide in: enough for the largest file here.
fn noise() -> &'static [u8] {
    static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 1_u64;
        let word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        std::iter::repeat_with(word).take(6 << 18).flat_map(u32::to_le_bytes).collect()
    });
    &NOISE
}
