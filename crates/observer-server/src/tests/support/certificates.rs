//! Certificate authorities, the identities that they sign, and files with these.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::TlsOptions;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Certificate and private key, in PEM.
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Signs an identity for a server on this machine or for a client.
    pub(crate) fn sign(&self, name: &str) -> Identity {
        self.sign_params(&params(name))
    }

    /// Signs an identity that expires at the beginning of a year.
    pub(crate) fn sign_until(&self, year: i32) -> Identity {
        let mut params = params("server");
        params.not_after = date_time_ymd(year, 1, 1);
        self.sign_params(&params)
    }

    fn sign_params(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = params.clone().signed_by(&key, &self.0).unwrap().pem();
        Identity { cert, key: key.serialize_pem() }
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params =
        CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// TLS files of a server.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn of(identity: &Identity) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write_identity(identity);
        files
    }

    pub(crate) fn write_identity(&self, Identity { cert, key }: &Identity) {
        self.write("cert.pem", cert);
        self.write("key.pem", key);
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn options(&self) -> TlsOptions {
        TlsOptions {
            listen: vec!["127.0.0.1:0".into()],
            cert: self.path("cert.pem"),
            key: self.path("key.pem"),
            client_ca: None,
        }
    }

    /// Returns options that require client certificates of this authority.
    pub(crate) fn mutual_tls(&self, authority: &Authority) -> TlsOptions {
        TlsOptions {
            client_ca: Some(self.write("clients.pem", &authority.pem())),
            ..self.options()
        }
    }
}
