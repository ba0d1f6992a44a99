//! Responses that last until their client or the server ends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::response::Response;
use http_body_util::BodyExt;

use super::slots::ActiveRequest;

/// Whether a connection has a lasting response in progress. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Lasting(Arc<AtomicBool>);

/// Mark of a response in progress, which ends when this is dropped.
#[derive(Debug)]
struct InProgress {
    lasting: Lasting,
    _active: ActiveRequest,
}

impl Lasting {
    pub(super) fn is_in_progress(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Keeps the connection active until the body ends.
    pub(super) fn hold(&self, response: Response, active: ActiveRequest) -> Response {
        self.0.store(true, Ordering::Relaxed);
        let mark = InProgress { lasting: self.clone(), _active: active };
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _ = &mark;
                frame
            }))
        })
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.lasting.0.store(false, Ordering::Relaxed);
    }
}
