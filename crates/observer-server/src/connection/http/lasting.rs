//! Responses that last until their client or the server ends them.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use http_body_util::BodyExt;

use crate::connection::slots::ActiveRequest;

/// Flag of a connection that has a lasting response. No other request follows on it.
#[derive(Debug, Default)]
pub(super) struct Lasting(AtomicBool);

impl Lasting {
    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes the response the last one, and keeps the connection active until its body ends.
    pub(super) fn begin(&self, mut response: Response, active: ActiveRequest) -> Response {
        self.0.store(true, Ordering::Relaxed);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _held = &active;
                frame
            }))
        })
    }
}
