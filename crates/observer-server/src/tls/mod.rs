//! TLS: addresses, files, and their replacement at run time.
//!
//! Certificates and keys are in PEM files. Versions 1.2 and 1.3 are supported, by rustls with ring.

mod certificate;
mod error;
mod pem;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

pub(crate) use self::certificate::Certificate;
pub use self::error::{TlsError, TlsFile};

/// Addresses and files of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Addresses to listen on, in the format of
    /// [`ServerOptions::listen`](crate::ServerOptions::listen) and in addition to it.
    pub listen: Vec<String>,
    /// File with the server's certificate in PEM, followed by the intermediate certificates up to
    /// an authority that clients trust.
    pub cert: PathBuf,
    /// File with the private key of the first certificate, in PEM and without a passphrase.
    pub key: PathBuf,
    /// File with certificate authorities in PEM. If set, clients must present a certificate that
    /// one of them has signed (mutual TLS). Sessions are then not resumed, so that the certificate
    /// is checked at each connection.
    pub client_ca: Option<PathBuf>,
}

/// Handle to the TLS configuration of new connections. Clones share it.
#[derive(Clone)]
pub struct TlsHandle {
    current: Arc<ArcSwap<Loaded>>,
}

/// Contents of the files.
struct Loaded {
    config: Arc<ServerConfig>,
    /// Certificate that is served; `None` if its validity can't be parsed.
    certificate: Option<Certificate>,
}

impl TlsHandle {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file can't be used. The error names the file.
    pub fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(read(options)?)) })
    }

    /// Reads the files again, for new connections. Open connections and the addresses stay.
    ///
    /// # Errors
    /// If a file can't be used. The error names the file, and the configuration stays.
    pub fn reload(&self, options: &TlsOptions) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(options)?));
        Ok(())
    }

    /// Replaces the configuration by a loaded one: a reload in two steps, for callers that do
    /// something fallible in between.
    pub fn adopt(&self, loaded: &Self) {
        self.current.store(loaded.current.load_full());
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.load().config.clone().into()
    }

    /// Returns file and expiry of the certificate that is served.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        self.current.load().certificate.clone()
    }
}

impl std::fmt::Debug for TlsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsHandle").finish_non_exhaustive()
    }
}

/// Reads the certificate authorities in a file, at least one.
///
/// # Errors
/// If the file can't be read, or has no certificate or an invalid one.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = pem::certificates(TlsFile::Authority, path)?;
    roots(path, &certificates)?;
    Ok(certificates)
}

/// Reads a chain of certificates and the private key of the first one.
///
/// # Errors
/// If a file can't be used, or the key belongs to another certificate.
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

fn read(options: &TlsOptions) -> Result<Loaded, TlsError> {
    let identity = identity(&options.cert, &options.key)?;
    let certificate = identity.end_entity_cert().ok().and_then(certificate::expiry);
    let certificate =
        certificate.map(|expires| Certificate { file: options.cert.clone(), expires });
    // Passed here rather than installed, since the process may belong to an embedding program.
    let provider = Arc::new(ring::default_provider());
    let clients = match &options.client_ca {
        Some(path) => client_verifier(path, provider.clone())?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if options.client_ca.is_some() {
        // A resumed session skips the check of the client certificate, which may have expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), certificate })
}

fn client_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = roots(path, &pem::certificates(TlsFile::Authority, path)?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(verifier.expect("there is an authority, and no revocation list to parse"))
}
