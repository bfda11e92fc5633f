//! What is fuzzed, as plain functions of bytes: for the fuzzer, and for the ordinary tests that replay the fixtures and
//! whatever was found before. Each claims more than that nothing panics.

use std::io::{self, Cursor, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ftpish_client::{Client, Download, Error, Options, Progress, Security, Timeouts};
use ftpish_protocol::blocks::{Assembly, Blocks, WriteAt};
use ftpish_protocol::message::{
    Command, Cut, Entry, Envelope, Kind, Node, Replace, ReplyEnvelope, Request, Trailer, Welcome,
};
use ftpish_protocol::text::escape;
use ftpish_protocol::{
    Algorithm, Connection, Header, KeyError, MAX_CHUNK, MAX_NAME, MAX_PATH, Name, PrivateKey, PublicKey,
    RemotePath, Statement, WalkOrder, receive_body, receive_listing, receive_ranges, walk_order,
};
use ftpish_server::{Rights, User, Users, UsersFile};
use ftpish_transport::Endpoint;

/// A function of bytes that must hold its claims for any.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 8] = [
    ("frame", frame),
    ("messages", messages),
    ("path", path),
    ("body", body),
    ("listing", listing),
    ("reply", reply),
    ("users", users),
    ("keys", keys),
];

/// A peer that says `input`, and listens to nothing.
struct Pipe<'a>(&'a [u8]);

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Messages with and without bodies, one after the other, as a session reads them.
pub fn frame(data: &[u8]) {
    let mut connection = Connection::new(Pipe(data));
    while let Ok(Some(header)) = connection.receive() {
        let Ok(envelope) = header.decode::<Envelope>() else { return };
        if envelope.body {
            connection.begin_body();
        }
        if connection.drain_body().is_err() {
            return;
        }
        assert!(!connection.in_body());
    }
}

/// One message with `json` in it, as it is received.
fn received(json: &[u8]) -> Option<Header> {
    let length = u32::try_from(json.len()).ok()?;
    let bytes = [&length.to_be_bytes(), json].concat();
    Connection::new(Pipe(&bytes)).receive().ok()?
}

/// Any JSON as a command, and as every reply: what is understood is understood the same when it is said again.
pub fn messages(data: &[u8]) {
    let Some(header) = received(data) else { return };
    match Command::decode(&header) {
        Ok(Command::Unknown) => {}
        Ok(command) => {
            let request = Request { envelope: Envelope { id: 1, body: false }, command: &command };
            let json = serde_json::to_vec(&request).expect("a command can be said");
            // A name that is not UTF-8 grows by a third.
            if let Some(again) = received(&json) {
                assert_eq!(Command::decode(&again).as_ref(), Ok(&command));
            }
        }
        Err(refusal) => is_harmless(&refusal.to_string()),
    }
    let _ = header.decode::<ReplyEnvelope>().map(|reply| reply.error.map(|e| is_harmless(&e.to_string())));
    let _ = header.decode::<Welcome>();
    let _ = header.decode::<Trailer>();
    if let Ok(cut) = header.decode::<Cut>() {
        cut_up(&cut);
    }
}

/// Blocks as a server tells them: whatever the numbers, they cover the file, and are few.
fn cut_up(cut: &Cut) {
    let Some(blocks) = Blocks::new(cut.size, cut.block) else { return };
    assert!(blocks.count() <= 65_536);
    assert_eq!(blocks.range(0).start, 0);
    assert_eq!(blocks.range(blocks.count() - 1).end, cut.size);
    assert!(blocks.within(cut.length) <= blocks.count());
}

#[track_caller]
fn is_harmless(shown: &str) {
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}

/// Paths, names, what a person types, and how all of it is shown.
pub fn path(data: &[u8]) {
    is_harmless(&escape(data).to_string());
    let stays = |path: &RemotePath| {
        assert!(path.as_bytes().len() <= MAX_PATH && !path.as_bytes().contains(&0));
        for component in path.components() {
            assert!(!component.is_empty() && component.len() <= MAX_NAME);
            assert!(component != b"." && component != b".." && !component.contains(&b'/'));
        }
        assert_eq!(RemotePath::parse(path.as_bytes()).as_ref(), Ok(path));
        let json = serde_json::to_string(path).expect("a path can be said");
        assert_eq!(&serde_json::from_str::<RemotePath>(&json).expect("and understood"), path);
        is_harmless(&path.to_string());
    };
    if let Ok(path) = RemotePath::parse(data) {
        assert_eq!(path.as_bytes(), data);
        stays(&path);
    }
    if let Ok(name) = Name::parse(data) {
        assert_eq!(name.as_bytes(), data);
    }
    let (cwd, typed) = data.split_at(data.len() / 2);
    let cwd = RemotePath::parse(cwd).unwrap_or_else(|_| RemotePath::root());
    if let Ok(path) = cwd.resolve(typed) {
        stays(&path);
    }
}

/// How large the file is that `body` receives in ranges: three blocks, the last one short.
const FILE: u64 = (2 << 20) + 1000;

/// A sink that takes no byte outside of what it was promised.
struct Bounded {
    ranges: Vec<std::ops::Range<u64>>,
}

impl WriteAt for Bounded {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        assert!(self.ranges.iter().any(|range| range.start <= offset && end <= range.end), "{offset}..{end}");
        Ok(())
    }
}

/// A body of an announced length, whole and in ranges. The first bytes say which.
pub fn body(data: &[u8]) {
    let [how, announced, data @ ..] = data else { return };
    let algorithm = Algorithm::ALL[usize::from(how % 3)];
    let announced = (how & 4 == 0).then_some(u64::from(*announced));
    let mut connection = Connection::new(Pipe(data));
    connection.begin_body();
    let mut sink = Vec::new();
    let received = receive_body(&mut connection, &mut sink, algorithm, announced, &mut |_, _| true);
    assert!(announced.is_none_or(|announced| sink.len() as u64 <= announced), "more than was announced");
    if let Ok(verified) = received {
        assert_eq!(verified.digest(), algorithm.digest(&sink), "verified, and not the same");
        assert_eq!(verified.length(), sink.len() as u64);
    }
    if how & 8 == 0 {
        return;
    }
    let blocks = Blocks::of(FILE).expect("more than a block");
    let (first, last) = (0..1 << 20, 2 << 20..FILE);
    let ranges = if how & 16 == 0 { Vec::from([first]) } else { vec![first, last] };
    let mut connection = Connection::new(Pipe(data));
    connection.begin_body();
    let mut sink = Bounded { ranges: ranges.clone() };
    let mut assembly = Assembly::new(blocks);
    let _ = receive_ranges(&mut connection, &mut sink, &mut assembly, ranges, algorithm, &mut |_, _| true);
    assert!(assembly.present() <= FILE);
}

/// A listing: every entry that comes out has a name that stays where it is.
pub fn listing(data: &[u8]) {
    // As lines alone, in chunks and with a trailer that fits; and as whatever it is.
    let digest = Algorithm::Md5.digest(data);
    let entries = data.iter().filter(|byte| **byte == b'\n').count();
    let trailer = format!(r#"{{"length":{},"digest":"{digest}","entries":{entries}}}"#, data.len());
    let mut honest = Vec::new();
    for chunk in data.chunks(MAX_CHUNK) {
        honest.extend(u32::try_from(chunk.len()).expect("a chunk is small").to_be_bytes());
        honest.extend(chunk);
    }
    honest.extend([0; 4]);
    honest.extend(u32::try_from(trailer.len()).expect("a trailer is small").to_be_bytes());
    honest.extend(trailer.as_bytes());
    for bytes in [&honest, data] {
        let mut connection = Connection::new(Pipe(bytes));
        connection.begin_body();
        let mut count = 0;
        let listed = receive_listing(&mut connection, Algorithm::Md5, &mut |entry: Entry| {
            let name = entry.name.expect("an entry of a listing has a name");
            assert!(Name::parse(name.as_bytes()).is_ok());
            is_harmless(&name.to_string());
            count += 1;
            Ok(())
        });
        assert!(listed.is_err() || listed.is_ok_and(|listed| listed == count));
        nodes(bytes);
    }
}

/// The same as a listing of a tree: whatever is admitted is behind what came before it, and in one of its directories.
fn nodes(bytes: &[u8]) {
    let mut connection = Connection::new(Pipe(bytes));
    connection.begin_body();
    let (mut order, mut told) = (WalkOrder::default(), Vec::<Node>::new());
    let _ = receive_listing(&mut connection, Algorithm::Md5, &mut |node: Node| {
        order.admit(&node).map_err(io::Error::other)?;
        is_harmless(&node.path.to_string());
        is_harmless(&node.error.as_ref().map(ToString::to_string).unwrap_or_default());
        let last = told.last().map(|last| &last.path);
        assert!(last.is_none_or(|last| walk_order(last, &node.path).is_lt()));
        let parent = node.path.parent();
        let is_in_dir = |parent| told.iter().any(|dir| dir.kind == Kind::Dir && dir.path == parent);
        assert!(parent.is_none_or(is_in_dir));
        told.push(node);
        Ok(())
    });
}

/// The reply to `hello` of a server that is in order so far.
const HELLO: &[u8] =
    br#"{"id":0,"ok":true,"version":1,"agent":"","digests":["md5"],"commands":[],"login":false}"#;

/// A server whose clients are all given the same bytes: its socket, and where downloads go. One for each thread.
struct Place {
    listener: UnixListener,
    dir: PathBuf,
    options: Options,
}

thread_local! {
    static PLACE: Place = Place::new();
}

impl Place {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ftpish-fuzz-{}-{next}", std::process::id()));
        std::fs::create_dir_all(dir.join("here")).expect("a directory of its own");
        let socket = dir.join("socket");
        let listener = UnixListener::bind(&socket).expect("a socket of its own");
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { connect: second, reply: second, pace: second };
        let options = Options { timeouts, ..Options::new(Endpoint::Unix(socket), Security::Plaintext) };
        Self { listener, dir, options }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What the client makes of a server that says this behind a reply to `hello` that is in order; the first byte says
/// what it was asked. Nothing appears but the one file that was asked for, and that only if it verified.
pub fn reply(data: &[u8]) {
    if let [how, said @ ..] = data {
        PLACE.with(|place| place.ask(*how, said));
    }
}

impl Place {
    fn ask(&self, how: u8, data: &[u8]) {
        let Self { listener, options, .. } = self;
        let dir = &self.dir.join("here");
        let mut client = Client::connect(options).expect("the listener has room");
        let (mut peer, _) = listener.accept().expect("a client has just connected");
        // All of it must find room in the socket: nobody reads while it is written.
        let data = &data[..data.len().min(64 * 1024)];
        let length = u32::try_from(HELLO.len()).expect("hello is small").to_be_bytes();
        let said = [&length, HELLO, data].concat();
        let _ = peer.write_all(&said);
        let _ = peer.shutdown(std::net::Shutdown::Write);
        let path: RemotePath = "a".parse().expect("a path");
        let progress = Progress::default();
        let outcome = match how % 8 {
            0 => client.stat(&path).map(drop),
            1 => client.ls(&path, &mut |_| Ok(())).map(drop),
            2 => client.df(&path).map(drop),
            3 => client.hash(&path, Algorithm::Md5, &progress).map(drop),
            4 => client.get(&path, Algorithm::Md5, &mut io::sink(), &progress).map(drop),
            5 => client
                .put(&mut Cursor::new(b"abc"), &path, Algorithm::Md5, Replace::Always, &progress)
                .map(drop),
            6 => client.mv(&path, &path, Replace::Never),
            _ => {
                let download = Download {
                    from: path,
                    to: dir.join("a"),
                    digest: if how & 8 == 0 { Algorithm::Md5 } else { Algorithm::Blake3 },
                    replace: Replace::Always,
                    sync: false,
                    repair: how & 16 != 0,
                    perms: false,
                    backup: None,
                };
                client.download(&download, &progress).map(drop)
            }
        };
        let found: Vec<_> = std::fs::read_dir(dir).expect("it is there").flatten().collect();
        for file in found {
            assert!(file.file_name() == "a" || file.file_name().as_encoded_bytes().starts_with(b".ftpish-"));
            let _ = std::fs::remove_file(file.path());
        }
        if let Err(Error::Refused(refusal)) = &outcome {
            is_harmless(&refusal.to_string());
        }
        if let Err(error) = outcome {
            is_harmless(&error.to_string());
        }
    }
}

/// What `ftpish user passwd` puts into the file for some password.
const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$ddgkI9WnBp5Loqy0XZIQSw$tcfPojK3Z8ZbEXKsbsFilAl5y8nNYYtV320mf2H4t24";

/// What a stranger says by way of a key or a signature, and what a person's file holds: nothing is a signature but of the
/// one statement that it was made for, and a key that is understood is understood the same when it is said again.
pub fn keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse::<PublicKey>().ok(), Some(key));
    }
    let statement = Statement { challenge: "challenge", host_key: Some("SHA256:key"), user: "ada" };
    if let Some(key) = PublicKey::that_made(statement, text) {
        assert!(key.verifies(statement, text));
        for other in
            [Statement { challenge: "other", ..statement }, Statement { host_key: None, ..statement }]
        {
            assert!(!key.verifies(other, text) && PublicKey::that_made(other, text).is_none());
        }
    }
    // No passphrase is tried: how long that takes is the file's to say.
    if let Ok(key) = PrivateKey::open(text, || Err(KeyError::Passphrase)) {
        let signature = key.sign(statement).expect("a key signs");
        assert!(key.public().verifies(statement, &signature));
    }
}

/// A users file. One that is taken at all has no entry that lets anybody in but by a key, or a password that was hashed as it
/// should be, and is read the same after others were changed in it.
pub fn users(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(users) = Users::parse(text) else { return };
    for name in users.names() {
        let user = users.find(name).expect("it was named");
        assert!(user.password.as_deref().is_none_or(is_dear_enough), "{:?}", user.password);
        beside_is_not_below(user);
    }
    let file = || UsersFile::parse(Path::new("users.toml"), text).expect("what is understood can be changed");
    let parsed = |file: &UsersFile| Users::parse(&file.text()).expect("what was changed is understood");
    assert_eq!(parsed(&file()), users);
    let name = users.names().next().unwrap_or("somebody");
    let others = |users: &Users| -> Vec<_> {
        let others = users.names().filter(|other| *other != name);
        others.map(|other| (other.to_owned(), users.find(other).cloned())).collect()
    };
    let mut changed = file();
    assert!(changed.set_password(name, HASH));
    let after = parsed(&changed);
    assert_eq!(others(&after), others(&users));
    let mut expected = users.find(name).cloned().unwrap_or(User::new(String::new()));
    expected.password = Some(HASH.to_owned());
    assert_eq!(after.find(name), Some(&expected));
    assert!(changed.remove(name));
    let after = parsed(&changed);
    assert_eq!((others(&after), after.find(name)), (others(&users), None));
}

/// Whether a line is a hash at the full cost, with a salt and all the bytes of its output.
fn is_dear_enough(line: &str) -> bool {
    let fields = line.strip_prefix("$argon2id$v=19$").and_then(|rest| rest.split_once('$'));
    let Some((cost, (salt, output))) = fields.and_then(|(cost, rest)| Some((cost, rest.split_once('$')?)))
    else {
        return false;
    };
    let mut cost: Vec<_> = cost.split(',').collect();
    cost.sort_unstable();
    cost == ["m=19456", "p=1", "t=2"] && !salt.is_empty() && output.len() == 43
}

/// The rights of `/foo` say nothing of `/foobar`: there hold those of the directory that both are in.
fn beside_is_not_below(user: &User) {
    let rights = user.rights();
    let resolve = |text: &[u8]| RemotePath::root().resolve(text).expect("it was read as a path");
    let tops: Vec<_> = user.paths.keys().map(|text| resolve(text.as_bytes())).collect();
    for top in &tops {
        let Ok(beside) = RemotePath::parse(&[top.as_bytes(), b"bar"].concat()) else { continue };
        let Some(above) = top.parent().filter(|_| !tops.contains(&beside)) else { continue };
        for right in Rights::ALL {
            assert_eq!(rights.allow(right, &beside), rights.allow(right, &above), "{right:?} of {beside}");
        }
    }
}
