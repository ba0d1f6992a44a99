//! Time at which a certificate expires.

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate as X509;
use x509_cert::der::Decode;

/// File and expiry of the served certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) file: PathBuf,
    /// End of the validity, in seconds since 1970.
    pub(crate) expires: i64,
}

/// Returns the end of the validity of a certificate, in seconds since 1970; `None` if it can't be
/// parsed.
pub(super) fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = X509::from_der(certificate).ok()?;
    let not_after = certificate.tbs_certificate().validity().not_after;
    i64::try_from(not_after.to_unix_duration().as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn expiry_is_read_from_both_formats_of_time() {
        // Years from 2050 on are in GeneralizedTime (RFC 5280, section 4.1.2.5).
        for (year, expected) in
            [(2030, 1_893_456_000), (2050, 2_524_608_000), (9999, 253_370_764_800)]
        {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(expiry(certificate.der()), Some(expected), "{year}");
        }
        assert_eq!(expiry(&CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x00])), None);
    }
}
