//! Messages: what a request costs before it does anything.

use std::io::{self, Read, Write};

use ftpish_protocol::Connection;
use ftpish_protocol::message::{Envelope, Trailer, Working};

fn main() {
    divan::main();
}

/// Takes everything, and has nothing to say.
struct Sink;

impl Read for Sink {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says the same over and over.
struct Spring {
    message: Vec<u8>,
    at: usize,
}

impl Read for Spring {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for byte in buffer.iter_mut() {
            *byte = self.message[self.at];
            self.at = (self.at + 1) % self.message.len();
        }
        Ok(buffer.len())
    }
}

impl Write for Spring {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[divan::bench]
fn encode(bencher: divan::Bencher<'_, '_>) {
    let mut connection = Connection::new(Sink);
    let message = Working { id: 1234, working: 5 };
    bencher.bench_local(|| connection.send(divan::black_box(&message)));
}

#[divan::bench]
fn encode_trailer(bencher: divan::Bencher<'_, '_>) {
    let mut connection = Connection::new(Sink);
    let digest = ftpish_protocol::Algorithm::Blake3.digest(b"abc");
    let message = Trailer { length: 4096, digest, entries: None, file: None, head: Some(digest) };
    bencher.bench_local(|| connection.send(divan::black_box(&message)));
}

/// A request as it is read: once for the envelope, and once for the command.
#[divan::bench]
fn decode(bencher: divan::Bencher<'_, '_>) {
    let json = br#"{"id":1234,"cmd":"get","path":"photos/2024/07/holiday-0001.jpg","digest":"blake3"}"#;
    let mut message = (json.len() as u32).to_be_bytes().to_vec();
    message.extend(json);
    let mut connection = Connection::new(Spring { message, at: 0 });
    bencher.bench_local(|| {
        let header = connection.receive().expect("it is whole").expect("it goes on");
        let envelope: Envelope = header.decode().expect("it is an envelope");
        (envelope, ftpish_protocol::message::Command::decode(&header))
    });
}
