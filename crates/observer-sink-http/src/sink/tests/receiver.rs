//! A destination with scripted responses, which records requests.

use std::sync::Mutex;

use observer_testing::http::{HttpReceiver, ReceivedRequest, Reply};
use reqwest::header::HeaderMap;

pub(super) struct Receiver {
    /// URL without a slash at its end.
    pub(super) url: String,
    inner: HttpReceiver,
    /// Number of requests that were returned before.
    returned: Mutex<usize>,
}

/// Request that was received.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        let inner = HttpReceiver::start();
        Self { url: inner.url(""), inner, returned: Mutex::default() }
    }

    /// Adds a response for the next request without one. The default response is 200.
    pub(super) fn respond(
        &self,
        status: u16,
        headers: &[(&'static str, &str)],
        body: impl Into<String>,
    ) {
        let response = Reply::status(status).with_body(body);
        let response = headers
            .iter()
            .fold(response, |response, (name, value)| response.with_header(name, *value));
        self.inner.enqueue(response);
    }

    /// Returns the requests since the last call.
    pub(super) fn requests(&self) -> Vec<Request> {
        let requests = self.inner.requests();
        let returned = std::mem::replace(&mut *self.returned.lock().unwrap(), requests.len());
        requests.into_iter().skip(returned).map(Request::from).collect()
    }
}

impl From<ReceivedRequest> for Request {
    fn from(ReceivedRequest { method, path, headers, raw_body, .. }: ReceivedRequest) -> Self {
        Self { line: format!("{method} {path}"), headers, body: raw_body.to_vec() }
    }
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Returns the request as text, without the header `Host`, which is another one in each run.
    pub(super) fn to_text(&self) -> String {
        let mut headers: Vec<_> = self.headers.keys().filter(|name| *name != "host").collect();
        headers.sort_by_key(|name| name.as_str());
        let headers =
            headers.iter().map(|name| format!("{name}: {}\n", self.header(name.as_str())));
        format!("{}\n{}\n{}", self.line, headers.collect::<String>(), self.text())
    }
}
