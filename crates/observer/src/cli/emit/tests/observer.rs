//! An HTTP server that says what it was told to say.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What it does with one request.
pub(super) enum Step {
    Answer(String),
    HangUp,
}

impl Step {
    pub(super) fn answer(status: u16, body: &str) -> Self {
        Self::Answer(format!("HTTP/1.1 {status} …\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    pub(super) fn stored(status: &str) -> Self {
        Self::answer(200, &format!(r#"{{"id":"x","status":"{status}","durability":"fsync"}}"#))
    }

    pub(super) fn problem(status: u16, detail: &str) -> Self {
        Self::answer(status, &serde_json::json!({"title": "no", "status": status, "detail": detail}).to_string())
    }

    pub(super) fn with_header(self, header: &str) -> Self {
        match self {
            Self::Answer(answer) => Self::Answer(answer.replacen("\r\n", &format!("\r\n{header}\r\n"), 1)),
            Self::HangUp => Self::HangUp,
        }
    }
}

/// What it was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    pub(super) connections: usize,
    /// Idempotency key and body.
    requests: Vec<(Option<String>, String)>,
}

impl Taken {
    pub(super) fn bodies(&self) -> Vec<&str> {
        self.requests.iter().map(|(_, body)| body.as_str()).collect()
    }

    pub(super) fn keys(self) -> Vec<Option<String>> {
        self.requests.into_iter().map(|(key, _)| key).collect()
    }
}

/// Ends when it is dropped.
pub(super) struct Observer {
    pub(super) url: String,
    taken: Arc<Mutex<Taken>>,
    server: AbortHandle,
}

impl Observer {
    /// One step for each request; after the last one nobody listens.
    pub(super) fn start(steps: Vec<Step>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let listener = TcpListener::from_std(listener).unwrap();
        let taken = Arc::new(Mutex::new(Taken::default()));
        let server = tokio::spawn(serve(listener, steps, taken.clone())).abort_handle();
        Self { url, taken, server }
    }

    pub(super) fn taken(&self) -> Taken {
        self.taken.lock().unwrap().clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, steps: Vec<Step>, taken: Arc<Mutex<Taken>>) {
    let mut steps = steps.into_iter().peekable();
    while steps.peek().is_some() {
        let (stream, _) = listener.accept().await.unwrap();
        taken.lock().unwrap().connections += 1;
        let mut stream = BufReader::new(stream);
        while let Some(request) = request(&mut stream).await {
            taken.lock().unwrap().requests.push(request);
            match steps.next() {
                Some(Step::Answer(answer)) => stream.write_all(answer.as_bytes()).await.unwrap(),
                Some(Step::HangUp) | None => break,
            }
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<(Option<String>, String)> {
    let (mut key, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("idempotency-key", value)) => key = Some(value.to_owned()),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            None if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Some((key, String::from_utf8(body).unwrap()))
}
