//! A world of its own for each test: a served directory, a local one, a state directory for each end, the real
//! server on a port that the system chose, and the real client. A test that fails prints every command with its
//! output, the directory tree and the server's log.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::disk::Disk;
use ftpish_protocol::text::escape;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything is waited for that must come. Reached only where a test fails.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What happened so far.
#[derive(Clone, Default)]
pub struct Story(Rc<RefCell<String>>);

impl Story {
    pub fn tell(&self, text: &str) {
        self.0.borrow_mut().push_str(text);
    }
}

/// A served directory `root`, a local one `here`, and mostly a server.
pub struct World {
    server: Option<Server>,
    story: Story,
    scratch: TempDir,
}

impl World {
    /// Directories, and no server.
    pub fn empty() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        for dir in ["root", "here", "home"] {
            fs::create_dir(scratch.path().join(dir)).unwrap();
        }
        Self { server: None, story: Story::default(), scratch }
    }

    /// A server as it is by default: encrypted, to read and write.
    pub fn new() -> Self {
        Self::serving("")
    }

    /// A server in the clear.
    pub fn plaintext() -> Self {
        Self::serving("--plaintext")
    }

    /// A server that was started with more flags. It does not wait for the disk, unless a test looks at that.
    pub fn serving(flags: &str) -> Self {
        Self::serving_on("127.0.0.1:0", &format!("--no-sync {flags}"))
    }

    /// A server that listens somewhere; `{}` in `address` is the scratch directory.
    pub fn serving_on(address: &str, flags: &str) -> Self {
        let mut world = Self::empty();
        let address = address.replace("{}", &world.scratch.path().display().to_string());
        world.server = Some(world.start(&address, flags));
        world
    }

    /// Starts another server over the same root, with the same key.
    pub fn start(&self, address: &str, flags: &str) -> Server {
        Server::start(self.serve_command(&format!("--listen {address} {flags}")), self.path("server.log"))
    }

    /// A world whose server logs all it can to something else than a file.
    pub fn logging_to(log: impl Into<Stdio>) -> Self {
        let mut world = Self::empty();
        let command = world.serve_command("--listen 127.0.0.1:0 --plaintext --no-sync --verbose");
        world.server = Some(Server::logging_to(command, log));
        world
    }

    /// `ftpish serve root`, not yet started.
    pub fn serve_command(&self, flags: &str) -> Command {
        let mut command = self.command();
        command.args(["serve", "root", "--state-dir", "server-state"]).args(flags.split_whitespace());
        command.current_dir(&self.scratch);
        command
    }

    /// The binary, in `here`, with an environment that says nothing about ftpish.
    pub fn command(&self) -> Command {
        self.program(assert_cmd::cargo::cargo_bin!("ftpish"))
    }

    /// Another program, in the same place and environment.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"FTPISH_")
                || name == "XDG_STATE_HOME"
                || name == "NO_COLOR"
            {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.path("home")).env("TZ", "UTC").current_dir(self.path("here"));
        // How fast this machine is at the moment is not for a test to depend on.
        command.env("FTPISH_JOBS", "1");
        command
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("this world has a server")
    }

    /// Runs `ftpish serve` where it is not to start.
    #[track_caller]
    pub fn serve_in_vain(&self, flags: &str) -> Outcome {
        let mut command = assert_cmd::Command::from_std(self.serve_command(flags));
        command.timeout(PATIENCE);
        let told = format!("{command:?}");
        let output = command.output().unwrap();
        self.outcome(&told, output)
    }

    /// Starts the server again, after [`stop`](Self::stop).
    pub fn restart(&mut self, address: &str) {
        self.server = Some(self.start(address, ""));
    }

    /// Ends the server: it finishes what it is at first.
    pub fn stop(&mut self) -> ExitStatus {
        self.server.take().expect("this world has a server").stop(Signal::TERM)
    }

    /// A client that trusts the server.
    pub fn client(&self) -> Client<'_> {
        self.client_of(&self.server().address)
    }

    /// A client that trusts the server, and reaches it somewhere else: through a relay.
    pub fn client_of(&self, address: &str) -> Client<'_> {
        let trust = match &self.server().key {
            Some(key) => vec!["--host-key".into(), key.into()],
            None => vec!["--plaintext".into()],
        };
        self.stranger_to(address).flags(trust)
    }

    /// A client that was never told the server's key.
    pub fn stranger(&self) -> Client<'_> {
        self.stranger_to(&self.server().address)
    }

    pub fn stranger_to(&self, address: &str) -> Client<'_> {
        self.newcomer().flags(["--server".into(), address.into()])
    }

    /// A client that was told nothing but where its state is.
    pub fn newcomer(&self) -> Client<'_> {
        Client { world: self, flags: vec!["--state-dir".into(), self.path("state").into()], env: vec![] }
    }

    /// Runs `ftpish LINE` against the server, words parted by spaces.
    pub fn run(&self, line: &str) -> Outcome {
        self.client().run(line)
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn root(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path("root").join(name)
    }

    pub fn here(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path("here").join(name)
    }

    /// Adds to what is printed if the test fails.
    pub fn tell(&self, text: &str) {
        self.story.tell(text);
    }

    /// Replaces what differs from run to run.
    fn normalised(&self, text: &str) -> String {
        let mut text = text.replace(&self.scratch.path().display().to_string(), "[DIR]");
        if let Some(Server { address, key, .. }) = &self.server {
            text = text.replace(&**address, "[SERVER]");
            text = key.as_ref().map_or(text.clone(), |key| text.replace(&**key, "[KEY]"));
        }
        let lines = text.split('\n').map(without_times);
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// A line about a finished transfer without its seconds and speed; any other as it is.
fn without_times(line: &str) -> String {
    match line.split("  ").collect::<Vec<_>>()[..] {
        [name, size, _seconds, _speed, verified] if verified.starts_with("verified ") => {
            format!("{name}  {size}  [SECONDS]  [SPEED]  {verified}")
        }
        _ => line.to_owned(),
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read(self.path("server.log")).unwrap_or_default();
            eprintln!("{}", self.story.0.borrow());
            eprintln!("in {}:\n{}", self.scratch.path().display(), tree(self.scratch.path()));
            eprintln!("the server's log:\n{}", log.escape_ascii().to_string().replace("\\n", "\n"));
        }
    }
}

/// The same command, in a process that may take so much: options of sh's `ulimit`.
pub fn limited(command: &Command, limit: &str) -> Command {
    after(command, &format!("ulimit {limit}"))
}

/// The same command, in a process with this umask.
pub fn with_umask(command: &Command, umask: &str) -> Command {
    after(command, &format!("umask {umask}"))
}

/// The same command, after what sh(1) does to its process.
fn after(command: &Command, shell: &str) -> Command {
    let mut after = Command::new("sh");
    after.arg("-c").arg(format!("{shell}; exec \"$0\" \"$@\""));
    after.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => after.env(name, value),
            None => after.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        after.current_dir(dir);
    }
    after
}

/// What is in a directory, down to the bottom.
pub fn tree(dir: &Path) -> String {
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(dir).min_depth(1).sort_by_file_name().into_iter().flatten() {
        let indent = "  ".repeat(entry.depth());
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        let kind = if entry.file_type().is_dir() { "/" } else { "" };
        let name = escape(entry.file_name().as_encoded_bytes());
        lines.push(format!("{indent}{name}{kind}  {size}"));
    }
    lines.join("\n")
}

/// The names in a directory, sorted, without the partial files that are kept to be resumed.
pub fn visible(dir: &Path) -> Vec<String> {
    let mut names = names(dir);
    names.retain(|name| !ftpish_storage::is_partial(name.as_bytes()));
    names
}

/// The names in a directory, sorted; partial files too.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Bytes that do not repeat.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// Makes a file that is larger than what sockets hold on the way, so that its sender is in the middle of it when a
/// relay stalls. It takes no room.
pub fn vast(path: &Path) {
    File::create(path).unwrap().set_len(64 << 20).unwrap();
}

/// Gives a file its permission bits, and a time: seconds since 1970, and half a second.
pub fn dress(path: &Path, mode: u32, seconds: u64) {
    let file = File::open(path).unwrap();
    file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
    file.set_modified(time(seconds)).unwrap();
}

pub fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 500)
}

/// Whether a program is there; says so where it is not, and the test is skipped.
pub fn is_installed(program: &str) -> bool {
    // Not all know the option, but all come back from it.
    let there = Command::new(program).arg("--version").stdin(Stdio::null()).output().is_ok();
    if !there {
        skip(format_args!("{program} is not installed"));
    }
    there
}

/// Says that a test cannot show here what it is for: past the harness, which keeps what passing tests print.
pub fn skip(why: impl std::fmt::Display) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Someone at the command line: where from, and the flags before every command.
#[derive(Clone)]
pub struct Client<'w> {
    world: &'w World,
    flags: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
}

impl Client<'_> {
    /// Where to tell what happens.
    pub fn story(&self) -> Story {
        self.world.story.clone()
    }

    pub fn flags(mut self, flags: impl IntoIterator<Item = OsString>) -> Self {
        self.flags.extend(flags);
        self
    }

    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// The command, not yet run: for a test that ends it, or gives it a terminal.
    pub fn command(&self, words: impl IntoIterator<Item: AsRef<OsStr>>) -> Command {
        let mut command = self.world.command();
        command.args(&self.flags).args(words).envs(self.env.iter().cloned());
        command
    }

    /// Runs `ftpish LINE`, words parted by spaces.
    #[track_caller]
    pub fn run(&self, line: &str) -> Outcome {
        self.words(line.split_whitespace(), b"")
    }

    /// Runs `ftpish LINE` with something on its standard input.
    #[track_caller]
    pub fn pipe(&self, stdin: &[u8], line: &str) -> Outcome {
        self.words(line.split_whitespace(), stdin)
    }

    /// Runs `ftpish` with any words.
    #[track_caller]
    pub fn words(&self, words: impl IntoIterator<Item: AsRef<OsStr>>, stdin: &[u8]) -> Outcome {
        self.finish(self.command(words), stdin)
    }

    /// Runs `ftpish LINE` where a disk is seen.
    #[track_caller]
    pub fn run_in(&self, disk: &Disk, line: &str) -> Outcome {
        self.finish(disk.inside(&self.command(line.split_whitespace())), b"")
    }

    #[track_caller]
    fn finish(&self, command: Command, stdin: &[u8]) -> Outcome {
        let mut command = assert_cmd::Command::from_std(command);
        command.write_stdin(stdin).timeout(PATIENCE);
        let told = format!("{command:?}");
        let output = command.output().unwrap();
        self.world.outcome(&told, output)
    }

    /// Starts `ftpish LINE` and leaves it running.
    pub fn spawn(&self, line: &str) -> Child {
        let mut command = self.command(line.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.world.tell(&format!("{command:?} &\n"));
        command.spawn().unwrap()
    }
}

impl World {
    /// What a command left behind.
    pub fn outcome(&self, command: &str, output: std::process::Output) -> Outcome {
        let (stdout, raw_stderr) = (output.stdout, output.stderr);
        let stderr = self.normalised(&String::from_utf8_lossy(&raw_stderr));
        let shown = escape(&stdout[..stdout.len().min(2000)]).to_string().replace("\\n", "\n");
        self.tell(&format!("$ {command}\n{shown}{stderr}[{}]\n\n", output.status));
        let text = self.normalised(&String::from_utf8_lossy(&stdout));
        Outcome { code: output.status.code(), stdout, text, raw_stderr, stderr }
    }

    /// Waits for a command that was [spawned](Client::spawn).
    pub fn wait(&self, child: Child) -> Outcome {
        let output = child.wait_with_output().unwrap();
        self.outcome("(the command above)", output)
    }
}

/// How a command ended, and what it said.
pub struct Outcome {
    pub code: Option<i32>,
    /// The bytes on standard output.
    pub stdout: Vec<u8>,
    /// The same as text, without what differs from run to run.
    pub text: String,
    /// The bytes on standard error.
    pub raw_stderr: Vec<u8>,
    /// The same as text, without what differs from run to run.
    pub stderr: String,
}

impl Outcome {
    /// It did what it was told.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "it said: {}", self.stderr);
        self
    }

    /// It had nothing to say, on either stream.
    #[track_caller]
    pub fn silent(self) -> Self {
        assert_eq!((&*self.text, &*self.stderr), ("", ""));
        self
    }
}

/// A running `ftpish serve`. It is told to end when it is dropped, and then ends with 0.
pub struct Server {
    /// Where it listens first, as `--server` takes it.
    pub address: String,
    /// All the places where it listens.
    pub addresses: Vec<String>,
    /// The fingerprint of its key, unless it serves in the clear.
    pub key: Option<String>,
    /// What it printed when it started.
    pub printed: String,
    child: Child,
    /// Kept open, since a server may print more.
    _stdout: BufReader<ChildStdout>,
    ended: bool,
}

impl Server {
    /// Starts it, and waits until it listens.
    pub fn start(command: Command, log: PathBuf) -> Self {
        Self::logging_to(command, File::options().create(true).append(true).open(log).unwrap())
    }

    /// The same, with something else for its standard error.
    pub fn logging_to(mut command: Command, log: impl Into<Stdio>) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut printed, mut addresses, mut key) = (String::new(), Vec::new(), None);
        while addresses.len() < command.get_args().filter(|word| *word == "--listen").count() {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the server ended: {:?}", child.wait());
            let words: Vec<_> = line.split_whitespace().collect();
            let behind =
                |flag| Some(words.get(words.iter().position(|word| *word == flag)? + 1)?.to_string());
            addresses.extend(behind("--server"));
            key = behind("--host-key");
            printed.push_str(&line);
        }
        let address = addresses[0].clone();
        Self { address, addresses, key, printed, child, _stdout: stdout, ended: false }
    }

    /// The address as `ftpish://` URLs have it.
    pub fn url(&self, path: &str) -> String {
        format!("ftpish://{}/{path}", self.address)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a service manager or Ctrl-C does.
    pub fn stop(mut self, signal: Signal) -> ExitStatus {
        self.end(signal)
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        self.ended = true;
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.ended {
            let status = self.end(Signal::TERM);
            assert!(status.success() || std::thread::panicking(), "the server ended with {status}");
        }
    }
}
