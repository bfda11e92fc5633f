//! What both ends agree on: TLS 1.3 alone, the ALPN name, no client certificates, and no resumed sessions.
//!
//! Deliberately elsewhere: which server's key is right (`ftpish-client`), and where a server keeps its key
//! (`ftpish-server`).

use std::sync::Arc;

use ftpish_protocol::ALPN;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

/// A client's configuration: TLS 1.3, ALPN `ftpish/1`, and `verifier` to check the server's key.
pub fn client_config(verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// A server's configuration: TLS 1.3, ALPN `ftpish/1`, and its key.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Sessions are not resumed. Without tickets, a client that checks for input finds only what its server has sent.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The signature algorithms that a verifier of certificates can check.
pub fn signature_algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    default_provider().signature_verification_algorithms
}
