//! A port with a server behind it that can be taken down.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

/// What is done with one connection, to its end.
pub(crate) type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

type Serve = dyn Fn(TcpStream) -> Connection + Send + Sync;

/// A port of its own on loopback. All of its connections end with it.
pub(crate) struct Port {
    address: SocketAddr,
    serve: Arc<Serve>,
    server: Mutex<Option<Server>>,
    accepted: Arc<AtomicUsize>,
}

struct Server {
    task: JoinHandle<()>,
    /// Whoever asks for it is told when all connections have ended.
    hang_up: mpsc::Sender<oneshot::Sender<()>>,
}

impl Port {
    /// Panics if there is no port, and outside a tokio runtime.
    pub(crate) fn open(serve: impl Fn(TcpStream) -> Connection + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let accepted = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&accepted);
        let serve: Arc<Serve> = Arc::new(move |stream| {
            count.fetch_add(1, Ordering::Relaxed);
            serve(stream)
        });
        let server = Mutex::new(Some(Server::spawn(listener, Arc::clone(&serve))));
        Self { address, serve, server, accepted }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many there were so far.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn close_connections(&self) {
        let hang_up = self.server().as_ref().map(|server| server.hang_up.clone());
        let (ended, all_ended) = oneshot::channel();
        // A server that is down has hung up.
        if let Some(hang_up) = hang_up
            && hang_up.send(ended).await.is_ok()
        {
            let _ = all_ended.await;
        }
    }

    pub(crate) async fn stop(&self) {
        let server = self.server().take();
        if let Some(server) = server {
            server.task.abort();
            // Its end is what matters; it was told to end in the middle of things.
            let _ = server.task.await;
        }
    }

    pub(crate) fn restart(&self) {
        let mut server = self.server();
        if server.is_none() {
            let listener = TcpListener::bind(self.address).expect("the port is still free");
            *server = Some(Server::spawn(listener, Arc::clone(&self.serve)));
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(server) = &*self.server() {
            server.task.abort();
        }
    }
}

impl Server {
    fn spawn(listener: TcpListener, serve: Arc<Serve>) -> Self {
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let listener = tokio::net::TcpListener::from_std(listener)
            .expect("a receiver starts within a tokio runtime");
        let (hang_up, mut told) = mpsc::channel::<oneshot::Sender<()>>(1);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { break };
                        connections.spawn(serve(stream));
                    }
                    Some(ended) = told.recv() => {
                        connections.shutdown().await;
                        let _ = ended.send(());
                    }
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Self { task, hang_up }
    }
}
