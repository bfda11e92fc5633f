//! Bodies in memory, sent and received with every check: what the protocol itself allows, without network and disk.

use std::io::{self, Cursor, Read, Write};

use divan::counter::BytesCount;
use ftpish_protocol::message::Working;
use ftpish_protocol::{Algorithm, Connection, receive_body, send_body};

/// A small file, the block that bodies are read by, and more than caches hold.
const SIZES: [usize; 3] = [4096, 256 * 1024, 64 * 1024 * 1024];

fn main() {
    divan::main();
}

/// A peer that said this, and takes everything.
struct Peer<'a>(Cursor<&'a [u8]>);

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A peer that keeps what it is told.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Read for Kept {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[divan::bench(args = SIZES)]
fn send(bencher: divan::Bencher<'_, '_>, size: usize) {
    let data = vec![7; size];
    let mut connection = Connection::new(Peer(Cursor::new(&[])));
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let sent = send_body(&mut connection, &mut data.as_slice(), Algorithm::Blake3, &mut |_, _| true);
        connection.flush().and(Ok(sent.is_ok()))
    });
}

#[divan::bench(args = SIZES)]
fn receive(bencher: divan::Bencher<'_, '_>, size: usize) {
    let data = vec![7; size];
    let mut sender = Connection::new(Kept::default());
    sender.send(&Working { id: 1, working: 0 }).expect("memory takes all");
    send_body(&mut sender, &mut data.as_slice(), Algorithm::Blake3, &mut |_, _| true)
        .expect("memory takes all");
    sender.flush().expect("memory takes all");
    let said = std::mem::take(&mut sender.stream().0);
    let mut arrived = Vec::with_capacity(size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let mut connection = Connection::new(Peer(Cursor::new(&said)));
        connection.receive().expect("it is whole");
        connection.begin_body();
        arrived.clear();
        receive_body(&mut connection, &mut arrived, Algorithm::Blake3, Some(size as u64), &mut |_, _| true)
            .expect("it verifies")
    });
}
