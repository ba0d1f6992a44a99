//! The far side, with what the tests ask of it.

use std::sync::Mutex;

use observer_testing::http::{HttpReceiver, ReceivedRequest, Reply};
use reqwest::header::HeaderMap;

pub(super) struct Receiver {
    /// Without a slash at its end.
    pub(super) url: String,
    far_side: HttpReceiver,
    seen: Mutex<usize>,
}

/// A request.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        let far_side = HttpReceiver::start();
        Self { url: far_side.url(""), far_side, seen: Mutex::default() }
    }

    /// The answer to the next request that has none; 200 without one.
    pub(super) fn answer(
        &self,
        status: u16,
        headers: &[(&'static str, &str)],
        body: impl Into<String>,
    ) {
        let answer = Reply::status(status).with_body(body);
        let answer =
            headers.iter().fold(answer, |answer, (name, value)| answer.with_header(name, *value));
        self.far_side.enqueue(answer);
    }

    /// What came since it was asked last.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let requests = self.far_side.requests();
        let seen = std::mem::replace(&mut *self.seen.lock().unwrap(), requests.len());
        requests.into_iter().skip(seen).map(Seen::from).collect()
    }
}

impl From<ReceivedRequest> for Seen {
    fn from(ReceivedRequest { method, path, headers, raw_body, .. }: ReceivedRequest) -> Self {
        Self { line: format!("{method} {path}"), headers, body: raw_body.to_vec() }
    }
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// All of it but for the address, which is another one each time.
    pub(super) fn shown(&self) -> String {
        let mut headers: Vec<_> = self.headers.keys().filter(|name| *name != "host").collect();
        headers.sort_by_key(|name| name.as_str());
        let headers =
            headers.iter().map(|name| format!("{name}: {}\n", self.header(name.as_str())));
        format!("{}\n{}\n{}", self.line, headers.collect::<String>(), self.text())
    }
}
