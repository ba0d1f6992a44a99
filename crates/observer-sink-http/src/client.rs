//! The client that makes the connections.

use std::fs;
use std::path::Path;

use observer_core::{SinkError, report};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, Identity};

use crate::config::Tls;
use crate::settings::Settings;

/// Reads the files of `tls`, so not for the threads of a runtime.
pub(crate) fn build(settings: &Settings) -> Result<Client, SinkError> {
    // reqwest panics without a provider. An error says that there is one already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = settings.redirects;
    let mut client = Client::builder()
        .user_agent(concat!("observer/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout)
        .referer(false)
        .redirect(Policy::custom(move |attempt| follow(attempt, redirects)));
    if settings.is_https() {
        let Tls { ca, cert, key } = &settings.tls;
        if let Some(path) = ca {
            client = client.tls_certs_merge(authorities(path)?);
        }
        if let (Some(cert), Some(key)) = (cert, key) {
            client = client.identity(identity(cert, key)?);
        }
    } else if redirects == 0 {
        // A system without authorities, such as a small container's, has to be good enough.
        client = client.tls_certs_only([]);
    }
    client.build().map_err(|error| SinkError::blocked(format!("there can be no TLS: {}", report(&error))))
}

/// Only where method and body stay what they are, and what was meant for one host goes to no other.
fn follow(attempt: Attempt<'_>, most: usize) -> reqwest::redirect::Action {
    let first = attempt.previous().first();
    let is_same_host = first.is_some_and(|first| {
        let is_no_weaker = first.scheme() == attempt.url().scheme() || attempt.url().scheme() == "https";
        first.host() == attempt.url().host() && is_no_weaker
    });
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    if is_same_host && keeps_body && attempt.previous().len() <= most { attempt.follow() } else { attempt.stop() }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, SinkError> {
    let found = Certificate::from_pem_bundle(&read("tls.ca", path)?).unwrap_or_default();
    if found.is_empty() {
        return Err(SinkError::blocked(format!("`tls.ca`: {} holds no certificate in PEM", path.display())));
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
    fs::read(path).map_err(|error| SinkError::blocked(format!("`{key}`: {} can't be read: {error}", path.display())))
}
