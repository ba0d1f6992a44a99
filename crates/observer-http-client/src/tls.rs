//! TLS settings of a client: certificate authorities and the client certificate.

use std::fs;
use std::path::{Path, PathBuf};

use observer_core::{BuildError, SinkError};
use reqwest::{Certificate, ClientBuilder, Identity, Url};
use serde::Deserialize;

/// TLS settings of a client. All files are PEM.
///
/// The files are read when a client is built: before the first connection, and at each check of the
/// sink. A parked sink therefore finds a renewed certificate.
///
/// ```
/// use observer_http_client::Tls;
///
/// let tls = Tls::default().with_ca("ca.pem").with_client_cert("cert.pem", "key.pem");
/// # let _ = tls;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// Certificate authorities to trust in addition to the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate, for destinations that require one.
    pub cert: Option<PathBuf>,
    /// Private key of `cert`, without a passphrase.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Sets the file with certificate authorities to trust in addition to the system's.
    #[must_use]
    pub fn with_ca(self, ca: impl Into<PathBuf>) -> Self {
        Self { ca: Some(ca.into()), ..self }
    }

    /// Sets the files of the client certificate and its private key.
    #[must_use]
    pub fn with_client_cert(self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: Some(cert.into()), key: Some(key.into()), ..self }
    }

    /// Checks that the settings are complete and apply to `url`, which the configuration holds
    /// under `key`.
    ///
    /// # Errors
    /// If anything is set for a URL without TLS, or only one of certificate and private key is set.
    pub fn check(&self, key: &str, url: &Url) -> Result<(), BuildError> {
        if *self != Self::default() && url.scheme() != "https" {
            return Err(BuildError::new(
                "tls",
                format!("is for https, and `{key}` begins with http://"),
            ));
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => {
                Err(BuildError::new("tls.cert", "needs its private key in `tls.key`"))
            }
            (None, Some(_)) => {
                Err(BuildError::new("tls.key", "needs its certificate in `tls.cert`"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn configure(&self, mut client: ClientBuilder) -> Result<ClientBuilder, SinkError> {
        if let Some(path) = &self.ca {
            client = client.tls_certs_merge(authorities(path)?);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            client = client.identity(identity(cert, key)?);
        }
        Ok(client)
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, SinkError> {
    let found = Certificate::from_pem_bundle(&read("tls.ca", path)?).unwrap_or_default();
    if found.is_empty() {
        return Err(SinkError::blocked(format!(
            "`tls.ca`: {} holds no certificate in PEM",
            path.display()
        )));
    }
    Ok(found)
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, SinkError> {
    let mut pem = read("tls.cert", cert)?;
    if cert != key {
        pem.push(b'\n');
        pem.extend(read("tls.key", key)?);
    }
    // The parser's error may quote parts of the private key.
    Identity::from_pem(&pem).map_err(|_| {
        SinkError::blocked(format!(
            "`tls.cert` and `tls.key`: {} and {} do not contain a certificate and its private \
             key in PEM without a passphrase",
            cert.display(),
            key.display()
        ))
    })
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, SinkError> {
    fs::read(path).map_err(|error| {
        SinkError::blocked(format!("`{key}`: {} can't be read: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_require_https_and_a_certificate_requires_its_key() {
        let (https, http) = ("https://h".parse().unwrap(), "http://h".parse().unwrap());
        let check = |tls: &Tls, url: &Url, expected: &str| {
            let problem =
                tls.check("url", url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(
                problem.starts_with(expected) && problem.is_empty() == expected.is_empty(),
                "{problem}"
            );
        };
        let (ca, whole) =
            (Tls::default().with_ca("f.pem"), Tls::default().with_client_cert("f.pem", "f.pem"));
        check(&Tls::default(), &http, "");
        check(&ca, &http, "`tls` is for https, and `url` begins with http://");
        check(&Tls { key: None, ..whole.clone() }, &https, "`tls.cert` needs its private key");
        check(&Tls { cert: None, ..whole.clone() }, &https, "`tls.key` needs its certificate");
        check(&whole.with_ca("f.pem"), &https, "");
    }
}
