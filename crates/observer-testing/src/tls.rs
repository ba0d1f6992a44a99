//! Certificates that no system knows, for receivers over TLS and for those who call them.

use std::fmt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// An authority of a test's own.
pub struct CertificateAuthority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, as PEM.
    pub cert: String,
    /// Its key, as PEM.
    pub key: String,
}

/// How a receiver speaks TLS: with a certificate for `localhost` and `127.0.0.1`; if told so, with
/// clients alone that have one, too.
pub struct ServerTls {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<RootCertStore>,
}

impl CertificateAuthority {
    /// One that is called so.
    ///
    /// # Panics
    /// If there is no randomness for its key.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, key()).expect("an authority can sign for itself"))
    }

    /// Its own certificate as PEM: what the other side has to trust.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `localhost` and `127.0.0.1`, with its key.
    ///
    /// # Panics
    /// If there is no randomness for the key.
    #[must_use]
    pub fn issue(&self, name: &str) -> Identity {
        let key = key();
        let cert = params(name).signed_by(&key, &self.0).expect("an authority can sign");
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }
}

impl ServerTls {
    /// With a certificate of this authority.
    ///
    /// # Panics
    /// If there is no randomness for its key.
    #[must_use]
    pub fn signed_by(authority: &CertificateAuthority) -> Self {
        let key = key();
        let cert = params("receiver").signed_by(&key, &authority.0).expect("an authority can sign");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key that was just made");
        Self { chain: vec![cert.der().clone()], key, clients: None }
    }

    /// Only for clients with a certificate of this authority.
    ///
    /// # Panics
    /// If the authority's certificate is none.
    #[must_use]
    pub fn require_client_certificate_from(self, authority: &CertificateAuthority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).expect("an authority is one");
        Self { clients: Some(roots), ..self }
    }

    pub(crate) fn config(self) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let clients = match self.clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(roots) => {
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .expect("there is an authority for clients")
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions of TLS")
            .with_client_cert_verifier(clients)
            .with_single_cert(self.chain, self.key)
            .expect("the key belongs to the certificate");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn params(name: &str) -> CertificateParams {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("names that a certificate can have");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
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
            .field("asks_clients", &self.clients.is_some())
            .finish_non_exhaustive()
    }
}
