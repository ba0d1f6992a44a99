//! Client that sends raw bytes and parses responses.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Time after which a waiting test fails.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    stream: Box<dyn Duplex>,
    unread: Vec<u8>,
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    status_line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn connect_unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.unwrap())
    }

    pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self { stream: Box::new(stream), unread: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub(crate) async fn post(&mut self, body: &str) -> Response {
        self.send(post("", body)).await;
        self.response().await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        self.response().await
    }

    /// Reads the next response.
    pub(crate) async fn response(&mut self) -> Response {
        let mut response = self.head().await;
        let length: usize =
            response.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < length {
            assert!(self.read().await > 0, "the connection was closed within a body");
        }
        response.body = String::from_utf8(self.unread.drain(..length).collect()).unwrap();
        response
    }

    /// Reads the head of the next response.
    pub(crate) async fn head(&mut self) -> Response {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            assert!(self.read().await > 0, "the connection was closed without an response");
        };
        let head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().unwrap().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        };
        Response {
            status: status_line.split(' ').nth(1).unwrap().parse().unwrap(),
            status_line,
            headers: lines.map(header).collect(),
            body: String::new(),
        }
    }

    /// Reads until what was read contains a text.
    pub(crate) async fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.unread).contains(text) {
            assert!(self.read().await > 0, "the connection was closed before {text:?}");
        }
    }

    /// Returns what is read until a chunked body ends or the connection is closed.
    pub(crate) async fn body(&mut self) -> String {
        while !self.unread.ends_with(b"0\r\n\r\n") && self.read().await > 0 {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// Reads until the connection is closed, whether or not in order.
    pub(crate) async fn rest(&mut self) {
        while self.stream.read_buf(&mut self.unread).await.is_ok_and(|count| count > 0) {}
    }

    /// Asserts that the server closes the connection without sending anything more.
    pub(crate) async fn expect_close(&mut self) {
        let read = self.read().await;
        assert_eq!(read, 0, "{}", String::from_utf8_lossy(&self.unread));
    }

    /// Asserts that the server closes the connection after a TLS record of the type alert (RFC
    /// 8446, section 5.1).
    pub(crate) async fn expect_alert(&mut self) {
        while self.read().await > 0 {}
        assert_eq!(self.unread.first(), Some(&0x15), "{:?}", self.unread);
    }

    async fn read(&mut self) -> usize {
        let read = tokio::time::timeout(TEST_TIMEOUT, self.stream.read_buf(&mut self.unread));
        read.await.expect("the server responds or closes in time").unwrap()
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Returns a string field of the JSON body.
    pub(crate) fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field}: {self}")).to_owned()
    }
}

/// Headers that differ each time, or are the same for all responses.
const HIDDEN: [&str; 8] = [
    "date",
    "keep-alive",
    "content-length",
    "x-content-type-options",
    "x-frame-options",
    "content-security-policy",
    "referrer-policy",
    "cache-control",
];

/// Formats the response without the [`HIDDEN`] headers.
impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status_line)?;
        for (name, value) in self.headers.iter().filter(|(name, _)| !HIDDEN.contains(&&**name)) {
            writeln!(f, "{name}: {value}")?;
        }
        f.write_str(&self.body)
    }
}

/// Returns a `POST /event` request. Each of the headers ends in `\r\n`.
pub(crate) fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /event HTTP/1.1\r\nhost: test\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
