//! The files under `fixtures/wire`. A line is hex, two spaces and what it means; lines with `#` say who sends the
//! bytes and, of malformed ones, what they cause: the receiver `refuses` them and goes on, `closes`, or finds the
//! stream `lost`.

mod receiver;
mod replay;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ftpish_protocol::{Connection, Header};

use crate::pipe::Pipe;
pub(crate) use replay::Replay;

pub(crate) const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// One file under `fixtures/wire`.
pub(crate) struct Fixture {
    pub(crate) text: String,
    pub(crate) from_client: bool,
    /// What its line `# expect:` says.
    pub(crate) expect: Option<String>,
    pub(crate) bytes: Vec<u8>,
    /// The request that it answers, if it is the reply to one.
    pub(crate) asked: Option<Header>,
}

/// The fixtures of a folder by their names.
pub(crate) fn fixtures(folder: &str) -> BTreeMap<String, Fixture> {
    let files = fs::read_dir(format!("{PROJECT}/fixtures/wire/{folder}")).unwrap();
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let name = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), Fixture::load(&path))).collect()
}

/// `get-range-reply` answers `get-range-request`; what has no request of its own name answers that of its command.
fn request_of(reply: &Path) -> Option<Header> {
    let name = reply.file_stem()?.to_str()?;
    let (own, command) = (name.strip_suffix("-reply").unwrap_or(name), name.split('-').next()?);
    let file = |name: &str| fs::read_to_string(format!("{PROJECT}/fixtures/wire/{name}-request.hex"));
    let bytes = bytes_of(&file(own).or_else(|_| file(command)).ok()?);
    Connection::new(Pipe::new(&bytes, usize::MAX)).receive().unwrap()
}

fn bytes_of(text: &str) -> Vec<u8> {
    text.lines().filter(|line| !line.starts_with('#')).flat_map(bytes_of_line).collect()
}

impl Fixture {
    fn load(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let from_client = text.starts_with("# client: ");
        assert!(from_client || text.starts_with("# server: "), "who sends it comes first: {text}");
        let expect = text.lines().find_map(|line| line.strip_prefix("# expect: ")).map(String::from);
        let bytes = bytes_of(&text);
        let asked = if from_client { None } else { request_of(path) };
        Self { text, from_client, expect, bytes, asked }
    }

    /// What the receiver makes of `bytes`: a word or two for each message and body, and how it ends.
    pub(crate) fn heard(&self, bytes: &[u8], pace: usize) -> Vec<String> {
        let mut connection = Connection::new(Pipe::new(bytes, pace));
        connection.answer(self.asked.as_ref());
        let mut heard = vec![];
        loop {
            match connection.receive() {
                Ok(Some(header)) if self.from_client => {
                    receiver::hear_request(&mut connection, &header, &mut heard)
                }
                Ok(Some(header)) => {
                    receiver::hear_reply(&mut connection, self.asked.as_ref(), &header, &mut heard)
                }
                Ok(None) => Err("end".to_owned()),
                Err(error) => Err(receiver::closes(&error)),
            }
            .unwrap_or_else(|end| heard.push(end));
            if heard.last().is_some_and(|word| word == "end" || word == "lost" || word.starts_with("closes"))
            {
                return heard;
            }
        }
    }
}

/// The bytes of a line: hex, two spaces or more, and what it means: their text, which is checked, or something else, in
/// brackets.
fn bytes_of_line(line: &str) -> Vec<u8> {
    let (hex, meaning) = line.split_once("  ").unwrap_or((line, ""));
    let bytes: Vec<u8> = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect(line)).collect();
    let is_length = bytes[0] == 0 || bytes[0] == 0xff;
    if !is_length && !meaning.trim().starts_with('(') {
        let text: String =
            bytes.iter().map(|b| if (b' '..=b'~').contains(b) { char::from(*b) } else { '.' }).collect();
        assert_eq!(meaning.trim(), text.trim(), "{line}");
    } else if let Ok(length) = <[u8; 4]>::try_from(&bytes[..]) {
        let length = u32::from_be_bytes(length);
        let said =
            meaning.contains(&format!(": {length} byte")) || meaning.trim() == format!("{length} bytes");
        assert!(said || meaning.contains("no more chunks"), "{line}");
    }
    bytes
}
