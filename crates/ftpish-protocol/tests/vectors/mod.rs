//! The files under `fixtures/wire`. A line is hex, two spaces and what it means; lines with `#` say who sends the
//! bytes and, of malformed ones, what they cause: the receiver `refuses` them and goes on, `closes`, or finds the
//! stream `lost`.

mod receiver;
mod replay;

use std::collections::BTreeMap;
use std::fs;

use ftpish_protocol::Connection;

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
}

/// The fixtures of a folder by their names.
pub(crate) fn fixtures(folder: &str) -> BTreeMap<String, Fixture> {
    let files = fs::read_dir(format!("{PROJECT}/fixtures/wire/{folder}")).unwrap();
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let name = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), Fixture::parse(fs::read_to_string(&path).unwrap()))).collect()
}

impl Fixture {
    fn parse(text: String) -> Self {
        let from_client = text.starts_with("# client: ");
        assert!(from_client || text.starts_with("# server: "), "who sends it comes first: {text}");
        let expect = text.lines().find_map(|line| line.strip_prefix("# expect: ")).map(String::from);
        let bytes = text.lines().filter(|line| !line.starts_with('#')).flat_map(bytes_of_line).collect();
        Self { text, from_client, expect, bytes }
    }

    /// What the receiver makes of `bytes`: a word or two for each message and body, and how it ends.
    pub(crate) fn heard(&self, bytes: &[u8], pace: usize) -> Vec<String> {
        let mut connection = Connection::new(Pipe::new(bytes, pace));
        let mut heard = vec![];
        loop {
            match connection.receive() {
                Ok(Some(header)) if self.from_client => {
                    receiver::hear_request(&mut connection, &header, &mut heard)
                }
                Ok(Some(header)) => receiver::hear_reply(&mut connection, &header, &mut heard),
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
