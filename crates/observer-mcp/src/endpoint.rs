//! The tools over HTTP (streamable HTTP transport, without sessions and streams).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use crate::handler::Handler;
use crate::reader::Reader;

/// Endpoint of the streamable HTTP transport. Each message gets a response in JSON; nothing is kept
/// between two of them. Clones share it.
///
/// Whoever calls it has checked host, origin and token, and limited the body.
#[derive(Clone)]
pub struct Endpoint(StreamableHttpService<Handler, NeverSessionManager>);

impl Default for Endpoint {
    fn default() -> Self {
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true);
        let sessions = Arc::new(NeverSessionManager::default());
        Self(StreamableHttpService::new(|| Ok(Handler::Local), sessions, config))
    }
}

impl Endpoint {
    /// Returns the response to one message. A rejected request has a body of plain text.
    ///
    /// Dropping the future cancels the call.
    pub async fn respond(
        &self,
        mut headers: HeaderMap,
        message: Bytes,
        reader: Reader,
    ) -> Response<Bytes> {
        // The response is JSON whatever the client prefers, and the caller has checked the host.
        let accepted = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(ACCEPT, accepted);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        let mut request = Request::new(Full::new(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/mcp");
        *request.headers_mut() = headers;
        request.extensions_mut().insert(reader);
        let (head, body) = self.0.handle(request).await.into_parts();
        match body.collect().await {
            Ok(body) => Response::from_parts(head, body.to_bytes()),
            Err(never) => match never {},
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}
