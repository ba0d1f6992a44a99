//! TLS options of the client.

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
    /// PEM file of authorities to trust in addition to those of the system
    #[arg(long, help_heading = "TLS", value_name = "PATH")]
    pub(super) cacert: Option<PathBuf>,

    /// PEM file of the client certificate to present
    #[arg(long, help_heading = "TLS", value_name = "PATH", requires = "key")]
    pub(super) cert: Option<PathBuf>,

    /// PEM file of its private key, without a passphrase
    #[arg(long, help_heading = "TLS", value_name = "PATH", requires = "cert")]
    pub(super) key: Option<PathBuf>,
}

impl TlsArgs {
    /// Applies these options to a client for this URL.
    ///
    /// # Errors
    /// If a file can't be used, or an option is given for a URL without TLS.
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
                "--cacert, --cert and --key need an https:// URL, and this one begins with {}://",
                url.scheme()
            );
            // Plain HTTP must also work where the system has no authorities, as in a small
            // container.
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
    // Its errors about unusable files are clearer than those of `Identity::from_pem`.
    tls::identity(cert, key)?;
    let mut pem = fs::read(cert)?;
    if cert != key {
        pem.push(b'\n');
        pem.extend(fs::read(key)?);
    }
    Identity::from_pem(&pem).with_context(|| {
        format!("{} and {} can't be used as a client identity", cert.display(), key.display())
    })
}

/// Returns the reason for a permanent TLS failure with a remedy, or `None` for any other error.
pub(in crate::cli) fn explain(error: &reqwest::Error) -> Option<String> {
    let error = tls_error(error)?;
    let hint = match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; trust its authority with --cacert"
        }
        // The concrete type is private to webpki; only its text is available here.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "; the observer presents an authority's certificate (CA:TRUE) as its own; \
             configure one without CA:TRUE there"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "; present a client certificate with --cert and --key"
        }
        rustls::Error::AlertReceived(AlertDescription::UnknownCA) => {
            "; the observer does not trust the authority that signed --cert; add it to \
             server.tls.client_ca there"
        }
        rustls::Error::InvalidMessage(_) => "; for an observer without TLS, use an http:// URL",
        _ => "",
    };
    Some(format!("{error}{hint}"))
}
