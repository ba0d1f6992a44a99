//! HTTP server with scripted responses.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Reaction to one request.
pub(super) enum Step {
    Respond(String),
    HangUp,
}

impl Step {
    pub(super) fn respond(status: u16, body: &str) -> Self {
        Self::Respond(format!(
            "HTTP/1.1 {status} …\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    pub(super) fn stored(status: &str) -> Self {
        Self::respond(200, &format!(r#"{{"id":"x","status":"{status}","durability":"fsync"}}"#))
    }

    /// Returns a response to a batch. `errors` holds index, status and detail of rejected events.
    pub(super) fn batch(accepted: u64, duplicates: u64, errors: &[(usize, u16, &str)]) -> Self {
        let errors: Vec<_> = errors
            .iter()
            .map(|(index, status, detail)| {
                serde_json::json!({
                    "index": index, "status": status, "reason": "invalid", "detail": detail,
                })
            })
            .collect();
        let (stored, rejected) = (accepted + duplicates, errors.len());
        let (status, body) = match (stored, rejected) {
            (0, _) => (
                422,
                serde_json::json!({
                    "title": "no", "status": 422, "detail": "nothing", "errors": errors,
                }),
            ),
            _ => (
                if rejected == 0 { 200 } else { 207 },
                serde_json::json!({
                    "accepted": accepted, "duplicates": duplicates, "rejected": rejected,
                    "durability": "fsync", "errors": errors,
                }),
            ),
        };
        Self::respond(status, &body.to_string())
    }

    pub(super) fn problem(status: u16, detail: &str) -> Self {
        Self::respond(
            status,
            &serde_json::json!({"title": "no", "status": status, "detail": detail}).to_string(),
        )
    }

    pub(super) fn with_header(self, header: &str) -> Self {
        match self {
            Self::Respond(response) => {
                Self::Respond(response.replacen("\r\n", &format!("\r\n{header}\r\n"), 1))
            }
            Self::HangUp => Self::HangUp,
        }
    }
}

/// Connections and requests received so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Received {
    pub(super) connections: usize,
    requests: Vec<Request>,
}

#[derive(Debug, Clone, Default)]
struct Request {
    path: String,
    content_type: String,
    key: Option<String>,
    body: String,
}

impl Received {
    pub(super) fn bodies(&self) -> Vec<&str> {
        self.requests.iter().map(|request| request.body.as_str()).collect()
    }

    /// Returns path and content type of each request.
    pub(super) fn targets(&self) -> Vec<(&str, &str)> {
        self.requests
            .iter()
            .map(|request| (request.path.as_str(), request.content_type.as_str()))
            .collect()
    }

    pub(super) fn keys(self) -> Vec<Option<String>> {
        self.requests.into_iter().map(|request| request.key).collect()
    }
}

/// Server that stops when it is dropped.
pub(super) struct Observer {
    pub(super) url: String,
    received: Arc<Mutex<Received>>,
    server: AbortHandle,
}

impl Observer {
    /// Starts a server with one step per request; it stops listening after the last one.
    pub(super) fn start(steps: Vec<Step>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let listener = TcpListener::from_std(listener).unwrap();
        let received = Arc::new(Mutex::new(Received::default()));
        let server = tokio::spawn(serve(listener, steps, received.clone())).abort_handle();
        Self { url, received, server }
    }

    pub(super) fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, steps: Vec<Step>, received: Arc<Mutex<Received>>) {
    let mut steps = steps.into_iter().peekable();
    while steps.peek().is_some() {
        let (stream, _) = listener.accept().await.unwrap();
        received.lock().unwrap().connections += 1;
        let mut stream = BufReader::new(stream);
        while let Some(request) = request(&mut stream).await {
            received.lock().unwrap().requests.push(request);
            match steps.next() {
                Some(Step::Respond(response)) => {
                    stream.write_all(response.as_bytes()).await.unwrap();
                }
                Some(Step::HangUp) | None => break,
            }
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let (mut request, mut length) = (Request::default(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("idempotency-key", value)) => request.key = Some(value.to_owned()),
            Some(("content-type", value)) => value.clone_into(&mut request.content_type),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            None if line == "\r\n" => break,
            None => line.split(' ').nth(1).unwrap().clone_into(&mut request.path),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}
