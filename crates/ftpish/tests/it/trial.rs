//! A file on trial: what it is to become, what its name holds before, and what must hold whatever happened.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};

use crate::disk::Disk;
use crate::harness::{Outcome, PATIENCE, Server, World, dress, names};
use crate::relay::{Relay, Toward};

/// What the protocol calls a block in files of these sizes.
pub const BLOCK: u64 = 1 << 20;

/// What may travel beside a file's bytes: a TLS handshake, messages, some digests.
pub const TALK: u64 = 16 * 1024;

/// The digest of a block, and what goes along with it.
const DIGEST: u64 = 40;

/// For how many bytes of a file one more travels: the lengths and proofs of chunks and of TLS records.
const FRAMING: u64 = 500;

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Get,
    Put,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Get, Self::Put];

    pub fn verb(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
        }
    }

    /// The directory that it goes to, in a world.
    pub fn to(self) -> &'static str {
        match self {
            Self::Get => "here",
            Self::Put => "root",
        }
    }

    /// Where its bytes go.
    pub fn onward(self) -> Toward {
        match self {
            Self::Get => Toward::Client,
            Self::Put => Toward::Server,
        }
    }

    /// Where only requests, or replies, go.
    pub fn backward(self) -> Toward {
        match self {
            Self::Get => Toward::Server,
            Self::Put => Toward::Client,
        }
    }
}

/// A file named `big` that is to go one way, and the other that has its name there.
pub struct Trial<'w> {
    pub world: &'w World,
    pub way: Way,
    /// What is to come, and when that was last written to: seconds since 1970, and half a second.
    pub new: Vec<u8>,
    pub new_time: u64,
    /// What has the name before, if anything, and its time.
    pub old: Option<Vec<u8>>,
    pub old_time: u64,
    /// Where the server is.
    pub address: String,
    /// What both ends see in place of the directory that the file goes to.
    disk: Option<&'w Disk>,
}

impl<'w> Trial<'w> {
    /// A file of `size` bytes, which is to replace a small one.
    pub fn new(world: &'w World, way: Way, size: u64) -> Self {
        Self::begin(world, way, size, world.server().address.clone(), None)
    }

    /// The same with both ends on a disk of their own.
    pub fn on(disk: &'w Disk, world: &'w World, server: &Server, way: Way, size: u64) -> Self {
        Self::begin(world, way, size, server.address.clone(), Some(disk))
    }

    fn begin(world: &'w World, way: Way, size: u64, address: String, disk: Option<&'w Disk>) -> Self {
        let (new, old) = (content(1, size), Some(content(2, 100_000)));
        let (new_time, old_time) = (1_000_000_000, 900_000_000);
        let trial = Self { world, way, new, new_time, old, old_time, address, disk };
        trial.reset();
        trial
    }

    /// Everything is as it was before the first try.
    pub fn reset(&self) {
        for name in names(&self.dir()) {
            fs::remove_file(self.dir().join(name)).unwrap();
        }
        fs::write(self.source(), &self.new).unwrap();
        dress(&self.source(), 0o640, self.new_time);
        if let Some(old) = &self.old {
            fs::write(self.target(), old).unwrap();
            dress(&self.target(), 0o600, self.old_time);
        }
    }

    pub fn size(&self) -> u64 {
        self.new.len() as u64
    }

    pub fn source(&self) -> PathBuf {
        match self.way {
            Way::Get => self.world.root("big"),
            Way::Put => self.world.here("big"),
        }
    }

    /// The directory where the file is to be.
    pub fn dir(&self) -> PathBuf {
        let dir = self.world.path(self.way.to());
        match self.disk {
            Some(disk) => disk.path(&dir),
            None => dir,
        }
    }

    pub fn target(&self) -> PathBuf {
        self.dir().join("big")
    }

    /// Moves the file, through a relay.
    #[track_caller]
    pub fn run(&self, relay: &Relay, flags: &str) -> Outcome {
        let mut command = assert_cmd::Command::from_std(self.command(relay, flags));
        command.timeout(PATIENCE);
        let told = format!("{command:?}");
        self.world.outcome(&told, command.output().unwrap())
    }

    /// Begins to move the file, through a relay.
    pub fn spawn(&self, relay: &Relay, flags: &str) -> Child {
        let mut command = self.command(relay, flags);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.world.tell(&format!("{command:?} &\n"));
        command.spawn().unwrap()
    }

    pub fn command(&self, relay: &Relay, flags: &str) -> Command {
        // Only kill -9 is at stake here, and not the power.
        let sync = if self.way == Way::Get { "--no-sync" } else { "" };
        let line = format!("{} -q {sync} big {flags}", self.way.verb());
        let command = self.world.client_of(&relay.address).command(line.split_whitespace());
        match self.disk {
            Some(disk) => disk.inside(&command),
            None => command,
        }
    }

    /// The name holds its old content or its new content, whole. Tells whether it is the new.
    #[track_caller]
    pub fn is_done(&self) -> bool {
        let content = fs::read(self.target()).ok();
        let (is_new, is_old) = (content.as_ref() == Some(&self.new), content == self.old);
        assert!(is_new || is_old, "neither old nor new: {:?} bytes", content.map(|content| content.len()));
        is_new
    }

    /// How many bytes lie in blocks that are not at the receiver yet, neither under the name nor beside it.
    #[track_caller]
    pub fn missing(&self) -> u64 {
        if self.is_done() {
            return 0;
        }
        let missing = |name: String| {
            // One that is gone was committed.
            let partial = fs::read(self.dir().join(name)).unwrap_or_else(|_| self.new.clone());
            let blocks = self.new.chunks(BLOCK as usize).enumerate();
            let wrong = blocks.filter(|(index, block)| {
                let start = index * BLOCK as usize;
                partial.get(start..start + block.len()) != Some(*block)
            });
            wrong.map(|(_, block)| block.len() as u64).sum::<u64>()
        };
        self.partials().into_iter().map(missing).min().unwrap_or(self.size())
    }

    /// How many bytes lie in no whole block, at the most, when these many came through before the connection broke:
    /// those behind them, the block that they end in, and what was on its way to it.
    pub fn missing_after(&self, passed: u64) -> u64 {
        self.size().min(self.size().saturating_sub(passed) + 2 * BLOCK)
    }

    /// One more invocation ends with the new content, verified, with nothing left beside it; it has moved at most
    /// `missing` bytes of it. Tells how many bytes moved.
    #[track_caller]
    pub fn completes(&self, missing: u64) -> u64 {
        self.completes_with("", missing)
    }

    #[track_caller]
    pub fn completes_with(&self, flags: &str, missing: u64) -> u64 {
        let relay = Relay::harmless(&self.address);
        self.run(&relay, &format!("--retries 0 {flags}")).ok();
        assert!(self.is_done(), "done, and the old content is there");
        assert_eq!(names(&self.dir()), ["big"], "nothing is left beside the file");
        let (onward, backward) = (relay.passed(self.way.onward()), relay.passed(self.way.backward()));
        let (size, talk) = (self.size(), TALK + self.size() / BLOCK * DIGEST);
        let most = missing + missing / FRAMING + talk;
        assert!(onward <= most, "{onward} bytes moved, where {missing} of {size} were missing");
        assert!(backward <= talk, "{backward} bytes moved the other way");
        assert_eq!(relay.connections(), 1);
        onward
    }

    /// Waits until nobody is at the partial file any more: a server notices a moment later than its client.
    #[track_caller]
    pub fn settle(&self) {
        let is_free = |name: &String| {
            let partial = File::open(self.dir().join(name));
            // One that is gone was committed.
            partial.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
        };
        eventually(|| self.partials().iter().all(is_free));
    }

    /// Changes one bit of a file at the receiver.
    pub fn flip(&self, name: &str, at: u64) {
        let path = self.dir().join(name);
        let before = path.metadata().unwrap().modified().unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        file.set_modified(before).unwrap();
    }

    /// The name of the partial file that is there.
    #[track_caller]
    pub fn partial(&self) -> String {
        let mut partials = self.partials();
        assert_eq!(partials.len(), 1, "{partials:?}");
        partials.remove(0)
    }

    pub fn partials(&self) -> Vec<String> {
        let mut names = names(&self.dir());
        names.retain(|name| name.starts_with(".ftpish-"));
        names
    }
}

/// Looks again and again, until it is so.
#[track_caller]
pub fn eventually(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never was so");
        std::thread::yield_now();
    }
}

/// Bytes that do not repeat, others for each seed.
pub fn content(seed: u64, length: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let length = usize::try_from(length).unwrap();
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
