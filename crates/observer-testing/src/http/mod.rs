//! A receiver of HTTP that does as it is told.

mod reply;
mod request;
mod serve;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

pub use self::reply::Reply;
pub use self::request::ReceivedRequest;
pub(crate) use self::request::gunzip;
pub use crate::delay::Gate;
use crate::port::Port;
use crate::script::Script;

/// A server on a port of its own that answers as a script says, and keeps all that it was sent.
///
/// It needs a tokio runtime, and ends when it is dropped.
///
/// ```
/// use observer_testing::http::{Reply, HttpReceiver};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # /// What a sink does.
/// # async fn post(receiver: &HttpReceiver, path: &str, body: &str) -> std::io::Result<String> {
/// #     let mut stream = tokio::net::TcpStream::connect(receiver.address()).await?;
/// #     let length = body.len();
/// #     let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
/// #     stream.write_all((head + body).as_bytes()).await?;
/// #     let mut answer = String::new();
/// #     stream.read_to_string(&mut answer).await?;
/// #     Ok(answer)
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let receiver = HttpReceiver::scripted([Reply::status(401).with_body("token expired"), Reply::accept()]);
/// for expected in ["401 Unauthorized", "200 OK", "200 OK"] {
///     let answer = post(&receiver, "/hook", r#"{"n":1}"#).await?;
///     assert!(answer.contains(expected));
/// }
/// let requests = receiver.wait_for_requests(3).await;
/// assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/hook"));
/// assert_eq!(receiver.accepted_items(), [r#"{"n":1}"#; 2]);
/// # Ok(())
/// # }
/// ```
pub struct HttpReceiver {
    port: Port,
    script: Arc<Script<Reply, ReceivedRequest>>,
}

impl HttpReceiver {
    /// A receiver that accepts everything.
    ///
    /// # Panics
    /// If there is no port, and outside a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        Self::scripted([])
    }

    /// A receiver that gives one of these answers to each request, in order, and accepts all that
    /// come later.
    ///
    /// # Panics
    /// If there is no port, and outside a tokio runtime.
    #[must_use]
    pub fn scripted(script: impl IntoIterator<Item = Reply>) -> Self {
        let script = Arc::new(Script::new(script, Reply::accept()));
        let port = Port::open({
            let script = Arc::clone(&script);
            move |stream| Box::pin(serve::connection(stream, Arc::clone(&script)))
        });
        Self { port, script }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `http://127.0.0.1:PORT` and the path, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// One more answer at the end of the script.
    pub fn enqueue(&self, answer: Reply) {
        self.script.enqueue(answer);
    }

    /// How all are answered for whom the script has nothing.
    pub fn set_default_reply(&self, answer: Reply) {
        self.script.set_default_reply(answer);
    }

    /// All requests so far, in the order in which they were complete.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.script.requests()
    }

    /// All requests, once there are so many.
    ///
    /// # Panics
    /// If they don't come within 30 s, with those that came.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<ReceivedRequest> {
        self.script.wait_for_requests(count).await
    }

    /// The items of all requests that the receiver took, in order, repeats and all: what an
    /// acknowledged 2xx stands for, and what was cut off just before it.
    #[must_use]
    pub fn accepted_items(&self) -> Vec<String> {
        self.script.collect(|request| request.taken.clone())
    }

    /// End all connections that there are; who connects anew is served.
    pub async fn close_connections(&self) {
        self.port.close_connections().await;
    }

    /// Let go of the port and of all connections: whoever comes now is refused.
    pub async fn stop(&self) {
        self.port.stop().await;
    }

    /// Listen on the same port again.
    ///
    /// # Panics
    /// If someone else has taken it, and outside a tokio runtime.
    pub fn restart(&self) {
        self.port.restart();
    }
}

impl fmt::Debug for HttpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReceiver").field("address", &self.address()).finish_non_exhaustive()
    }
}
