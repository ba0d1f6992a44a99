use insta::assert_snapshot;

use super::support::certificates::{Authority, Files};
use crate::tls::{TlsHandle, TlsOptions};

/// Returns the error of loading the files, with `tls/` as their folder.
fn load_error(files: &Files, options: &TlsOptions) -> String {
    let error = TlsHandle::load(options).unwrap_err();
    observer_core::report(&error).replace(files.path("").to_str().unwrap(), "tls/")
}

#[test]
fn unusable_files_are_named_with_the_defect() {
    let authority = Authority::new("one");
    let identity = authority.sign("server");
    let files = Files::of(&identity);
    TlsHandle::load(&files.options()).unwrap();

    let with = |name: &str, text: &str| {
        files.write_identity(&identity);
        files.write(name, text);
        load_error(&files, &files.options())
    };
    assert_snapshot!(with("cert.pem", ""), @"tls/cert.pem has no certificate; in PEM it begins with -----BEGIN CERTIFICATE-----");
    assert_snapshot!(with("cert.pem", &identity.key), @"tls/cert.pem has no certificate; in PEM it begins with -----BEGIN CERTIFICATE-----");
    assert_snapshot!(with("cert.pem", identity.cert.trim_end().trim_end_matches('-')), @"tls/cert.pem is not PEM: a BEGIN line has no END line");
    assert_snapshot!(with("cert.pem", &identity.cert.replace("MII", "M?I")), @"tls/cert.pem is not PEM: the text between a BEGIN line and its END line is not base64");
    assert_snapshot!(with("cert.pem", &format!("-----BEGIN CERTIFICATE\n{}", identity.cert)), @"tls/cert.pem is not PEM: a BEGIN line is malformed");
    assert_snapshot!(with("cert.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), @"tls/cert.pem has a certificate that is damaged or not X.509 version 3");
    assert_snapshot!(with("key.pem", &identity.cert), @"tls/key.pem has no private key; in PEM it begins with -----BEGIN PRIVATE KEY-----");
    assert_snapshot!(with("key.pem", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"), @"the private key in tls/key.pem is damaged or not supported; use RSA, ECDSA on P-256 or P-384, or Ed25519");
    assert_snapshot!(with("key.pem", &identity.key.replace(" PRIVATE", " ENCRYPTED PRIVATE")), @"the private key in tls/key.pem is encrypted; remove the passphrase with `openssl pkey -in tls/key.pem`");
    let old_form = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";
    assert_snapshot!(with("key.pem", old_form), @"the private key in tls/key.pem is encrypted; remove the passphrase with `openssl pkey -in tls/key.pem`");
    assert_snapshot!(with("key.pem", &authority.sign("another").key), @"the private key in tls/key.pem does not belong to the first certificate in tls/cert.pem; list authorities after the certificate that they sign");
    let backwards = format!("{}{}", authority.pem(), identity.cert);
    assert_snapshot!(with("cert.pem", &backwards), @"the private key in tls/key.pem does not belong to the first certificate in tls/cert.pem; list authorities after the certificate that they sign");

    files.write_identity(&identity);
    std::fs::remove_file(files.path("key.pem")).unwrap();
    assert_snapshot!(load_error(&files, &files.options()), @"tls/key.pem can't be read: No such file or directory (os error 2)");
}

#[test]
fn unusable_client_authorities_are_named_with_the_defect() {
    let files = Files::of(&Authority::new("one").sign("server"));
    let with = |text: &str| {
        load_error(
            &files,
            &TlsOptions { client_ca: Some(files.write("clients.pem", text)), ..files.options() },
        )
    };
    assert_snapshot!(with(""), @"tls/clients.pem has no certificate; in PEM it begins with -----BEGIN CERTIFICATE-----");
    assert_snapshot!(with("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), @"tls/clients.pem has a certificate that is damaged or not X.509 version 3");
}
