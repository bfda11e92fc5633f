//! Files that somebody writes to at their end while they move, as to a log: what they had when they were opened moves,
//! whole and verified.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use ftpish_protocol::Algorithm;

use crate::harness::{World, noise};
use crate::relay::{Harm, Relay};
use crate::trial::Way;

/// From how many bytes on a file moves over several connections, or is taken up where it broke off.
const LARGE: usize = 33 << 20;

/// The most that is written behind that: more than is written while a test runs.
const MOST: usize = 64 << 20;

/// Somebody who writes to a file's end, again and again.
struct Writer {
    path: PathBuf,
    before: usize,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(path: PathBuf, before: usize) -> Self {
        fs::write(&path, noise(before)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (mut log, stop) = (File::options().append(true).open(&path).unwrap(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            for line in 0.. {
                if stop.load(Ordering::Relaxed) || line * 64 > MOST {
                    return;
                }
                log.write_all(format!("{line:063}\n").as_bytes()).unwrap();
            }
        });
        Self { path, before, over, thread: Some(thread) }
    }

    /// Whether this is what the file had at some moment.
    #[track_caller]
    fn assert_had(&self, stored: &[u8], what: &str) {
        let now = fs::read(&self.path).unwrap();
        assert!(stored.len() >= self.before, "{what}: {} of {} bytes", stored.len(), self.before);
        assert!(now.starts_with(stored), "{what} was never in the file");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Every way in which a file moves, if it was put.
const LINES: [(&str, &str); 8] = [
    ("put log one", "one"),
    ("put log other dir/", "dir/log"),
    ("put --digest md5 log md5", "md5"),
    ("put -j 2 log several", "several"),
    ("put --repair log repaired", "repaired"),
    ("put -r tree there", "there/log"),
    ("put -r -j 3 tree three", "three/log"),
    ("sync -c tree :synced", "synced/log"),
];

fn line(way: Way, line: &str) -> String {
    match way {
        Way::Put => line.to_owned(),
        Way::Get => line.replace("put", "get").replace("tree :synced", ":tree synced"),
    }
}

#[test]
fn a_file_that_grows_moves_with_what_it_had() {
    for (way, size) in [(Way::Put, 5000), (Way::Put, LARGE), (Way::Get, 5000), (Way::Get, LARGE)] {
        let world = World::plaintext();
        let (from, to) = match way {
            Way::Put => (world.here(""), world.root("")),
            Way::Get => (world.root(""), world.here("")),
        };
        fs::create_dir(from.join("tree")).unwrap();
        fs::create_dir(to.join("dir")).unwrap();
        fs::write(from.join("other"), "other").unwrap();
        fs::write(to.join("repaired"), noise(size / 2)).unwrap();
        let writer = Writer::start(from.join("log"), size);
        fs::hard_link(from.join("log"), from.join("tree/log")).unwrap();
        for (words, name) in LINES {
            let words = line(way, words);
            world.run(&words).ok();
            writer.assert_had(&fs::read(to.join(name)).unwrap(), &words);
        }
        if way == Way::Get {
            writer.assert_had(&world.run("cat log").ok().stdout, "cat");
            let hashed = world.run("hash log").ok().text;
            let is_of =
                |size: &usize| hashed.starts_with(&Algorithm::Blake3.digest(&has(&writer, *size)).hex());
            let written = fs::metadata(&writer.path).unwrap().len() as usize;
            // Too many to try them all where much was written.
            let mut sizes = (size..=written).step_by(64).take(1000);
            assert!(written - size > 64_000 || sizes.any(|size| is_of(&size)), "{hashed}");
        }
    }
}

/// The first bytes of the file.
fn has(writer: &Writer, size: usize) -> Vec<u8> {
    fs::read(&writer.path).unwrap()[..size].to_vec()
}

/// What came before the connection broke is of no use where the file has grown, and in no way either.
#[test]
fn a_file_that_grows_and_breaks_off_moves_in_the_end() {
    for way in Way::BOTH {
        let world = World::plaintext();
        let (from, to) = match way {
            Way::Put => (world.here("log"), world.root("log")),
            Way::Get => (world.root("log"), world.here("log")),
        };
        let writer = Writer::start(from, LARGE);
        for jobs in ["-j 1", "-j 2"] {
            let cut = Relay::to(&world.server().address, way.onward(), 9_000_000, Harm::Cut);
            world.client_of(&cut.address).run(&format!("{} log {jobs} --retry-wait 0.01", way.verb())).ok();
            writer.assert_had(&fs::read(&to).unwrap(), jobs);
        }
    }
}
