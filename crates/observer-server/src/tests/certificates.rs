//! Authorities, what they sign, and the files that it is in.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::TlsOptions;

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// In PEM.
pub(super) struct Identity {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// For a server on this machine as well as for a client.
    pub(super) fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity {
            cert: params(name).signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params =
        CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The files of a server.
pub(super) struct Files(TempDir);

impl Files {
    pub(super) fn of(identity: &Identity) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.hold(identity);
        files
    }

    pub(super) fn hold(&self, Identity { cert, key }: &Identity) {
        self.write("cert.pem", cert);
        self.write("key.pem", key);
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn options(&self) -> TlsOptions {
        TlsOptions {
            listen: vec!["127.0.0.1:0".into()],
            cert: self.path("cert.pem"),
            key: self.path("key.pem"),
            client_ca: None,
        }
    }

    /// Who doesn't show a certificate of this authority is refused.
    pub(super) fn mutual(&self, authority: &Authority) -> TlsOptions {
        TlsOptions {
            client_ca: Some(self.write("clients.pem", &authority.pem())),
            ..self.options()
        }
    }
}
