//! Certificates and their authorities, as PEM files.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Returns the parameters of a certificate for the loopback.
pub(crate) fn params(name: &str) -> CertificateParams {
    let mut params =
        CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Creates a certificate authority and writes `NAME.pem`.
fn authority(dir: &Path, name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join(name).with_extension("pem"), authority.pem()).unwrap();
    authority
}

/// Issues a certificate in `NAME.pem` and its key in `NAME-key.pem`.
fn sign(dir: &Path, authority: &CertifiedIssuer<'static, KeyPair>, name: &str) {
    let key = KeyPair::generate().unwrap();
    std::fs::write(
        dir.join(format!("{name}.pem")),
        params(name).signed_by(&key, authority).unwrap().pem(),
    )
    .unwrap();
    let path = dir.join(format!("{name}-key.pem"));
    std::fs::write(&path, key.serialize_pem()).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Writes an authority with a server and a client certificate, and a client certificate of another
/// authority.
pub(crate) fn certificates(dir: &Path) {
    let ca = authority(dir, "ca");
    sign(dir, &ca, "server");
    sign(dir, &ca, "client");
    sign(dir, &authority(dir, "other-ca"), "stranger");
}
