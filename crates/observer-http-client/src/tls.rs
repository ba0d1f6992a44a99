//! Whom to trust, and what to show.

use std::fs;
use std::path::{Path, PathBuf};

use observer_core::{BuildError, SinkError};
use reqwest::{Certificate, ClientBuilder, Identity, Url};
use serde::Deserialize;

/// Files in PEM. They are read when they are needed, and again while the sink is parked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// Authorities to trust in addition to the system's.
    pub ca: Option<PathBuf>,
    /// A certificate to show.
    pub cert: Option<PathBuf>,
    /// Its private key, without a passphrase.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Whether it makes sense for this URL, which the configuration has under `key`.
    ///
    /// # Errors
    /// The URL needs no TLS, or one of a certificate and its key is missing.
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
    // The error is not repeated: it may have parts of the key in it.
    Identity::from_pem(&pem).map_err(|_| {
        SinkError::blocked(format!(
            "`tls.cert` and `tls.key`: {} and {} are no certificate with its private key, in PEM and without a passphrase",
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
    fn files_go_with_https_and_a_certificate_with_its_key() {
        let (https, http) = ("https://h".parse().unwrap(), "http://h".parse().unwrap());
        let file = || Some(PathBuf::from("file.pem"));
        let check = |tls: &Tls, url: &Url, expected: &str| {
            let problem =
                tls.check("url", url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(
                problem.starts_with(expected) && problem.is_empty() == expected.is_empty(),
                "{problem}"
            );
        };
        check(&Tls::default(), &http, "");
        check(
            &Tls { ca: file(), ..Tls::default() },
            &http,
            "`tls` is for https, and `url` begins with http://",
        );
        check(&Tls { cert: file(), ..Tls::default() }, &https, "`tls.cert` needs its private key");
        check(&Tls { key: file(), ..Tls::default() }, &https, "`tls.key` needs its certificate");
        check(&Tls { ca: file(), cert: file(), key: file() }, &https, "");
    }
}
