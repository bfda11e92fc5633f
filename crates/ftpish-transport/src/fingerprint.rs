//! The fingerprint of a host key: what a person compares, and what clients remember.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ftpish_protocol::Algorithm;
use rustls::pki_types::CertificateDer;

/// The SHA-256 of a certificate's DER-encoded SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), written as
/// OpenSSH writes its own: `SHA256:` and base64 without padding. It names the key, so a renewed certificate for
/// the same key keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of the key in `certificate`.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let parsed = rustls::server::ParsedCertificate::try_from(certificate)?;
        let digest = Algorithm::Sha256.digest(&parsed.subject_public_key_info());
        Ok(Self(digest.as_bytes().try_into().expect("SHA-256 has 32 bytes")))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SHA256:{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        let encoded = text.strip_prefix("SHA256:").ok_or(ParseFingerprintError)?;
        let bytes = BASE64.decode(encoded).map_err(|_| ParseFingerprintError)?;
        bytes.try_into().map(Self).map_err(|_| ParseFingerprintError)
    }
}

/// The text is not `SHA256:` and 43 characters of base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint: expected SHA256: and 43 characters of base64")]
pub struct ParseFingerprintError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let text = "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";
        assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
        for bad in
            ["", "SHA256:", "SHA256:abc", &text[7..], "MD5:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0"]
        {
            assert_eq!(bad.parse::<Fingerprint>(), Err(ParseFingerprintError), "{bad}");
        }
    }
}
