//! A file in parts, each by itself: what proves a part is its chaining value, and all parts merge into the ordinary
//! digest of the whole.
#![allow(clippy::unwrap_used, reason = "this is how a test fails")]

#[allow(dead_code, reason = "other tests use the rest")]
mod disk;
#[allow(dead_code, reason = "other tests use the rest")]
mod pipe;

use std::ops::Range;

use disk::Disk;
use ftpish_protocol::blocks::{Assembly, Blocks, MIN_BLOCK, is_subtree};
use ftpish_protocol::*;
use pipe::Pipe;

const BLOCK: u64 = MIN_BLOCK;

fn noise(size: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..size).map(step).collect()
}

fn of<'a>(bytes: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

/// What one end sends.
fn sent(send: impl FnOnce(&mut Connection<Pipe>)) -> Vec<u8> {
    let mut connection = Connection::new(Pipe::new(b"", usize::MAX));
    send(&mut connection);
    connection.flush().unwrap();
    std::mem::take(&mut connection.stream().written)
}

#[track_caller]
fn receive(
    bytes: &[u8],
    disk: &mut Disk,
    blocks: Blocks,
    part: &Range<u64>,
) -> Result<blocks::Part, BodyError> {
    let mut connection = Connection::new(Pipe::new(bytes, 70_001));
    connection.begin_body();
    receive_part(&mut connection, disk, blocks, part.clone(), &mut |_, _| true)
}

#[test]
fn parts_of_any_size_merge_into_the_digest_of_the_whole() {
    for size in [BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 5, 5 * BLOCK, 8 * BLOCK, 9 * BLOCK - 1] {
        let (bytes, blocks) = (noise(size), Blocks::of(size).unwrap());
        for most in [BLOCK, 2 * BLOCK, 4 * BLOCK].into_iter().filter(|most| *most < size) {
            let parts = blocks.subtrees(&(0..size), most);
            let (mut there, mut here) = (Assembly::new(blocks), Assembly::new(blocks));
            let mut disk = Disk(vec![0; bytes.len()]);
            // The last come first: each is by itself.
            for (index, part) in parts.iter().enumerate().rev() {
                let body = sent(|connection| match index % 2 {
                    0 => {
                        send_subtree(connection, &mut of(&bytes, part), part.start, &mut |_, _| true)
                            .unwrap();
                    }
                    _ => {
                        let source = &mut of(&bytes, part);
                        send_part(connection, source, blocks, part.clone(), &mut |_, _| true).unwrap();
                    }
                });
                sent(|connection| {
                    let source = &mut of(&bytes, part);
                    let (_, digests) =
                        send_part(connection, source, blocks, part.clone(), &mut |_, _| true).unwrap();
                    digests.into_iter().for_each(|(index, digest)| there.note(index, digest));
                });
                here.join(receive(&body, &mut disk, blocks, part).unwrap());
            }
            let whole = Algorithm::Blake3.digest(&bytes);
            assert_eq!(here.verified().unwrap().digest(), whole, "{size} by {most}");
            assert_eq!(there.digest(), Some(whole), "the sender knows it, too");
            assert!(disk.0 == bytes);
        }
    }
}

#[test]
fn what_is_cut_into_subtrees_is_all_there_and_of_subtrees() {
    for size in [2, 3, 5, 8, 13].map(|n| n * BLOCK).into_iter().flat_map(|n| [n - 1, n, n + 1]) {
        let blocks = Blocks::of(size).unwrap();
        let ends = (0..=blocks.count() as u64).map(|n| (n * BLOCK).min(size)).collect::<Vec<_>>();
        for (start, end) in ends.iter().flat_map(|start| ends.iter().map(move |end| (*start, *end))) {
            for most in [BLOCK, 2 * BLOCK, 4 * BLOCK].into_iter().filter(|most| *most < size && start < end) {
                let parts = blocks.subtrees(&(start..end), most);
                assert!(parts.iter().all(|part| is_subtree(part, size) && part.end - part.start <= most));
                assert!(parts.is_sorted_by(|a, b| a.end == b.start));
                assert_eq!((parts[0].start, parts[parts.len() - 1].end), (start, end));
            }
        }
    }
}

#[test]
fn only_subtrees_are_subtrees() {
    let size = 10 * 1024 + 1;
    for part in [0..1024, 1024..2048, 0..8192, 8192..size, 10 * 1024..size] {
        assert!(is_subtree(&part, size), "{part:?}");
    }
    #[allow(clippy::reversed_empty_ranges, reason = "a peer may send any")]
    for part in
        [0..size, 0..0, 0..1, 512..1024, 1024..3072, 0..8193, 4096..size, 8192..size + 1, 5..4, 0..u64::MAX]
    {
        assert!(!is_subtree(&part, size), "{part:?}");
    }
    assert!(!is_subtree(&(0..u64::MAX - 1), u64::MAX) && is_subtree(&(0..1 << 63), u64::MAX));
}

#[test]
fn a_part_that_is_damaged_or_short_or_from_elsewhere_is_not_kept() {
    let size = 3 * BLOCK + 5;
    let (bytes, blocks) = (noise(size), Blocks::of(size).unwrap());
    let part = 2 * BLOCK..size;
    let send = |source: &[u8], offset| {
        sent(|connection| {
            send_subtree(connection, &mut &source[..], offset, &mut |_, _| true).unwrap();
        })
    };
    let right = send(of(&bytes, &part), part.start);
    let check = |body: &[u8], is_right: bool| {
        let received = receive(body, &mut Disk(vec![0; bytes.len()]), blocks, &part);
        assert_eq!(received.is_ok(), is_right, "{received:?}");
    };
    check(&right, true);
    for at in [4, 100_000, right.len() / 2, right.len() - 150] {
        let mut flipped = right.clone();
        flipped[at] ^= 1;
        check(&flipped, false);
    }
    check(&right[..right.len() / 2], false);
    check(&send(of(&bytes, &(2 * BLOCK..size - 1)), part.start), false);
    // The same bytes in another place of a file are another part.
    check(&send(of(&bytes, &part), 0), false);
    let whole = sent(|connection| {
        send_body(connection, &mut of(&bytes, &part), Algorithm::Blake3, &mut |_, _| true).unwrap();
    });
    check(&whole, false);
}
