//! Raw TCP connection, on which a test sends arbitrary bytes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Observer, Response, TIMEOUT};

pub(super) struct RawConnection {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// Result of waiting for a response.
pub(super) enum Received {
    Response(Response),
    /// The connection was closed without a response.
    Closed,
}

impl RawConnection {
    pub(super) async fn connect(observer: &Observer) -> Self {
        let address = observer.url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Sends bytes. Returns whether all of them were sent: the observer may close the connection
    /// after it rejected a request.
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = tokio::time::timeout(TIMEOUT, self.stream.write_all(bytes.as_ref())).await;
        sent.expect("the observer reads or closes").is_ok()
    }

    /// Shuts down the write half. The read half stays open.
    pub(super) async fn shut_down_write(&mut self) {
        // The observer may have closed the connection.
        let _ = self.stream.shutdown().await;
    }

    /// Receives the next response, or the end of the connection.
    pub(super) async fn receive(&mut self) -> Received {
        let Some(head) = self.until_blank_line().await else { return Received::Closed };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            headers.append(
                reqwest::header::HeaderName::try_from(name).unwrap(),
                value.parse().unwrap(),
            );
        }
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        while self.unread.len() < length {
            assert!(self.read().await, "the connection ended within a body");
        }
        let text = String::from_utf8(self.unread.drain(..length).collect()).unwrap();
        Received::Response(Response { status, headers, text })
    }

    /// Receives the next response.
    ///
    /// # Panics
    ///
    /// If the connection is closed without one.
    pub(super) async fn response(&mut self) -> Response {
        match self.receive().await {
            Received::Response(response) => response,
            Received::Closed => panic!("the connection ended without a response"),
        }
    }

    /// Asserts that the connection is closed without further bytes.
    pub(super) async fn assert_closed(&mut self) {
        let more = self.read().await;
        assert!(!more, "{}", String::from_utf8_lossy(&self.unread));
    }

    async fn until_blank_line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                return Some(self.unread.drain(..at + 4).collect());
            }
            if !self.read().await {
                assert!(
                    self.unread.is_empty(),
                    "half a response: {}",
                    String::from_utf8_lossy(&self.unread)
                );
                return None;
            }
        }
    }

    /// Reads more bytes. Returns false at the end of the connection, which may be a reset.
    async fn read(&mut self) -> bool {
        let read = tokio::time::timeout(TIMEOUT, self.stream.read_buf(&mut self.unread)).await;
        read.expect("the observer responds or closes").is_ok_and(|length| length > 0)
    }
}

impl Received {
    /// Returns the response, or the end of the connection, as text for a transcript.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Response(response) if response.headers.contains_key("content-type") => {
                response.summary()
            }
            Self::Response(response) => {
                format!("{} {}", response.status, response.text).trim_end().to_owned()
            }
            Self::Closed => "(the connection is closed)".to_owned(),
        }
    }
}

/// Returns a POST request with a matching `Content-Length`.
pub(super) fn post(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         {headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
