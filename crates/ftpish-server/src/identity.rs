//! The server's key: made on the first start, kept in the state directory, named by its fingerprint.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ftpish_transport::{Fingerprint, server_config};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The file in the state directory that holds the key and its certificate, in PEM. One file, so that the two
/// cannot part; replace it to use a certificate of your own.
pub const FILE: &str = "host.pem";

/// A server's key and certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    tls: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

impl Identity {
    /// Reads the key in `state`, or makes one there where there is none. Servers that start at the same time for
    /// the first time end up with the same key.
    pub fn load_or_create(state: &Path) -> Result<Self, IdentityError> {
        let path = state.join(FILE);
        let at = |what| move |error| IdentityError::File { what, path: state.join(FILE), error };
        if !path.try_exists().map_err(at("find"))? {
            create(state, &path).map_err(at("make"))?;
        }
        Self::load(state)
    }

    /// Reads the key in `state`.
    pub fn load(state: &Path) -> Result<Self, IdentityError> {
        let path = state.join(FILE);
        let at = |what| move |error| IdentityError::File { what, path: state.join(FILE), error };
        let mode = std::fs::metadata(&path).map_err(at("read"))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(IdentityError::Open { path });
        }
        let pem = std::fs::read(&path).map_err(at("read"))?;
        Self::from_pem(&pem).map_err(|error| IdentityError::Bad { path, error })
    }

    /// A key that lives as long as the process.
    pub fn ephemeral() -> Result<Self, IdentityError> {
        let path = PathBuf::from("(in memory)");
        let pem =
            generate().map_err(|error| IdentityError::File { what: "make", path: path.clone(), error })?;
        Self::from_pem(pem.as_bytes()).map_err(|error| IdentityError::Bad { path, error })
    }

    fn from_pem(pem: &[u8]) -> Result<Self, BadPem> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(BadPem::new)?;
        let first = chain.first().ok_or_else(|| BadPem("there is no certificate in it".to_owned()))?;
        let fingerprint = Fingerprint::of(first).map_err(BadPem::new)?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(BadPem::new)?;
        Ok(Self { tls: server_config(chain, key).map_err(BadPem::new)?, fingerprint })
    }

    /// What clients remember this server by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The TLS configuration that proves it.
    pub fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }
}

/// An ECDSA P-256 key and its self-signed certificate. The certificate names nobody: clients know the key.
fn generate() -> io::Result<String> {
    let made = rcgen::generate_simple_self_signed(vec!["ftpish".to_owned()]).map_err(io::Error::other)?;
    Ok(made.signing_key.serialize_pem() + &made.cert.pem())
}

fn create(state: &Path, path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let mut file = tempfile::NamedTempFile::new_in(state)?;
    file.write_all(generate()?.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(lost) if lost.error.kind() != io::ErrorKind::AlreadyExists => Err(lost.error),
        _ => Ok(()),
    }
}

/// Why there is no [`Identity`].
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The operating system said no.
    #[error("cannot {what} the host key `{}`: {error}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Others may read the key, so it is nobody's any more.
    #[error("the host key `{}` can be read by others: chmod 600 it, or delete it to get a new one", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a key with its certificate.
    #[error("the host key `{}` cannot be used: {error}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: BadPem,
    },
}

/// What is wrong with a PEM file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadPem(String);

impl BadPem {
    fn new(error: impl ToString) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("a/b");
        let first = Identity::load_or_create(&dir).unwrap().fingerprint();
        assert_eq!(Identity::load_or_create(&dir).unwrap().fingerprint(), first);
        assert_ne!(Identity::ephemeral().unwrap().fingerprint(), first);
        assert_eq!(std::fs::metadata(dir.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(FILE);
        Identity::load_or_create(state.path()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Identity::load_or_create(state.path()), Err(IdentityError::Open { .. })));
        std::fs::write(&path, "no key").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = Identity::load_or_create(state.path()).unwrap_err().to_string();
        assert!(error.ends_with("there is no certificate in it"), "{error}");
    }
}
