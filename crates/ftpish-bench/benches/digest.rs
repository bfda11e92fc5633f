//! Digests: what verifying costs, for a small file and for the block that bodies are hashed by.

use divan::counter::BytesCount;
use ftpish_protocol::Algorithm;

const SIZES: [usize; 2] = [4096, 256 * 1024];

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn blake3(bencher: divan::Bencher<'_, '_>, size: usize) {
    digest(bencher, size, Algorithm::Blake3);
}

#[divan::bench(args = SIZES)]
fn sha256(bencher: divan::Bencher<'_, '_>, size: usize) {
    digest(bencher, size, Algorithm::Sha256);
}

#[divan::bench(args = SIZES)]
fn md5(bencher: divan::Bencher<'_, '_>, size: usize) {
    digest(bencher, size, Algorithm::Md5);
}

fn digest(bencher: divan::Bencher<'_, '_>, size: usize, algorithm: Algorithm) {
    let data = vec![7; size];
    bencher.counter(BytesCount::new(size)).bench(|| algorithm.digest(divan::black_box(&data)));
}
