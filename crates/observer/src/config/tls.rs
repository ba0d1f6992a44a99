//! TLS: where, and with which files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use observer_server::tls::TlsFile;
use observer_server::{TlsError, TlsHandle, TlsOptions};
use serde::Deserialize;

use super::server::addresses;
use super::{Config, ConfigError, Problem, ServerConfig};

/// Where TLS is served, and with which files. All of them are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Where to listen, in addition to where plain HTTP is served.
    #[serde(deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// The server's certificate, and those that lead from it to an authority.
    pub cert: PathBuf,
    /// The private key of the server's certificate.
    pub key: PathBuf,
    /// Authorities; with them, clients have to show a certificate that one of them has signed.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

impl TlsConfig {
    /// As the server knows it.
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
    /// Read the files for TLS, if it is configured.
    ///
    /// # Errors
    /// Which key names a file that can't be used, and why it can't.
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

/// What can't be, whatever is in the files.
pub(super) fn problems(server: &ServerConfig) -> Vec<Problem> {
    let Some(tls) = &server.tls else { return Vec::new() };
    let mut problems = Vec::new();
    let mut refuse = |applies: bool, key: &str, message: String| {
        if applies {
            problems.push(Problem::new(format!("server.tls.{key}"), message));
        }
    };
    refuse(tls.listen.is_empty(), "listen", "must name at least one address".to_owned());
    if let Some(address) =
        tls.listen.iter().find(|address| address.port() != 0 && server.listen.contains(address))
    {
        refuse(
            true,
            "listen",
            format!("{address} is in server.listen too; TLS needs a port of its own"),
        );
    }
    let is_empty = |path: &Path| path.as_os_str().is_empty();
    refuse(is_empty(&tls.cert), "cert", "must not be empty".to_owned());
    refuse(is_empty(&tls.key), "key", "must not be empty".to_owned());
    refuse(
        tls.client_ca.as_deref().is_some_and(is_empty),
        "client_ca",
        "must not be empty".to_owned(),
    );
    problems
}
