//! Errors of the files of TLS.

use std::io;
use std::path::PathBuf;

/// File that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// File with the certificates of this side.
    Certificate,
    /// File with the private key.
    Key,
    /// File with the authorities that sign the certificates of the other side.
    Authority,
}

/// Error type for the files of TLS. The message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file can't be read.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// Purpose of the file.
        file: TlsFile,
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file is not valid PEM.
    #[error("{} is not PEM: {reason}", path.display())]
    NotPem {
        /// Purpose of the file.
        file: TlsFile,
        /// Path of the file.
        path: PathBuf,
        /// Description of the defect.
        reason: &'static str,
    },
    /// The file has no certificate.
    #[error(
        "{} has no certificate; in PEM it begins with -----BEGIN CERTIFICATE-----",
        path.display()
    )]
    NoCertificate {
        /// Purpose of the file.
        file: TlsFile,
        /// Path of the file.
        path: PathBuf,
    },
    /// A certificate in the file can't be parsed.
    #[error("{} has a certificate that is damaged or not X.509 version 3", path.display())]
    BadCertificate {
        /// Purpose of the file.
        file: TlsFile,
        /// Path of the file.
        path: PathBuf,
    },
    /// The file has no private key.
    #[error(
        "{} has no private key; in PEM it begins with -----BEGIN PRIVATE KEY-----",
        path.display()
    )]
    NoKey {
        /// Path of the file.
        path: PathBuf,
    },
    /// The private key has a passphrase.
    #[error(
        "the private key in {0} is encrypted; remove the passphrase with `openssl pkey -in {0}`",
        path.display()
    )]
    EncryptedKey {
        /// Path of the file.
        path: PathBuf,
    },
    /// The private key can't be parsed, or its algorithm is not supported.
    #[error(
        "the private key in {} is damaged or not supported; \
         use RSA, ECDSA on P-256 or P-384, or Ed25519",
        path.display()
    )]
    BadKey {
        /// Path of the file.
        path: PathBuf,
    },
    /// The private key belongs to another certificate.
    #[error(
        "the private key in {} does not belong to the first certificate in {}; \
         list authorities after the certificate that they sign",
        key.display(),
        cert.display()
    )]
    Mismatch {
        /// Path of the certificates.
        cert: PathBuf,
        /// Path of the key.
        key: PathBuf,
    },
}

impl TlsError {
    /// Returns the purpose of the file that the error is about.
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
