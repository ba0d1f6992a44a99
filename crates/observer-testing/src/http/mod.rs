//! HTTP receiver that replies by a script.
//!
//! | module | content |
//! |---|---|
//! | `reply` | replies of a script, and what each accepts of a request |
//! | `request` | requests as they are recorded |
//! | `serve` | connections |

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

/// HTTP server on a local port that replies by a script and records each request.
///
/// It needs a tokio runtime. Dropping it closes the port and all connections.
///
/// ```
/// use observer_testing::http::{HttpReceiver, Reply};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # /// Sends a request, as a sink does.
/// # async fn post(receiver: &HttpReceiver, path: &str, body: &str) -> std::io::Result<String> {
/// #     let mut stream = tokio::net::TcpStream::connect(receiver.address()).await?;
/// #     let length = body.len();
/// #     let head = format!(
/// #         "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
/// #          content-length: {length}\r\n\r\n"
/// #     );
/// #     stream.write_all((head + body).as_bytes()).await?;
/// #     let mut response = String::new();
/// #     stream.read_to_string(&mut response).await?;
/// #     Ok(response)
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let expired = Reply::status(401).with_body("token expired");
/// let receiver = HttpReceiver::scripted([expired, Reply::accept()]);
/// for expected in ["401 Unauthorized", "200 OK", "200 OK"] {
///     let response = post(&receiver, "/hook", r#"{"n":1}"#).await?;
///     assert!(response.contains(expected));
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
    /// Starts a receiver that accepts every request.
    ///
    /// # Panics
    /// If no port is free, and outside a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        Self::scripted([])
    }

    /// Starts a receiver that gives one of these replies to each request, in order, and accepts
    /// all later requests.
    ///
    /// # Panics
    /// If no port is free, and outside a tokio runtime.
    #[must_use]
    pub fn scripted(script: impl IntoIterator<Item = Reply>) -> Self {
        let script = Arc::new(Script::new(script, Reply::accept()));
        let port = Port::open({
            let script = Arc::clone(&script);
            move |stream| Box::pin(serve::connection(stream, Arc::clone(&script)))
        });
        Self { port, script }
    }

    /// Returns the address of the listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Returns `http://127.0.0.1:PORT` followed by `path`, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Appends a reply to the script.
    pub fn enqueue(&self, reply: Reply) {
        self.script.enqueue(reply);
    }

    /// Sets the reply to all requests after the end of the script.
    pub fn set_default_reply(&self, reply: Reply) {
        self.script.set_default_reply(reply);
    }

    /// Returns all requests so far, in the order in which they were complete.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.script.requests()
    }

    /// Returns the requests since the last call, and forgets them, so that a long test needs no
    /// memory for them.
    #[must_use]
    pub fn take_requests(&self) -> Vec<ReceivedRequest> {
        self.script.take_requests()
    }

    /// Waits until the receiver has this number of requests, and returns all.
    ///
    /// # Panics
    /// If they do not arrive within 30 s; the message lists the requests so far.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<ReceivedRequest> {
        self.script.wait_for_requests(count).await
    }

    /// Returns the items of all requests that the receiver accepted, in order, repeats included.
    ///
    /// Items count as accepted even if the connection was closed before the response.
    #[must_use]
    pub fn accepted_items(&self) -> Vec<String> {
        self.script.collect(|request| request.accepted.clone())
    }

    /// Closes all open connections. The receiver continues to accept new ones.
    pub async fn close_connections(&self) {
        self.port.close_connections().await;
    }

    /// Closes the listener and all connections, so that new connections are refused.
    pub async fn stop(&self) {
        self.port.stop().await;
    }

    /// Listens on the same port again after [`stop`](Self::stop).
    ///
    /// # Panics
    /// If another process has bound the port, and outside a tokio runtime.
    pub fn restart(&self) {
        self.port.restart();
    }
}

impl fmt::Debug for HttpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReceiver").field("address", &self.address()).finish_non_exhaustive()
    }
}
