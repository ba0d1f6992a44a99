//! A receiver of HTTP that does as it is told.

mod answer;
mod received;
mod serve;

use std::collections::VecDeque;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use self::answer::{Answer, Gate};
pub use self::received::Received;

/// How long a test waits for requests before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a port of its own that answers as a script says, and keeps all that it was sent.
///
/// It needs a tokio runtime, and ends when it is dropped.
///
/// ```
/// use observer_testing::http::{Answer, HttpReceiver};
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
/// let receiver = HttpReceiver::scripted([Answer::status(401).saying("token expired"), Answer::accept()]);
/// for expected in ["401 Unauthorized", "200 OK", "200 OK"] {
///     let answer = post(&receiver, "/hook", r#"{"n":1}"#).await?;
///     assert!(answer.contains(expected));
/// }
/// let requests = receiver.received(3).await;
/// assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/hook"));
/// assert_eq!(receiver.taken(), [r#"{"n":1}"#; 2]);
/// # Ok(())
/// # }
/// ```
pub struct HttpReceiver {
    address: SocketAddr,
    state: Arc<Shared>,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// What the receiver and its connections have in common.
struct Shared {
    told: Mutex<Told>,
    arrived: watch::Sender<usize>,
}

/// What the receiver was told by the test, and by its clients.
struct Told {
    script: VecDeque<Answer>,
    otherwise: Answer,
    requests: Vec<Received>,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    /// A receiver that gives one of these answers to each request, in order, and accepts all that come later.
    ///
    /// # Panics
    /// If there is no port, and outside a tokio runtime.
    #[must_use]
    pub fn scripted(script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let told = Told { script: script.into_iter().collect(), otherwise: Answer::accept(), requests: Vec::new() };
        let state = Arc::new(Shared { told: Mutex::new(told), arrived: watch::Sender::new(0) });
        let server = Mutex::new(Some(serve::spawn(listener, Arc::clone(&state))));
        Self { address, state, server }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT` and the path, which begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// One more answer at the end of the script.
    pub fn then(&self, answer: Answer) {
        self.state.told().script.push_back(answer);
    }

    /// How all are answered for whom the script has nothing.
    pub fn otherwise(&self, answer: Answer) {
        self.state.told().otherwise = answer;
    }

    /// All requests so far, in the order in which they were complete.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.state.told().requests.clone()
    }

    /// All requests, once there are so many.
    ///
    /// # Panics
    /// If they don't come within 30 s, with those that came.
    pub async fn received(&self, count: usize) -> Vec<Received> {
        let mut arrived = self.state.arrived.subscribe();
        let outcome = timeout(PATIENCE, arrived.wait_for(|arrived| *arrived >= count)).await.map(|seen| seen.is_ok());
        let requests = self.requests();
        assert!(outcome == Ok(true), "{count} requests were expected, and {} came: {requests:#?}", requests.len());
        requests
    }

    /// The items of all requests that the receiver took, in order, repeats and all: what an acknowledged 2xx stands for, and what was cut off
    /// just before it.
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        self.state.told().requests.iter().flat_map(|request| request.taken.clone()).collect()
    }

    /// Let go of the port and of all connections: whoever comes now is refused.
    pub async fn go_down(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.abort();
            // Its end is what matters; it was told to end in the middle of things.
            let _ = server.await;
        }
    }

    /// Listen on the same port again.
    ///
    /// # Panics
    /// If someone else has taken it, and outside a tokio runtime.
    pub fn come_back(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() {
            let listener = TcpListener::bind(self.address).expect("the port is still free");
            *server = Some(serve::spawn(listener, Arc::clone(&self.state)));
        }
    }
}

impl Drop for HttpReceiver {
    fn drop(&mut self) {
        if let Some(server) = self.server.get_mut().unwrap_or_else(PoisonError::into_inner) {
            server.abort();
        }
    }
}

impl fmt::Debug for HttpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReceiver").field("address", &self.address).finish_non_exhaustive()
    }
}
