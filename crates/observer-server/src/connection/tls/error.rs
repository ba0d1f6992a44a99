//! Why TLS can't be served or spoken with some files.

use std::io;
use std::path::PathBuf;

/// Which file an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// The one with the certificate of this side.
    Certificate,
    /// The one with its private key.
    Key,
    /// The one with those that sign the certificates of the other side.
    Authority,
}

/// Why the files can't be used. Its text names the file at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The operating system doesn't give it.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// Which one.
        file: TlsFile,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It begins as PEM, and then isn't.
    #[error("{} is not PEM: {reason}", path.display())]
    NotPem {
        /// Which one.
        file: TlsFile,
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing in it is a certificate.
    #[error("{} has no certificate in it, which in PEM begins with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// Which one.
        file: TlsFile,
        /// Where.
        path: PathBuf,
    },
    /// It has a certificate that can't be taken apart.
    #[error("{} has a certificate in it that is damaged, or that is not X.509 version 3", path.display())]
    BadCertificate {
        /// Which one.
        file: TlsFile,
        /// Where.
        path: PathBuf,
    },
    /// Nothing in it is a private key.
    #[error("{} has no private key in it, which in PEM begins with -----BEGIN PRIVATE KEY-----", path.display())]
    NoKey {
        /// Where.
        path: PathBuf,
    },
    /// There is no one to ask for the passphrase.
    #[error(
        "the private key in {0} is encrypted, and nobody is there to give the passphrase; \
         `openssl pkey -in {0}` prints it without",
        path.display()
    )]
    EncryptedKey {
        /// Where.
        path: PathBuf,
    },
    /// A private key of an unknown kind, or none at all.
    #[error("the private key in {} is damaged, or of another kind than RSA, ECDSA on P-256 or P-384, and Ed25519", path.display())]
    BadKey {
        /// Where.
        path: PathBuf,
    },
    /// The key is another certificate's.
    #[error(
        "the private key in {} does not belong to the first certificate in {}; authorities come after the certificate that they sign",
        key.display(),
        cert.display()
    )]
    Mismatch {
        /// Where the certificates are.
        cert: PathBuf,
        /// Where the key is.
        key: PathBuf,
    },
}

impl TlsError {
    /// The file at fault.
    #[must_use]
    pub fn file(&self) -> TlsFile {
        match self {
            Self::Unreadable { file, .. }
            | Self::NotPem { file, .. }
            | Self::NoCertificate { file, .. }
            | Self::BadCertificate { file, .. } => *file,
            Self::NoKey { .. }
            | Self::EncryptedKey { .. }
            | Self::BadKey { .. }
            | Self::Mismatch { .. } => TlsFile::Key,
        }
    }
}
