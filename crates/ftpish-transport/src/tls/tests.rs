//! Tests of what is promised there.

use std::time::Duration;

use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::*;
use crate::{Deadline, Interrupt};

/// Takes every key, or none.
#[derive(Debug)]
struct Verifier(bool);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.0 { Ok(ServerCertVerified::assertion()) } else { Err(rustls::Error::General("no".into())) }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &signature_algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        signature_algorithms().supported_schemes()
    }
}

type Client = io::Result<TlsStream<UnbufferedClientConnection>>;
type Server = io::Result<TlsStream<UnbufferedServerConnection>>;

fn handshake(trusted: bool) -> (Client, Server) {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = server_config(vec![key.cert.der().clone()], private).unwrap();
    let (a, b) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let new = |s| Socket::new(s, Deadline::after(Duration::from_secs(60)), Interrupt::default()).unwrap();
    let (a, b) = (new(a), new(b));
    let server = std::thread::spawn(move || {
        let mut server = TlsStream::accept(b, config)?;
        server.until_ready()?;
        Ok(server)
    });
    let name = ServerName::try_from("localhost").unwrap();
    let client = TlsStream::connect(a, client_config(Arc::new(Verifier(trusted))), name);
    (client, server.join().unwrap())
}

#[test]
fn large_and_small_writes_arrive_in_both_directions() {
    let (client, server) = handshake(true);
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let sizes = [0, 1, 1 << 14, (1 << 14) + 1, 3 << 20, 5];
    let sent: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|i| (i % 251) as u8).collect();
    let expected = sent.clone();
    let echo = std::thread::spawn(move || {
        let mut all = vec![0; sent.len()];
        server.read_exact(&mut all).unwrap();
        server.write_all(&all).unwrap();
        server
    });
    let mut rest = &expected[..];
    for size in sizes {
        client.write_all(&rest[..size]).unwrap();
        rest = &rest[size..];
    }
    let mut back = vec![0; expected.len()];
    client.read_exact(&mut back).unwrap();
    assert!(back == expected);
    let server = echo.join().unwrap();
    assert!(!client.is_readable().unwrap());
    drop(server);
    assert!(client.is_readable().unwrap(), "the end is something to read");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_was_sent_is_readable_before_it_is_read() {
    let (client, server) = handshake(true);
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    server.write_all(b"refused").unwrap();
    while !client.is_readable().unwrap() {}
    client.write_all(b"sent although something came in").unwrap();
    let mut got = [0; 7];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"refused");
}

#[test]
fn a_refused_key_fails_both_ends() {
    let (client, server) = handshake(false);
    assert_eq!(client.err().unwrap().to_string(), "unexpected error: no");
    assert!(server.is_err(), "the alert arrived");
}
