mod answers;
mod receiver;
mod requests;
mod singly;
mod tls;
mod unanswered;

use observer_core::{ErrorKind, SinkError};

use crate::{HttpConfig, HttpSink};

fn sink(config: &HttpConfig) -> HttpSink {
    HttpSink::new(config).unwrap()
}

#[track_caller]
fn failed(error: &SinkError, kind: ErrorKind, reason: &str) {
    let report = error.report();
    assert_eq!(error.kind, kind, "{report}");
    assert!(report.contains(reason), "{report}");
}
