//! Responses to queries.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LINK, VARY};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::csv::Csv;
use super::{Query, Route};
use crate::problem::Problem;
use crate::request::headers::accept::Media;

/// Result that has rows.
pub(super) trait Table {
    /// Returns the rows as CSV.
    fn to_csv(&self) -> Csv;
}

impl<R: Route> Query<R> {
    /// Returns a response with a result in the chosen media type: CSV or JSON.
    pub(super) fn respond<T: Serialize + Table>(&self, result: &T) -> Response {
        if self.media == Media::Csv {
            return respond(Media::Csv, result.to_csv().finish());
        }
        let json = serde_json::to_vec(result).expect("results have string keys only");
        respond(Media::Json, json)
    }

    /// Adds the address of the next page to a response, if there is one (RFC 8288).
    pub(super) fn link_next(&self, mut response: Response, cursor: Option<&str>) -> Response {
        let link =
            cursor.map(|cursor| format!("<?{}>; rel=\"next\"", self.values.with_cursor(cursor)));
        if let Some(Ok(link)) = link.map(HeaderValue::try_from) {
            response.headers_mut().insert(LINK, link);
        }
        response
    }

    /// Rejects a parameter that has no effect on the chosen media type.
    ///
    /// # Errors
    /// If the parameter is given.
    pub(super) fn reject_for_media(&self, name: &'static str, needed: &str) -> Result<(), Problem> {
        if !self.values.has(name) {
            return Ok(());
        }
        let detail = format!("`{name}` has no effect on this response; accept {needed}");
        Err(Problem::new(StatusCode::BAD_REQUEST, detail).field(Some(name)))
    }
}

/// Returns a response with a body of this media type. Caches distinguish responses by `Accept`.
pub(super) fn respond(media: Media, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    headers.append(VARY, HeaderValue::from_static("accept"));
    response
}
