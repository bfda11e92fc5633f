//! Keys that log in: Ed25519 (RFC 8032) in OpenSSH's formats, so that those which people have already work here, and
//! `ssh-keygen -Y sign` can take a client's place.
//!
//! The only file that names the crate for them. Deliberately elsewhere: the files that keys lie in, and whose they are.

use std::fmt;
use std::str::FromStr;

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, SshSig};

use crate::Secret;

/// What a signature is for, so that one made for something else is none here: the namespace of OpenSSH's PROTOCOL.sshsig.
pub const NAMESPACE: &str = "ftpish-login";

/// The most letters of a challenge.
const MAX_CHALLENGE: usize = 128;

/// What a login by key signs. It holds on one connection, to one server, for one user, and so is nothing to whoever else
/// gets hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// What the server said in its reply to `hello`, and says on no other connection.
    pub challenge: &'a str,
    /// The fingerprint of the key that the server proved in TLS; none in the clear.
    pub host_key: Option<&'a str>,
    /// Who logs in.
    pub user: &'a str,
}

impl Statement<'_> {
    /// Three lines, the last one without an end. A challenge is letters and digits alone: a server could write into a longer
    /// one what another server wants to be signed.
    fn to_bytes(self) -> Result<Vec<u8>, KeyError> {
        let Self { challenge, host_key, user } = self;
        let is_plain = challenge.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_plain || !(1..=MAX_CHALLENGE).contains(&challenge.len()) {
            return Err(KeyError::Challenge);
        }
        Ok(format!("{challenge}\n{}\n{user}", host_key.unwrap_or("none")).into_bytes())
    }
}

/// A key by which somebody is known: a line such as `ssh-ed25519 AAAA… comment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(ssh_key::PublicKey);

impl PublicKey {
    /// Whether `signature`, in the armour that `ssh-keygen -Y sign` makes, is this key's for the statement.
    pub fn verifies(&self, statement: Statement<'_>, signature: &str) -> bool {
        SshSig::from_pem(signature).is_ok_and(|signature| self.has_made(&signature, statement))
    }

    fn has_made(&self, signature: &SshSig, statement: Statement<'_>) -> bool {
        statement.to_bytes().is_ok_and(|signed| self.0.verify(NAMESPACE, &signed, signature).is_ok())
    }

    /// The key that says that it made `signature`, if it did.
    pub fn that_made(statement: Statement<'_>, signature: &str) -> Option<Self> {
        let signature = SshSig::from_pem(signature).ok()?;
        let key = Self::ed25519(ssh_key::PublicKey::from(signature.public_key().clone())).ok()?;
        key.has_made(&signature, statement).then_some(key)
    }

    /// Whether the two are one key, whatever their comments.
    pub fn is(&self, other: &Self) -> bool {
        self.0.key_data() == other.0.key_data()
    }

    fn ed25519(key: ssh_key::PublicKey) -> Result<Self, KeyError> {
        match key.algorithm() {
            Algorithm::Ed25519 => Ok(Self(key)),
            other => Err(KeyError::Kind(other.to_string())),
        }
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(line: &str) -> Result<Self, KeyError> {
        Self::ed25519(ssh_key::PublicKey::from_openssh(line).map_err(|_| KeyError::Malformed)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_openssh().map_err(|_| fmt::Error)?)
    }
}

/// A key that is somebody's alone. What it is is not shown, and is overwritten when it is dropped.
#[derive(Clone)]
pub struct PrivateKey(ssh_key::PrivateKey);

impl PrivateKey {
    /// A new one.
    pub fn generate(comment: &str) -> Result<Self, KeyError> {
        let mut key = ssh_key::PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
        key.set_comment(comment);
        Ok(Self(key))
    }

    /// Reads a file of OpenSSH's, as `ssh-keygen` makes it. Where it needs a passphrase, `ask` is asked for that.
    pub fn open<E: From<KeyError>>(text: &str, ask: impl FnOnce() -> Result<Secret, E>) -> Result<Self, E> {
        let key = ssh_key::PrivateKey::from_openssh(text).map_err(|_| KeyError::Malformed)?;
        PublicKey::ed25519(key.public_key().clone())?;
        if !key.is_encrypted() {
            return Ok(Self(key));
        }
        Ok(Self(key.decrypt(ask()?.reveal()).map_err(|_| KeyError::Passphrase)?))
    }

    /// The text of a file that [`open`](Self::open) reads; with `passphrase`, only who knows that can.
    pub fn to_openssh(&self, passphrase: Option<&Secret>) -> Result<Secret, KeyError> {
        let encrypted = passphrase.map(|phrase| self.0.encrypt(&mut OsRng, phrase.reveal())).transpose()?;
        let text = encrypted.as_ref().unwrap_or(&self.0).to_openssh(LineEnding::LF)?;
        Ok(Secret::new(text.to_string()))
    }

    /// The key by which others know it.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().clone())
    }

    /// A signature in the armour that `ssh-keygen -Y sign` makes.
    pub fn sign(&self, statement: Statement<'_>) -> Result<String, KeyError> {
        let signature = self.0.sign(NAMESPACE, HashAlg::Sha512, &statement.to_bytes()?)?;
        Ok(signature.to_pem(LineEnding::LF)?.trim_end().to_owned())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.0.fingerprint(HashAlg::Sha256))
    }
}

/// Why there is no key, or no signature. It never quotes the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is no key in a format of OpenSSH's.
    #[error("it is no key of OpenSSH's")]
    Malformed,
    /// It is one of another kind.
    #[error("it is a key of the kind {0}, and only ssh-ed25519 is taken")]
    Kind(String),
    /// The passphrase does not open it.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// What the server wants to be signed is no challenge.
    #[error("what the server wants to be signed is no challenge")]
    Challenge,
    /// The crate cannot do it.
    #[error("{0}")]
    Other(#[from] ssh_key::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `ssh-keygen -t ed25519 -C ada@example`, and, the second one, with `-N 'open sesame'`.
    const PLAIN: &str = include_str!("../../../fixtures/keys/plain");
    const LOCKED: &str = include_str!("../../../fixtures/keys/locked");
    const PUBLIC: &str = include_str!("../../../fixtures/keys/plain.pub");
    /// Made by `printf 'challenge\nSHA256:key\nada' | ssh-keygen -Y sign -n ftpish-login -f plain`.
    const SIGNATURE: &str = include_str!("../../../fixtures/keys/signature");

    const STATEMENT: Statement<'_> =
        Statement { challenge: "challenge", host_key: Some("SHA256:key"), user: "ada" };

    fn open(text: &str, passphrase: &str) -> Result<PrivateKey, KeyError> {
        PrivateKey::open(text, || Ok(Secret::new(passphrase.to_owned())))
    }

    #[test]
    fn keys_and_signatures_are_those_of_openssh() {
        let key = open(PLAIN, "").unwrap();
        let public: PublicKey = PUBLIC.parse().unwrap();
        assert!(key.public().is(&public) && public.verifies(STATEMENT, SIGNATURE));
        // Ed25519 has one signature for each message.
        assert_eq!(key.sign(STATEMENT).unwrap(), SIGNATURE.trim_end());
        assert_eq!(public.to_string(), PUBLIC.trim_end());
        assert!(open(LOCKED, "open sesame").is_ok());
        assert!(matches!(open(LOCKED, "sesame"), Err(KeyError::Passphrase)));
    }

    #[test]
    fn a_signature_is_for_one_statement_by_one_key() {
        let (key, other) = (PrivateKey::generate("a").unwrap(), PrivateKey::generate("b").unwrap());
        let signature = key.sign(STATEMENT).unwrap();
        assert!(PublicKey::that_made(STATEMENT, &signature).is_some_and(|made| made.is(&key.public())));
        assert!(!other.public().verifies(STATEMENT, &signature));
        for elsewhere in [
            Statement { challenge: "other", ..STATEMENT },
            Statement { host_key: Some("SHA256:other"), ..STATEMENT },
            Statement { host_key: None, ..STATEMENT },
            Statement { user: "eve", ..STATEMENT },
        ] {
            assert!(!key.public().verifies(elsewhere, &signature), "{elsewhere:?}");
            assert!(PublicKey::that_made(elsewhere, &signature).is_none());
        }
        for challenge in ["", "a\nSHA256:other\nada", &"a".repeat(129)] {
            assert!(matches!(key.sign(Statement { challenge, ..STATEMENT }), Err(KeyError::Challenge)));
        }
        for damaged in ["", "x", &signature[..signature.len() / 2], &signature.replace("SSH", "SSL")] {
            assert!(!key.public().verifies(STATEMENT, damaged), "{damaged:?}");
        }
    }

    #[test]
    fn a_key_is_kept_with_a_passphrase_or_without_and_shown_nowhere() {
        let key = PrivateKey::generate("ada").unwrap();
        let phrase = Secret::new("open sesame".to_owned());
        for phrase in [None, Some(&phrase)] {
            let text = key.to_openssh(phrase).unwrap();
            assert!(open(text.reveal(), "open sesame").unwrap().public().is(&key.public()));
        }
        assert!(format!("{key:?}").starts_with("PrivateKey(SHA256:"));
    }

    #[test]
    fn what_is_no_key_of_ours_is_told_apart_and_never_quoted() {
        let check = |line: &str, why: &str| {
            assert_eq!(line.parse::<PublicKey>().unwrap_err().to_string(), why, "{line}");
        };
        check("", "it is no key of OpenSSH's");
        check("ssh-ed25519 hunter2", "it is no key of OpenSSH's");
        check(PLAIN, "it is no key of OpenSSH's");
        check(
            include_str!("../../../fixtures/keys/rsa.pub"),
            "it is a key of the kind ssh-rsa, and only ssh-ed25519 is taken",
        );
    }
}
