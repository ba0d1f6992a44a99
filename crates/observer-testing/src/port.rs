//! Local port with a server that can be stopped and restarted.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

/// Future that serves one connection until it is closed.
pub(crate) type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

type Serve = dyn Fn(TcpStream) -> Connection + Send + Sync;

/// Port on loopback with its server. Dropping it closes all connections.
pub(crate) struct Port {
    address: SocketAddr,
    serve: Arc<Serve>,
    server: Mutex<Option<Server>>,
    accepted: Arc<AtomicUsize>,
}

struct Server {
    task: JoinHandle<()>,
    /// Requests to close all connections, each with a channel for the confirmation.
    close_connections: mpsc::Sender<oneshot::Sender<()>>,
}

impl Port {
    /// Binds a free port and starts the server.
    ///
    /// Panics if no port is free, and outside a tokio runtime.
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

    /// Returns the number of connections that were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes all open connections. A stopped server has none.
    pub(crate) async fn close_connections(&self) {
        let requests = self.server().as_ref().map(|server| server.close_connections.clone());
        let (closed, all_closed) = oneshot::channel();
        if let Some(requests) = requests
            && requests.send(closed).await.is_ok()
        {
            let _ = all_closed.await;
        }
    }

    /// Closes the port and all connections.
    pub(crate) async fn stop(&self) {
        let server = self.server().take();
        if let Some(server) = server {
            server.task.abort();
            // The task was cancelled, so its result is an error.
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
        let (close_connections, mut requests) = mpsc::channel::<oneshot::Sender<()>>(1);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { break };
                        connections.spawn(serve(stream));
                    }
                    Some(closed) = requests.recv() => {
                        connections.shutdown().await;
                        let _ = closed.send(());
                    }
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Self { task, close_connections }
    }
}
