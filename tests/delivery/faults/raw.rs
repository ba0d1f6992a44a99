//! Servers below HTTP: one that sends prepared bytes, and a relay that falls silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Continuation after the prepared bytes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The next request.
    Next,
    /// The end of the connection.
    Close,
    /// Nothing, while the connection stays open.
    Silence,
    /// A byte every 50 ms.
    Drip,
}

/// Server that responds to each POST with the next of its responses, and with the last one again
/// and again. Other methods and empty bodies are checks, and get 200.
pub(super) struct RawServer {
    address: SocketAddr,
    posts: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl RawServer {
    pub(super) async fn start(responses: Vec<(Vec<u8>, End)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let posts = Arc::<AtomicUsize>::default();
        let (count, responses) = (Arc::clone(&posts), Arc::new(responses));
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (count, responses) = (Arc::clone(&count), Arc::clone(&responses));
                connections.spawn(async move {
                    // An error means that the client closed the connection.
                    let _ = respond(stream, &count, &responses).await;
                });
            }
        });
        Self { address, posts, serving }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the number of POST requests so far.
    pub(super) fn posts(&self) -> usize {
        self.posts.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn respond(
    stream: TcpStream,
    posts: &AtomicUsize,
    responses: &[(Vec<u8>, End)],
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let start = head.len();
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
            let line = head[start..].trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        stream.read_exact(&mut vec![0; length]).await?;
        if !head.starts_with("POST") || length == 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
            continue;
        }
        let index = posts.fetch_add(1, Ordering::SeqCst).min(responses.len() - 1);
        let (bytes, end) = &responses[index];
        stream.write_all(bytes).await?;
        match end {
            End::Next => {}
            End::Close => return stream.shutdown().await,
            End::Silence => {
                stream.read_u8().await?;
            }
            End::Drip => loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            },
        }
    }
}

/// Relay to a server. Once it is frozen, the connections that exist carry nothing more towards the
/// client, although the kernel acknowledges what the client sends.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    is_frozen: Arc<std::sync::Mutex<Arc<AtomicBool>>>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Relay {
    pub(super) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_frozen = Arc::<std::sync::Mutex<Arc<AtomicBool>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (frozen, count) = (Arc::clone(&is_frozen), Arc::clone(&connections));
        let serving = tokio::spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let frozen = Arc::clone(&frozen.lock().unwrap());
                relays.spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        let (mut from_client, to_client) = client.into_split();
                        let (from_server, mut to_server) = server.into_split();
                        let sending = tokio::io::copy(&mut from_client, &mut to_server);
                        let _ = tokio::join!(sending, receive(from_server, to_client, &frozen));
                    }
                });
            }
        });
        Self { address, is_frozen, connections, serving }
    }

    /// Freezes the connections that exist. Later ones work.
    pub(super) fn freeze(&self) {
        let mut current = self.is_frozen.lock().unwrap();
        current.store(true, Ordering::SeqCst);
        *current = Arc::default();
    }

    /// Returns the number of connections so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    is_frozen: &AtomicBool,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        if !is_frozen.load(Ordering::SeqCst) && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
