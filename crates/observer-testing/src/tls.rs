//! Certificates for receivers over TLS and for their clients.
//!
//! Each [`CertificateAuthority`] is new, so that no system trusts it.

use std::fmt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Certificate authority of one test.
pub struct CertificateAuthority(CertifiedIssuer<'static, KeyPair>);

/// Certificate with its private key.
#[derive(Clone)]
pub struct Identity {
    /// Certificate as PEM.
    pub cert: String,
    /// Private key as PEM.
    pub key: String,
}

/// TLS settings of a receiver: a certificate for `localhost` and `127.0.0.1`, and the authority of
/// client certificates if they are required.
pub struct ServerTls {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_roots: Option<RootCertStore>,
}

impl CertificateAuthority {
    /// Creates an authority with this common name.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(
            CertifiedIssuer::self_signed(params, key())
                .expect("an authority can sign its own certificate"),
        )
    }

    /// Returns the authority's certificate as PEM, for the trust store of a peer.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for `localhost` and `127.0.0.1` with this common name.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn issue(&self, name: &str) -> Identity {
        let key = key();
        let cert =
            params(name).signed_by(&key, &self.0).expect("an authority can sign a certificate");
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }
}

impl ServerTls {
    /// Creates settings with a server certificate from this authority.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn signed_by(authority: &CertificateAuthority) -> Self {
        let key = key();
        let cert = params("receiver")
            .signed_by(&key, &authority.0)
            .expect("an authority can sign a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a new key is valid");
        Self { chain: vec![cert.der().clone()], key, client_roots: None }
    }

    /// Rejects clients without a certificate from this authority.
    ///
    /// # Panics
    /// If rustls rejects the authority's certificate.
    #[must_use]
    pub fn require_client_certificate_from(self, authority: &CertificateAuthority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).expect("the certificate of an authority is valid");
        Self { client_roots: Some(roots), ..self }
    }

    pub(crate) fn config(self) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let verifier = match self.client_roots {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(roots) => {
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .expect("the client authority is not empty")
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions of TLS")
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain, self.key)
            .expect("the key belongs to the certificate");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn params(name: &str) -> CertificateParams {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the system has randomness")
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("cert", &self.cert).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("requires_client_certificate", &self.client_roots.is_some())
            .finish_non_exhaustive()
    }
}
