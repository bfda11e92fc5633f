//! Digests: what verifying costs.

use divan::counter::BytesCount;
use ftpish_protocol::Algorithm;

fn main() {
    divan::main();
}

/// A small file, and the block that bodies are hashed by.
#[divan::bench(args = [4096, 256 * 1024], consts = [0, 1, 2])]
fn digest<const ALGORITHM: usize>(bencher: divan::Bencher<'_, '_>, size: usize) {
    let data = vec![7; size];
    let algorithm = Algorithm::ALL[ALGORITHM];
    bencher.counter(BytesCount::new(size)).bench(|| algorithm.digest(divan::black_box(&data)));
}
