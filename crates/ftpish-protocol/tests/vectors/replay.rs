//! Vectors as values: read, compared, and written again.

use std::fmt::Debug;
use std::io;
use std::ops::Range;

use ftpish_protocol::blocks::{Assembly, Blocks};
use ftpish_protocol::message::{Alive, Command, Envelope, Granted, Refused, ReplyEnvelope, Request, Working};
use ftpish_protocol::{
    Algorithm, BodyError, Code, Connection, Header, Line, Meter, Refusal, receive_body, receive_listing,
    receive_part, receive_ranges, send_body, send_listing, send_part, send_ranges,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Fixture;
use crate::disk::Disk;
use crate::pipe::{Pieces, Pipe};

/// Reads a vector and writes it again: each method takes what must come next, and sends the same.
pub(crate) struct Replay {
    incoming: Connection<Pipe>,
    outgoing: Connection<Pipe>,
}

impl Replay {
    pub(crate) fn of(fixture: &Fixture, pace: usize) -> Self {
        let mut incoming = Connection::new(Pipe::new(&fixture.bytes, pace));
        let mut outgoing = Connection::new(Pipe::silent());
        incoming.answer(fixture.asked.as_ref());
        outgoing.answer(fixture.asked.as_ref());
        Self { incoming, outgoing }
    }

    fn receive(&mut self) -> Header {
        self.incoming.receive().unwrap().expect("a message comes next")
    }

    fn begin_body(&mut self, announced: bool, expected: bool) {
        assert_eq!(announced, expected, "whether a body follows");
        if announced {
            self.incoming.begin_body();
        }
    }

    pub(crate) fn request(&mut self, id: u64, body: bool, command: Command) {
        let header = self.receive();
        let envelope: Envelope = header.decode().unwrap();
        assert_eq!((envelope.id, Command::decode(&header).unwrap()), (id, command.clone()));
        self.begin_body(envelope.body, body);
        self.outgoing.send(&Request { envelope, command: &command }).unwrap();
    }

    pub(crate) fn granted<T: Serialize + DeserializeOwned + PartialEq + Debug>(
        &mut self,
        id: u64,
        body: bool,
        fields: T,
    ) {
        let header = self.receive();
        let reply: ReplyEnvelope = header.decode().unwrap();
        assert_eq!((reply.id, reply.ok, reply.error, reply.working), (Some(id), true, None, None));
        assert_eq!(header.decode::<T>().unwrap(), fields);
        self.begin_body(reply.body, body);
        self.outgoing.send(&Granted { envelope: Envelope { id, body }, ok: true, fields: &fields }).unwrap();
    }

    pub(crate) fn refused(&mut self, id: Option<u64>, code: Code, message: &str) {
        let error = Refusal::new(code, message);
        let reply: ReplyEnvelope = self.receive().decode().unwrap();
        assert_eq!((reply.id, reply.ok, reply.error.as_ref()), (id, false, Some(&error)));
        self.outgoing.send(&Refused { id, error }).unwrap();
    }

    pub(crate) fn working(&mut self, id: u64, working: u64) {
        let reply: ReplyEnvelope = self.receive().decode().unwrap();
        assert_eq!((reply.id, reply.ok, reply.working), (Some(id), false, Some(working)));
        self.outgoing.send(&Working { id, working }).unwrap();
    }

    pub(crate) fn alive(&mut self) {
        let alive: Alive = self.receive().decode().unwrap();
        assert!(alive.alive);
        self.outgoing.send_alive().unwrap();
    }

    pub(crate) fn body(&mut self, algorithm: Algorithm, pieces: &[&[u8]]) {
        let mut bytes = vec![];
        let verified =
            receive_body(&mut self.incoming, &mut bytes, algorithm, None, &mut |_, _| true).unwrap();
        assert_eq!((verified.length(), &bytes), (bytes.len() as u64, &pieces.concat()));
        let source = &mut Pieces { pieces, then: None };
        let sent = send_body(&mut self.outgoing, source, algorithm, &mut |_, _| true).unwrap();
        assert_eq!(sent.digest, verified.digest());
    }

    /// A body of `ranges` of `file`, all else of which both ends have.
    pub(crate) fn ranges(&mut self, file: &[u8], ranges: &[Range<u64>]) {
        let (blake3, digest) = (Algorithm::Blake3, Algorithm::Blake3.digest(file));
        let blocks = Blocks::of(file.len() as u64).unwrap();
        let mut sender = Assembly::of(&mut &file[..], blocks, &Meter::default()).unwrap();
        assert_eq!(sender.digest(), Some(digest));
        ranges.iter().for_each(|range| sender.forget(range));
        let (mut receiver, mut disk) = (sender.clone(), Disk::without(file, ranges));
        let told = receive_ranges(
            &mut self.incoming,
            &mut disk,
            &mut receiver,
            ranges.to_vec(),
            blake3,
            &mut |_, _| true,
        );
        assert_eq!(told.unwrap(), Some(digest));
        assert_eq!(receiver.verified_as(digest).unwrap().length(), file.len() as u64);
        assert!(disk.0 == file);
        let source = &mut &Disk::gathered(file, ranges)[..];
        send_ranges(&mut self.outgoing, source, &mut sender, ranges.to_vec(), blake3, &mut |_, _| true)
            .unwrap();
    }

    /// A body of a subtree of `file`.
    pub(crate) fn part(&mut self, file: &[u8], range: Range<u64>) {
        let blocks = Blocks::of(file.len() as u64).unwrap();
        let mut disk = Disk::without(file, std::slice::from_ref(&range));
        let received = receive_part(&mut self.incoming, &mut disk, blocks, range.clone(), &mut |_, _| true);
        let mut rest = Assembly::of(&mut &file[..], blocks, &Meter::default()).unwrap();
        rest.forget(&range);
        rest.join(received.unwrap());
        assert_eq!(rest.digest(), Some(Algorithm::Blake3.digest(file)));
        assert!(disk.0 == file);
        let source = &mut &Disk::gathered(file, std::slice::from_ref(&range))[..];
        send_part(&mut self.outgoing, source, blocks, range, &mut |_, _| true).unwrap();
    }

    pub(crate) fn aborted(&mut self, pieces: &[&[u8]], why: Refusal) {
        let md5 = Algorithm::Md5;
        let received = receive_body(&mut self.incoming, &mut io::sink(), md5, None, &mut |_, _| true);
        assert!(matches!(received, Err(BodyError::Aborted(refusal)) if refusal == why));
        let source = &mut Pieces { pieces, then: Some(why.into_io()) };
        send_body(&mut self.outgoing, source, md5, &mut |_, _| true).unwrap_err();
    }

    pub(crate) fn listing<L: Line + PartialEq + Debug>(&mut self, expected: &[L]) {
        let mut entries = vec![];
        let take = &mut |entry: L| {
            entries.push(entry);
            Ok(())
        };
        assert_eq!(receive_listing(&mut self.incoming, Algorithm::Md5, take).unwrap(), expected.len() as u64);
        assert_eq!(entries, expected);
        send_listing(&mut self.outgoing, entries.into_iter().map(Ok), Algorithm::Md5).unwrap();
    }

    pub(crate) fn ends_with_the_same_bytes(mut self, name: &str, bytes: &[u8]) {
        assert!(self.incoming.receive().unwrap().is_none(), "{name}: more comes");
        self.outgoing.flush().unwrap();
        let written = &self.outgoing.stream().written;
        assert_eq!(String::from_utf8_lossy(written), String::from_utf8_lossy(bytes), "{name}");
        assert_eq!(written, bytes, "{name}");
    }
}
