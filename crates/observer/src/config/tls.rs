//! Section `[server.tls]`: addresses and files of TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use observer_server::tls::TlsFile;
use observer_server::{TlsError, TlsHandle, TlsOptions};
use serde::Deserialize;

use super::server::addresses;
use super::{Config, ConfigError, Problem, ServerConfig};

/// TLS settings of the server. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Addresses of TLS, in addition to those of plain HTTP.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Certificate of the server, followed by its intermediate certificates.
    pub cert: PathBuf,
    /// Private key of the certificate.
    pub key: PathBuf,
    /// Authorities for client certificates. If set, every client must present a certificate signed
    /// by one of them.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

impl TlsConfig {
    /// Converts the settings to the options of the server.
    #[must_use]
    pub fn resolve(&self) -> TlsOptions {
        TlsOptions {
            listen: self.listen.iter().map(ToString::to_string).collect(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            client_ca: self.client_ca.clone(),
        }
    }
}

impl Config {
    /// Loads the TLS files, or returns `None` without `[server.tls]`.
    ///
    /// # Errors
    /// If a file can't be used; the error names its key.
    pub fn load_tls(&self) -> Result<Option<TlsHandle>, ConfigError> {
        let tls = self.server.tls.as_ref().map(|tls| TlsHandle::load(&tls.resolve())).transpose();
        tls.map_err(|error| self.invalid(vec![file_problem(&error)]))
    }
}

fn file_problem(error: &TlsError) -> Problem {
    let key = match error.file() {
        TlsFile::Certificate => "server.tls.cert",
        TlsFile::Key => "server.tls.key",
        TlsFile::Authority => "server.tls.client_ca",
    };
    Problem::new(key, observer_core::report(error))
}

/// Returns the problems that are independent of the content of the files.
pub(super) fn problems(server: &ServerConfig) -> Vec<Problem> {
    let Some(tls) = &server.tls else { return Vec::new() };
    let mut problems = Vec::new();
    let mut reject = |applies: bool, key: &str, message: String| {
        if applies {
            problems.push(Problem::new(format!("server.tls.{key}"), message));
        }
    };
    reject(tls.listen.is_empty(), "listen", "must name at least one address".to_owned());
    if let Some(address) =
        tls.listen.iter().find(|address| address.port() != 0 && server.listen.contains(address))
    {
        reject(
            true,
            "listen",
            format!("{address} is in server.listen too; use a separate port for TLS"),
        );
    }
    let is_empty = |path: &Path| path.as_os_str().is_empty();
    reject(is_empty(&tls.cert), "cert", "must not be empty".to_owned());
    reject(is_empty(&tls.key), "key", "must not be empty".to_owned());
    reject(
        tls.client_ca.as_deref().is_some_and(is_empty),
        "client_ca",
        "must not be empty".to_owned(),
    );
    problems
}
