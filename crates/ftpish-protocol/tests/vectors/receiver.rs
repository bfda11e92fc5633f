//! What a receiver makes of a vector, in a word or two: both roles, as far as this crate goes.

use std::io;

use ftpish_protocol::blocks::{BLOCK_DIGEST, Blocks, WriteAt};
use ftpish_protocol::message::{Alive, Command, Cut, Entry, Envelope, File, Node, ReplyEnvelope};
use ftpish_protocol::{
    Algorithm, BodyError, Code, Connection, Error, Header, Refusal, WalkOrder, receive_body, receive_listing,
    receive_part,
};
use serde::Deserialize;

use crate::pipe::Pipe;

/// Does with a request what a server does, up to where files begin.
pub(crate) fn hear_request(
    connection: &mut Connection<Pipe>,
    header: &Header,
    heard: &mut Vec<String>,
) -> Result<(), String> {
    if header.decode::<Alive>().is_ok() {
        heard.push("alive".to_owned());
        return Ok(());
    }
    let envelope: Envelope = header.decode().map_err(|_| "closes malformed")?;
    if envelope.body {
        connection.begin_body();
    }
    match Command::decode(header) {
        Ok(Command::Unknown) => heard.push("refuses unsupported".to_owned()),
        Ok(Command::Put(put)) => {
            heard.push("put".to_owned());
            let in_ranges = |ranges: &Vec<(u64, u64)>| ranges.iter().map(|(start, end)| end - start).sum();
            let announced = put.ranges.as_ref().map(in_ranges).or(put.size);
            let received = receive_body(connection, &mut io::sink(), put.digest, announced, &mut |_, _| true);
            hear_body(received, heard)?;
        }
        Ok(Command::Resume(resume)) if Blocks::of(resume.size).is_none() => {
            heard.push("refuses bad-range".to_owned());
        }
        Ok(command) => {
            let json = serde_json::to_value(&command).unwrap();
            heard.push(json["cmd"].as_str().unwrap().to_owned());
        }
        Err(refusal) => heard.push(format!("refuses {}", refusal.code)),
    }
    connection.drain_body().map_err(|error| closes(&error))
}

/// Does with a reply what a client does, up to where files begin. Bodies with a `block` beside them are digests of
/// blocks, and BLAKE3; all others here are MD5, and those without a `size` beside them are listings, of nodes where
/// `asked` is a `tree`.
pub(crate) fn hear_reply(
    connection: &mut Connection<Pipe>,
    asked: Option<&Header>,
    header: &Header,
    heard: &mut Vec<String>,
) -> Result<(), String> {
    let reply: ReplyEnvelope = header.decode().map_err(|_| "closes malformed")?;
    heard.push("reply".to_owned());
    if !reply.body {
        return Ok(());
    }
    connection.begin_body();
    if header.decode::<BlockProbe>().is_ok_and(|probe| probe.block.is_some()) {
        hear_digests(connection, header, heard)?;
        return connection.drain_body().map_err(|error| closes(&error));
    }
    match header.decode::<File>() {
        Ok(file) if file.subtree => {
            let range = match asked.map(Command::decode) {
                Some(Ok(Command::Get(get))) => get.offset..get.offset + file.length,
                asked => unreachable!("{asked:?} has no subtrees"),
            };
            let blocks = Blocks::of(file.size).expect("a file of blocks");
            hear_body(receive_part(connection, &mut Nowhere, blocks, range, &mut |_, _| true), heard)?;
        }
        Ok(file) => {
            let length = Some(file.length);
            let received =
                receive_body(connection, &mut io::sink(), Algorithm::Md5, length, &mut |_, _| true);
            hear_body(received, heard)?;
        }
        Err(_) if asked.is_some_and(|asked| matches!(Command::decode(asked), Ok(Command::Tree(_)))) => {
            let mut order = WalkOrder::default();
            let take = &mut |node: Node| {
                order.admit(&node).map_err(|fault| Refusal::new(Code::Malformed, fault).into_io())
            };
            hear_body(receive_listing(connection, Algorithm::Md5, take), heard)?;
        }
        Err(_) => hear_body(receive_listing(connection, Algorithm::Md5, &mut |_: Entry| Ok(())), heard)?,
    }
    connection.drain_body().map_err(|error| closes(&error))
}

/// A file that nobody keeps.
struct Nowhere;

impl WriteAt for Nowhere {
    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a reply says how large a block is, in whatever form.
#[derive(Deserialize)]
struct BlockProbe {
    block: Option<serde_json::Value>,
}

/// Takes digests of blocks if they are of blocks that the rules allow, and no more than there are blocks.
fn hear_digests(
    connection: &mut Connection<Pipe>,
    header: &Header,
    heard: &mut Vec<String>,
) -> Result<(), String> {
    let cut = header.decode::<Cut>().ok().filter(|cut| {
        let blocks = Blocks::new(cut.size, cut.block);
        blocks.is_some_and(|blocks| cut.length <= (blocks.count() * BLOCK_DIGEST) as u64)
    });
    let Some(cut) = cut else {
        heard.pop();
        heard.push("refuses malformed".to_owned());
        return Ok(());
    };
    let (blake3, length) = (Algorithm::Blake3, Some(cut.length));
    hear_body(receive_body(connection, &mut io::sink(), blake3, length, &mut |_, _| true), heard)
}

/// A body that is refused takes the word for its message back: the two are refused together.
fn hear_body<T>(received: Result<T, BodyError>, heard: &mut Vec<String>) -> Result<(), String> {
    match received {
        Ok(_) => heard.push("stored".to_owned()),
        Err(BodyError::Aborted(refusal)) => heard.push(format!("aborted {}", refusal.code)),
        Err(error) => {
            heard.pop();
            match (error.refusal(), error) {
                (Some(refusal), _) => heard.push(format!("refuses {}", refusal.code)),
                (None, BodyError::Connection(error)) => return Err(closes(&error)),
                (None, other) => unreachable!("every other error has its refusal: {other}"),
            }
        }
    }
    Ok(())
}

pub(crate) fn closes(error: &Error) -> String {
    match error {
        Error::Closed => "lost",
        Error::HeaderTooLarge { .. } | Error::ChunkTooLarge { .. } => "closes too-large",
        Error::Malformed(_) => "closes malformed",
        Error::Io(_) => unreachable!("memory does not fail"),
    }
    .to_owned()
}
