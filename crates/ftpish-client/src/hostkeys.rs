//! Whose key is trusted: one that was pinned, one that is remembered, or any at the first sight.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ftpish_storage::Edit;
use ftpish_transport::{Endpoint, Fingerprint, signature_algorithms};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

/// Which keys a server may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// This one.
    Key(Fingerprint),
    /// Whichever it has: ask [`Client::host_key`](crate::Client::host_key) and remember it.
    Any,
    /// None: the error tells the key that it has.
    Nothing,
}

/// The keys of servers that were seen before: a text file of one `ENDPOINT FINGERPRINT` a line. Lines that begin
/// with `#`, and empty ones, are kept.
#[derive(Clone, Debug)]
pub struct KnownHosts {
    path: PathBuf,
}

impl KnownHosts {
    /// The file at `path`, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key that is remembered for `endpoint`. A line that cannot be read is an error: to forget a key is to
    /// trust the next one.
    pub fn find(&self, endpoint: &Endpoint) -> Result<Option<Fingerprint>, KnownHostsError> {
        let wanted = endpoint.to_string();
        for (number, line) in self.read()?.lines().enumerate() {
            let bad = || KnownHostsError::Line { path: self.path.clone(), number: number + 1 };
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (host, key) = line.rsplit_once(' ').ok_or_else(bad)?;
            if host == wanted {
                return key.trim().parse().map(Some).map_err(|_| bad());
            }
        }
        Ok(None)
    }

    /// Remembers `key` for `endpoint`, of which nothing is remembered yet.
    pub fn remember(&self, endpoint: &Endpoint, key: Fingerprint) -> Result<(), KnownHostsError> {
        let failed = |error| KnownHostsError::File { path: self.path.clone(), error };
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let edit = Edit::begin(&self.path).map_err(failed)?;
        // Whoever edited it may have left the last line without its end.
        let end = if edit.text().is_empty() || edit.text().ends_with('\n') { "" } else { "\n" };
        let text = format!("{}{end}{endpoint} {key}\n", edit.text());
        edit.finish(&text).map_err(failed)
    }

    fn read(&self) -> Result<String, KnownHostsError> {
        match std::fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|error| KnownHostsError::File { path: self.path.clone(), error }),
        }
    }
}

/// Why the known hosts cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum KnownHostsError {
    /// The operating system said no.
    #[error("cannot use the known hosts in `{}`: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A line is not an endpoint and a fingerprint.
    #[error("line {number} of the known hosts in `{}` is not `HOST:PORT SHA256:…`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        number: usize,
    },
}

/// Judges a server's key in the handshake, and remembers which it was. The certificate's names, dates and issuer
/// say nothing about a key that is known by itself.
#[derive(Debug)]
pub(crate) struct KeyVerifier {
    trust: Trust,
    offered: OnceLock<Fingerprint>,
}

impl KeyVerifier {
    pub(crate) fn new(trust: Trust) -> Arc<Self> {
        Arc::new(Self { trust, offered: OnceLock::new() })
    }

    /// The key that the server has, once it has shown it.
    pub(crate) fn offered(&self) -> Option<Fingerprint> {
        self.offered.get().copied()
    }
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = Fingerprint::of(end_entity)?;
        // A second handshake with this verifier would be with the same server.
        let _ = self.offered.set(key);
        let trusted = match self.trust {
            Trust::Key(expected) => expected == key,
            Trust::Any => true,
            Trust::Nothing => false,
        };
        if trusted {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &signature_algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature_algorithms().supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";
    const OTHER: &str = "SHA256:AAAAv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";

    #[test]
    fn keys_are_remembered_and_found_by_the_whole_endpoint() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownHosts::at(dir.path().join("new/known_hosts"));
        let (a, b): (Endpoint, Endpoint) = ("a".parse().unwrap(), "unix:/a b".parse().unwrap());
        assert_eq!(known.find(&a).unwrap(), None);
        known.remember(&a, KEY.parse().unwrap()).unwrap();
        known.remember(&b, OTHER.parse().unwrap()).unwrap();
        assert_eq!(known.find(&a).unwrap().unwrap().to_string(), KEY);
        assert_eq!(known.find(&b).unwrap().unwrap().to_string(), OTHER);
        let text = std::fs::read_to_string(known.path()).unwrap();
        assert_eq!(text, format!("a:2121 {KEY}\nunix:/a b {OTHER}\n"));
    }

    #[test]
    fn a_key_is_remembered_in_a_line_of_its_own_whatever_the_last_one_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownHosts::at(dir.path().join("known_hosts"));
        for before in ["", "# mine", "# mine\n", &format!("a:2121 {OTHER}"), &format!("a:2121 {OTHER}\n\n")] {
            std::fs::write(known.path(), before).unwrap();
            known.remember(&"b".parse().unwrap(), KEY.parse().unwrap()).unwrap();
            assert_eq!(known.find(&"b".parse().unwrap()).unwrap().unwrap().to_string(), KEY, "{before:?}");
            let text = std::fs::read_to_string(known.path()).unwrap();
            assert!(text.starts_with(before) && text.ends_with('\n'), "{text:?}");
            if before.starts_with('a') {
                assert_eq!(known.find(&"a".parse().unwrap()).unwrap().unwrap().to_string(), OTHER);
            }
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_never_taken_for_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownHosts::at(dir.path().join("known_hosts"));
        std::fs::write(known.path(), "# mine\n\na:2121 SHA256:broken\n").unwrap();
        let error = known.find(&"a".parse().unwrap()).unwrap_err();
        assert!(matches!(error, KnownHostsError::Line { number: 3, .. }), "{error}");
    }
}
