//! What is moved: files and trees that are the same in every run on every machine, made from one seed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use fastrand::Rng;

const SEED: u64 = 20_261_121;

const MIB: u64 = 1024 * 1024;

/// How large the mixed tree is, in all.
const MIXED_BYTES: f64 = 385e6;

/// A file or a directory to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// One file of 1 GiB.
    Giant,
    /// One file of 200 MiB: two seconds of a link of 1 Gbit/s.
    Medium,
    /// 10,000 files of 4 KiB in one directory.
    Small,
    /// 1,000 files of 4 KiB in one directory.
    Thousand,
    /// 3,000 files in 20 directories, most of them small, a few of megabytes, as in a home directory.
    Mixed,
    /// One file of 200 MiB, and 2,000 of 4 KiB beside it.
    Uneven,
    /// 100,000 names, to list.
    Many,
    /// Ten names, to list.
    Ten,
}

impl Data {
    /// Its name in the served directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Giant => "giant",
            Self::Medium => "medium",
            Self::Small => "small",
            Self::Thousand => "thousand",
            Self::Mixed => "mixed",
            Self::Uneven => "uneven",
            Self::Many => "many",
            Self::Ten => "ten",
        }
    }

    /// Whether it is a directory.
    pub fn is_tree(self) -> bool {
        !matches!(self, Self::Giant | Self::Medium)
    }

    /// How many files there are.
    pub fn files(self, scale: f64) -> usize {
        let whole = match self {
            Self::Giant | Self::Medium => return 1,
            Self::Ten => return 10,
            Self::Small => 10_000.0,
            Self::Thousand => 1_000.0,
            Self::Mixed => 3_000.0,
            Self::Uneven => 2_000.0,
            Self::Many => 100_000.0,
        };
        ((whole * scale) as usize).max(1)
    }

    /// Makes it in `dir`, or that part of it which `scale` tells.
    pub fn make(self, dir: &Path, scale: f64) -> io::Result<()> {
        let mut rng = Rng::with_seed(SEED + self as u64);
        let top = dir.join(self.name());
        let files = self.files(scale);
        match self {
            Self::Giant => fill(&top, (1024.0 * scale * MIB as f64) as u64, &mut rng),
            Self::Medium => fill(&top, (200.0 * scale * MIB as f64) as u64, &mut rng),
            Self::Small | Self::Thousand => tree(&top, 1, &vec![4096; files], &mut rng),
            Self::Mixed => tree(&top, 20, &mixed(files, MIXED_BYTES * scale, &mut rng), &mut rng),
            Self::Uneven => {
                tree(&top, 1, &vec![4096; files], &mut rng)?;
                fill(&top.join("large"), (200.0 * scale * MIB as f64) as u64, &mut rng)
            }
            Self::Many => tree(&top, 1, &vec![0; files], &mut rng),
            Self::Ten => tree(&top, 1, &vec![100; files], &mut rng),
        }
    }
}

/// Files of these sizes, in turn in so many directories; in `top` itself where that is one.
fn tree(top: &Path, dirs: usize, sizes: &[u64], rng: &mut Rng) -> io::Result<()> {
    for (at, size) in sizes.iter().enumerate() {
        let dir = if dirs == 1 { top.to_owned() } else { top.join(format!("d{:02}", at % dirs)) };
        if at < dirs {
            fs::create_dir_all(&dir)?;
        }
        fill(&dir.join(format!("file-{at:06}")), *size, rng)?;
    }
    Ok(())
}

fn fill(path: &Path, mut size: u64, rng: &mut Rng) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut block = vec![0; size.min(MIB) as usize];
    while size > 0 {
        let now = size.min(MIB) as usize;
        rng.fill(&mut block[..now]);
        file.write_all(&block[..now])?;
        size -= now as u64;
    }
    Ok(())
}

/// So many sizes that are `total` in all: log-normal, as sizes of files are, with a median of 13 KB before they are
/// brought to the total.
fn mixed(files: usize, total: f64, rng: &mut Rng) -> Vec<u64> {
    let drawn: Vec<f64> = (0..files)
        .map(|_| {
            // Twelve uniform numbers are as good as normal.
            let normal = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
            (9.5 + 2.0 * normal).exp().min(8e6)
        })
        .collect();
    let sum: f64 = drawn.iter().sum();
    drawn.iter().map(|size| (size * total / sum) as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_sizes_are_the_same_each_time_and_have_the_total() {
        let [one, other] = [0, 1].map(|_| mixed(300, 1e7, &mut Rng::with_seed(SEED)));
        assert_eq!(one, other);
        let sum: u64 = one.iter().sum();
        assert!((9_999_000..=10_000_000).contains(&sum), "{sum}");
    }

    #[test]
    fn a_part_of_the_data_has_a_part_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        Data::Mixed.make(dir.path(), 0.01).unwrap();
        let dirs = fs::read_dir(dir.path().join("mixed")).unwrap();
        let files: usize = dirs.map(|dir| fs::read_dir(dir.unwrap().path()).unwrap().count()).sum();
        assert_eq!(files, 30);
    }
}
