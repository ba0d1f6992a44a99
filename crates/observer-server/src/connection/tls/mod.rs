//! TLS: where it is served, with which files, and how these are exchanged while connections go on.
//!
//! Certificates and keys are PEM. TLS 1.2 and 1.3 are spoken, with rustls and ring.

mod error;
mod pem;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

pub use error::{TlsError, TlsFile};

/// Where and how TLS is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Where to listen, as in [`ServerOptions::listen`](crate::ServerOptions::listen) and in
    /// addition to it.
    pub listen: Vec<String>,
    /// The server's certificate in PEM, and after it those that lead to an authority that clients
    /// trust.
    pub cert: PathBuf,
    /// The private key of the first certificate, in PEM and without a passphrase.
    pub key: PathBuf,
    /// Authorities in PEM. With them a client has to show a certificate that one of them has signed
    /// (mutual TLS).
    pub client_ca: Option<PathBuf>,
}

/// What TLS connections are begun with at the moment. Clones change together.
#[derive(Clone)]
pub struct TlsHandle {
    current: Arc<ArcSwap<ServerConfig>>,
}

impl TlsHandle {
    /// Read the files.
    ///
    /// # Errors
    /// Which of them can't be used, and why.
    pub fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        Ok(Self { current: Arc::new(ArcSwap::new(read(options)?)) })
    }

    /// Read the files again. Connections that begin from now on have to do with what is in them;
    /// the others go on as they are. Where TLS is listened on stays as it was.
    ///
    /// # Errors
    /// Which of them can't be used, and why; then nothing has changed.
    pub fn reload(&self, options: &TlsOptions) -> Result<(), TlsError> {
        self.current.store(read(options)?);
        Ok(())
    }

    /// Take over what was loaded by itself: a reload in two steps, for when something else may fail
    /// in between.
    pub fn adopt(&self, loaded: &Self) {
        self.current.store(loaded.current.load_full());
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.load_full().into()
    }
}

impl std::fmt::Debug for TlsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsHandle").finish_non_exhaustive()
    }
}

/// All certificates in a file, of which there is at least one, and each of them can be trusted.
///
/// # Errors
/// Why the file can't be used.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = pem::certificates(TlsFile::Authority, path)?;
    roots(path, &certificates)?;
    Ok(certificates)
}

/// A chain of certificates, and the private key of the first one.
///
/// # Errors
/// Which of the files can't be used and why, or that they don't belong together.
pub fn identity(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = pem::certificates(TlsFile::Certificate, cert)?;
    CertifiedKey::from_der(chain, pem::private_key(key)?, &ring::default_provider()).map_err(
        |error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { cert: cert.to_owned(), key: key.to_owned() }
            }
            rustls::Error::InvalidCertificate(_) => {
                TlsError::BadCertificate { file: TlsFile::Certificate, path: cert.to_owned() }
            }
            _ => TlsError::BadKey { path: key.to_owned() },
        },
    )
}

fn roots(path: &Path, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let bad = |_| TlsError::BadCertificate { file: TlsFile::Authority, path: path.to_owned() };
        roots.add(certificate.clone()).map_err(bad)?;
    }
    Ok(roots)
}

fn read(options: &TlsOptions) -> Result<Arc<ServerConfig>, TlsError> {
    let identity = identity(&options.cert, &options.key)?;
    // Given here rather than installed for the process, which may be someone else's.
    let provider = Arc::new(ring::default_provider());
    let clients = match &options.client_ca {
        Some(path) => verified_by(path, provider.clone())?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn verified_by(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = roots(path, &pem::certificates(TlsFile::Authority, path)?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(verifier
        .expect("there is an authority, and no list of revoked certificates that could be wrong"))
}
