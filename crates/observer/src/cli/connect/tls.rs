//! https: whom to trust, and who to be.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use observer_http_client::tls_error;
use observer_server::tls;
use reqwest::{Certificate, ClientBuilder, Identity, Url};
use rustls::{AlertDescription, CertificateError};

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct TlsArgs {
    /// Authorities to trust in addition to the system's, in PEM
    #[arg(long, help_heading = "For https", value_name = "PATH")]
    pub(super) cacert: Option<PathBuf>,

    /// A certificate to show to the observer, in PEM
    #[arg(long, help_heading = "For https", value_name = "PATH", requires = "key")]
    pub(super) cert: Option<PathBuf>,

    /// Its private key, in PEM and without a passphrase
    #[arg(long, help_heading = "For https", value_name = "PATH", requires = "cert")]
    pub(super) key: Option<PathBuf>,
}

impl TlsArgs {
    /// A client for this URL.
    pub(super) fn configure(
        &self,
        mut client: ClientBuilder,
        url: &Url,
    ) -> anyhow::Result<ClientBuilder> {
        let Self { cacert, cert, key } = self;
        if url.scheme() != "https" {
            let is_given = [cacert, cert, key].into_iter().any(Option::is_some);
            ensure!(
                !is_given,
                "--cacert, --cert and --key are for https, and the URL begins with {}://",
                url.scheme()
            );
            // A system without authorities, such as a small container's, has to be good enough.
            return Ok(client.tls_certs_only([]));
        }
        if let Some(path) = cacert {
            let authorities = tls::authorities(path)?;
            let authorities: Result<Vec<_>, _> =
                authorities.iter().map(|der| Certificate::from_der(der)).collect();
            client = client.tls_certs_merge(authorities?);
        }
        if let (Some(cert), Some(key)) = (cert, key) {
            client = client.identity(identity(cert, key)?);
        }
        Ok(client)
    }
}

fn identity(cert: &Path, key: &Path) -> anyhow::Result<Identity> {
    // What it says of files that are no good is better than what comes below.
    tls::identity(cert, key)?;
    let mut pem = fs::read(cert)?;
    if cert != key {
        pem.push(b'\n');
        pem.extend(fs::read(key)?);
    }
    Identity::from_pem(&pem)
        .with_context(|| format!("{} and {} can't be used", cert.display(), key.display()))
}

/// Why there will be no TLS however often it is tried, and what to do, if it was TLS that failed.
pub(in crate::cli) fn explain(error: &reqwest::Error) -> Option<String> {
    let error = tls_error(error)?;
    let hint = match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; --cacert gives authorities to trust in addition to the system's"
        }
        // The type is webpki's own, and only its text is given on.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "; the observer shows the certificate of an authority (CA:TRUE) as its own; it needs one without that"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "; --cert and --key give a certificate to show to the observer"
        }
        rustls::Error::AlertReceived(AlertDescription::UnknownCA) => {
            "; the observer does not trust the authority that signed the certificate of --cert"
        }
        rustls::Error::InvalidMessage(_) => {
            "; perhaps it speaks plain HTTP, and the URL has to begin with http://"
        }
        _ => "",
    };
    Some(format!("{error}{hint}"))
}
