//! Whose key it is, and what becomes of a client that speaks TLS to a server that does not, or the other way round.

use ftpish_client::{Client, Error, Options, Security, Trust};
use ftpish_server::Identity;

use crate::harness::{Listen, Setup, TestServer, path};

fn encrypted(identity: &Identity) -> TestServer {
    TestServer::with(|setup| {
        setup.listen = Listen::Ipv4;
        setup.identity = Some(identity.clone());
    })
}

fn connect(server: &TestServer, security: Security) -> Result<Client, Error> {
    Client::connect(&Options::new(server.endpoint.clone(), security))
}

#[test]
fn a_pinned_key_is_trusted_and_told() {
    let identity = Identity::ephemeral().unwrap();
    let server = encrypted(&identity);
    for trust in [Trust::Key(identity.fingerprint()), Trust::Any] {
        let mut client = connect(&server, Security::Tls(trust)).unwrap();
        assert_eq!(client.host_key(), Some(identity.fingerprint()));
        client.df(&path(".")).unwrap();
    }
}

#[test]
fn an_unknown_key_is_refused_and_shown() {
    let identity = Identity::ephemeral().unwrap();
    let server = encrypted(&identity);
    let error = connect(&server, Security::Tls(Trust::Nothing)).err().unwrap();
    let Error::UnknownHostKey { endpoint, fingerprint } = &error else { panic!("{error}") };
    assert_eq!((endpoint, *fingerprint), (&server.endpoint, identity.fingerprint()));
}

#[test]
fn another_key_than_the_pinned_one_is_refused_and_both_are_shown() {
    let (theirs, mine) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
    let server = encrypted(&theirs);
    let error = connect(&server, Security::Tls(Trust::Key(mine.fingerprint()))).err().unwrap();
    let Error::WrongHostKey { expected, offered, .. } = &error else { panic!("{error}") };
    assert_eq!((*expected, *offered), (mine.fingerprint(), theirs.fingerprint()));
    // A client that turns away harms nobody.
    connect(&server, Security::Tls(Trust::Any)).unwrap().df(&path(".")).unwrap();
}

#[test]
fn the_host_key_survives_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let first = Identity::load_or_create(state.path()).unwrap();
    drop(encrypted(&first));
    let again = encrypted(&Identity::load_or_create(state.path()).unwrap());
    connect(&again, Security::Tls(Trust::Key(first.fingerprint()))).unwrap().df(&path(".")).unwrap();
}

#[test]
fn a_plaintext_client_of_a_tls_server_is_told_so() {
    for listen in [Listen::Unix, Listen::Ipv4] {
        let server = TestServer::with(|setup| {
            setup.listen = listen;
            setup.encrypted();
        });
        let mut client = connect(&server, Security::Plaintext).unwrap();
        let error = client.df(&path(".")).unwrap_err();
        // The first bytes of a TLS alert, taken for a length: the binary knows what to make of it.
        let Error::Connection(ftpish_protocol::Error::HeaderTooLarge { length, .. }) = error else {
            panic!("{error}")
        };
        assert_eq!(length >> 16, 0x1503);
        assert!(!client.is_usable());
        server.client().df(&path(".")).unwrap();
    }
}

#[test]
fn a_tls_client_of_a_plaintext_server_is_told_so() {
    for listen in [Listen::Unix, Listen::Ipv4] {
        let server = TestServer::with(|setup| setup.listen = listen);
        let error = connect(&server, Security::Tls(Trust::Any)).err().unwrap();
        assert!(matches!(&error, Error::Handshake { .. }), "{error}");
        server.client().df(&path(".")).unwrap();
    }
}

#[test]
fn garbage_in_place_of_a_handshake_harms_nobody() {
    let server = TestServer::with(Setup::encrypted);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0xff; 70_000], &[22, 3, 1, 0, 1, 1], b""] {
        let mut raw = server.raw();
        let _ = raw.try_send(garbage);
        raw.vanish();
    }
    server.client().df(&path(".")).unwrap();
}
