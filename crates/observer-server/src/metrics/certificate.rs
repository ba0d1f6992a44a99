//! Metric of the time at which the served certificate expires.

use std::sync::{Arc, OnceLock};

use observer_metrics::Definition;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use crate::tls::TlsHandle;

const EXPIRY: Definition = Definition::gauge(
    "observer_certificate_expiry_timestamp_seconds",
    &["file"],
    "Time at which the served certificate expires, in seconds since 1970, by file.",
);

/// Collector of the expiry of the certificate that a server serves. It has no series without TLS.
#[derive(Debug, Clone)]
pub(crate) struct CertificateMetrics {
    tls: Arc<OnceLock<TlsHandle>>,
    desc: Desc,
}

impl CertificateMetrics {
    pub(crate) fn new() -> Self {
        Self { tls: Arc::default(), desc: EXPIRY.desc() }
    }

    /// Sets the handle to the certificate. Later calls have no effect.
    pub(crate) fn set(&self, tls: TlsHandle) {
        let _ = self.tls.set(tls);
    }
}

impl Collector for CertificateMetrics {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let certificate = self.tls.get().and_then(TlsHandle::certificate);
        let sample = certificate.map(|certificate| {
            let file = certificate.file.display().to_string();
            EXPIRY.sample(&[&file], certificate.expires as f64)
        });
        vec![EXPIRY.family(sample)]
    }
}
