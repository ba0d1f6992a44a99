//! TLS provider of the process.

/// Installs ring as the crypto provider of the process, unless another one is installed.
pub(crate) fn install() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
