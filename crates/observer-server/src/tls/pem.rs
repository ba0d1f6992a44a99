//! Certificates and keys from PEM files (RFC 7468).

use std::fs;
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::{TlsError, TlsFile};

/// Markers of a key with a passphrase: in PKCS #8 (RFC 5958), and in the older format (RFC 1421,
/// section 4.6.1.1).
const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// Reads the certificates in the file, at least one.
pub(super) fn certificates(
    file: TlsFile,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file, path)?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| not_pem(file, path, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { file, path: path.to_owned() });
    }
    Ok(certificates)
}

/// Reads the first private key in the file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(TlsFile::Key, path)?;
    if ENCRYPTED.iter().any(|mark| text.windows(mark.len()).any(|window| window == *mark)) {
        return Err(TlsError::EncryptedKey { path: path.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        error => not_pem(TlsFile::Key, path, &error),
    })
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { file, path: path.to_owned(), source })
}

/// Converts an error without its text, which may contain a part of a key.
fn not_pem(file: TlsFile, path: &Path, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a BEGIN line has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        pem::Error::Base64Decode(_) => {
            "the text between a BEGIN line and its END line is not base64"
        }
        _ => "it can't be parsed",
    };
    TlsError::NotPem { file, path: path.to_owned(), reason }
}
