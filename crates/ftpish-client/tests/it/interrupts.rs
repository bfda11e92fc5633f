//! An interrupt ends whatever the client waits for, and what it began leaves nothing behind.

use std::io::Read as _;

use ftpish_client::{Client, Error, Options, Progress, Security, Trust};
use ftpish_protocol::Algorithm;
use ftpish_protocol::message::Replace;
use ftpish_transport::Interrupt;

use crate::downloads::download;
use crate::script::{Peer, Script, contents, framed};

/// Does `work` with a server that, at the end of `play`, interrupts the client and waits until it is gone.
#[track_caller]
fn check(play: fn(&mut Peer), work: impl FnOnce(&mut Client) -> Result<(), Error>) {
    let interrupt = Interrupt::default();
    let theirs = interrupt.clone();
    let script = Script::from_the_start(move |peer| {
        play(peer);
        theirs.set();
        peer.wait_until_gone_unread();
    });
    let mut client = Client::connect(&Options { interrupt, ..script.options() }).unwrap();
    let result = work(&mut client);
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    assert!(!client.is_usable());
}

#[test]
fn the_wait_for_a_reply_is_interrupted() {
    let received = |peer: &mut Peer| {
        peer.greet();
        peer.request();
    };
    check(received, |client| client.df(&"a".parse().unwrap()).map(drop));
    check(|peer| drop(peer.request()), |client| client.welcome().map(drop));
}

#[test]
fn a_download_is_interrupted_and_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old"), "old content").unwrap();
    let before = contents(dir.path());
    let half = |peer: &mut Peer| {
        peer.greet();
        peer.announce(11);
        peer.send(&framed(b"new content")[..8]);
    };
    for target in ["old", "new"] {
        check(half, |client| download(client, &dir.path().join(target)));
        assert_eq!(contents(dir.path()), before);
    }
}

#[test]
fn a_download_that_does_not_wait_is_interrupted_between_two_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::default();
    let theirs = interrupt.clone();
    let script = Script::run(move |peer| {
        peer.announce(1 << 40);
        peer.send(&framed(&[7; 65536]));
        theirs.set();
        while peer.try_send(&framed(&[7; 65536])).is_ok() {}
    });
    let mut client = Client::connect(&Options { interrupt, ..script.options() }).unwrap();
    // Into a writer: a file of this size would have to fit.
    let path = "a".parse().unwrap();
    let result = client.get(&path, Algorithm::Md5, &mut std::io::sink(), &Progress::default());
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    assert!(contents(dir.path()).is_empty());
}

#[test]
fn a_put_is_interrupted_while_the_server_does_not_read() {
    let received = |peer: &mut Peer| {
        peer.greet();
        peer.request();
        peer.piece();
    };
    check(received, |client| {
        let mut source = std::io::repeat(7).take(1 << 40);
        let to = "a".parse().unwrap();
        client.put(&mut source, &to, Algorithm::Md5, Replace::Always, &Progress::default()).map(drop)
    });
}

/// One byte at a time; interrupts at the third.
struct Interrupting {
    interrupt: Interrupt,
    reads: u32,
}

impl std::io::Read for Interrupting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reads += 1;
        if self.reads == 3 {
            self.interrupt.set();
        }
        buffer[0] = 7;
        Ok(1)
    }
}

#[test]
fn a_put_that_does_not_wait_is_interrupted_between_two_blocks() {
    let script = Script::from_the_start(Peer::wait_until_gone);
    let options = script.options();
    let mut client = Client::connect(&options).unwrap();
    let mut source = Interrupting { interrupt: options.interrupt, reads: 0 };
    let to = "a".parse().unwrap();
    let result = client.put(&mut source, &to, Algorithm::Md5, Replace::Always, &Progress::default());
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    assert_eq!(source.reads, 3);
}

#[test]
fn a_handshake_is_interrupted() {
    let interrupt = Interrupt::default();
    let theirs = interrupt.clone();
    let script = Script::from_the_start(move |peer| {
        theirs.set();
        peer.wait_until_gone();
    });
    let secure = Options { interrupt, security: Security::Tls(Trust::Any), ..script.options() };
    let result = Client::connect(&secure);
    assert!(matches!(result.err(), Some(Error::Interrupted)));
}

#[test]
fn an_interrupt_that_is_cleared_lets_the_next_client_work() {
    let interrupt = Interrupt::default();
    interrupt.set();
    let script = Script::run(|_| {});
    interrupt.clear();
    let mut client = Client::connect(&Options { interrupt, ..script.options() }).unwrap();
    client.df(&"a".parse().unwrap()).unwrap();
}
