//! A far side that answers what it is told to, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(super) struct Receiver {
    /// Without a slash at its end.
    pub(super) url: String,
    told: Arc<Told>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Told {
    answers: Mutex<VecDeque<Response<Body>>>,
    requests: Mutex<Vec<Seen>>,
}

/// A request.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let told = Arc::new(Told::default());
        let router = Router::new().fallback(answer).with_state(told.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, told, serving }
    }

    /// The answer to the next request that has none; 200 without one.
    pub(super) fn answer(&self, status: u16, headers: &[(&str, &str)], body: impl Into<Body>) {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        self.told.answers.lock().unwrap().push_back(answer.body(body.into()).unwrap());
    }

    /// What came since it was asked last.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.told.requests.lock().unwrap())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(told): State<Arc<Told>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
    let line = format!("{} {}", head.method, head.uri);
    told.requests.lock().unwrap().push(Seen { line, headers: head.headers, body });
    let answer = told.answers.lock().unwrap().pop_front();
    answer.unwrap_or_default()
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
        let headers = headers.iter().map(|name| format!("{name}: {}\n", self.header(name.as_str())));
        format!("{}\n{}\n{}", self.line, headers.collect::<String>(), self.text())
    }
}
