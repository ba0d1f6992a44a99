//! What TLS clients need before the first one is built.

/// Use ring for all cryptography of this process, unless something else was chosen before.
pub(crate) fn install() {
    // The error says that there is a provider already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
