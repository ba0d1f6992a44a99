mod connections;
mod one_by_one;
mod receiver;
mod requests;
mod responses;
mod tls;
mod transport_errors;

use observer_core::{ErrorKind, SinkError};

use crate::{HttpConfig, HttpSink};

fn sink(config: &HttpConfig) -> HttpSink {
    HttpSink::new(config).unwrap()
}

#[track_caller]
fn assert_error(error: &SinkError, kind: ErrorKind, reason: &str) {
    let report = error.report();
    assert_eq!(error.kind, kind, "{report}");
    assert!(report.contains(reason), "{report}");
}
