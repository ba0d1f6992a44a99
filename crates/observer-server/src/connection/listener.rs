//! Accept loops of listeners.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::admin_socket::AdminSocket;
use super::context::ConnectionContext;
use super::http::{Accepted, Admission, serve_admin, serve_tcp};
use super::reject::{respond_unread, too_many_connections};
use crate::request::limits::peer::Peer;
use crate::tls::TlsHandle;

/// Time within which an idle connection has to close for a new one.
const RECLAIM_TIMEOUT: Duration = Duration::from_millis(50);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Interval between two warnings about the limit of connections.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Listener by the kind of its connections.
pub(crate) enum Listener {
    /// Plain HTTP.
    Plain(TcpListener),
    Tls(TcpListener, TlsHandle),
    /// Plain HTTP whose callers have all scopes.
    Admin(AdminSocket),
}

/// Accepts connections and spawns a task for each. Never returns.
pub(crate) async fn accept(listener: Listener, context: Arc<ConnectionContext>) {
    match listener {
        Listener::Plain(tcp) => accept_tcp(tcp, None, context).await,
        Listener::Tls(tcp, tls) => accept_tcp(tcp, Some(tls), context).await,
        Listener::Admin(socket) => accept_admin(socket, context).await,
    }
}

async fn accept_tcp(tcp: TcpListener, tls: Option<TlsHandle>, context: Arc<ConnectionContext>) {
    let mut limit_warnings = RateLimitedWarning::default();
    loop {
        let (stream, address) = next(|cx| tcp.poll_accept(cx)).await;
        if let Some((admission, permit)) = admit(&context, &mut limit_warnings).await {
            let accepted = Accepted { stream, peer: Peer::from(address), admission, permit };
            context.tasks.spawn(serve_tcp(accepted, tls.clone(), context.clone()));
            continue;
        }
        context.metrics.rejected_connections.inc();
        // A TLS client needs a handshake before it can read a response, so its connection is closed
        // without one, as are those beyond the limit of rejections.
        if tls.is_none()
            && let Ok(permit) = context.rejections.clone().try_acquire_owned()
        {
            context.tasks.spawn(reject(stream, context.clone(), permit));
        }
    }
}

/// Accepts connections to the admin socket. Those beyond its limit wait in the backlog.
async fn accept_admin(socket: AdminSocket, context: Arc<ConnectionContext>) {
    loop {
        let permit = context.admin_permits.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let (stream, _) = next(|cx| socket.listener().poll_accept(cx)).await;
        context.tasks.spawn(serve_admin(stream, context.clone(), permit));
    }
}

/// Returns the next connection. Failures of the operating system are logged and retried.
async fn next<T>(poll_accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<T>>) -> T {
    let mut failures = 0_u64;
    loop {
        match poll_fn(&poll_accept).await {
            Ok(connection) => {
                if failures > 0 {
                    tracing::info!(failures, "accepting connections works again");
                }
                return connection;
            }
            Err(error) if is_client_failure(&error) => {}
            Err(error) => {
                if failures == 0 {
                    tracing::error!(%error, "accepting connections failed; retrying");
                }
                failures += 1;
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

/// Returns a permit for one more connection, beyond the limit one of the reserve.
async fn admit(
    context: &ConnectionContext,
    limit_warnings: &mut RateLimitedWarning,
) -> Option<(Admission, OwnedSemaphorePermit)> {
    if let Some(permit) = acquire_permit(context).await {
        return Some((Admission::Regular, permit));
    }
    if limit_warnings.is_due() {
        tracing::warn!(
            max_connections = context.max_connections,
            "the limit of connections is reached; rejecting more"
        );
    }
    let permit = context.reserve.clone().try_acquire_owned().ok()?;
    Some((Admission::Reserve, permit))
}

/// Returns a permit for one more connection, if need be that of an idle connection.
async fn acquire_permit(context: &ConnectionContext) -> Option<OwnedSemaphorePermit> {
    let permits = || context.permits.clone();
    match permits().try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_) if context.slots.reclaim_idle() => {
            timeout(RECLAIM_TIMEOUT, permits().acquire_owned()).await.ok()?.ok()
        }
        Err(_) => None,
    }
}

/// Returns whether accepting failed because the client had closed the connection already.
fn is_client_failure(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn reject(stream: TcpStream, context: Arc<ConnectionContext>, _permit: OwnedSemaphorePermit) {
    let problem = too_many_connections(context.max_connections);
    context.unrouted.count(problem.status());
    tokio::select! {
        () = respond_unread(stream, problem) => {}
        () = context.cut.cancelled() => {}
    }
}

/// Limits how often a warning is logged.
#[derive(Default)]
struct RateLimitedWarning {
    last: Option<Instant>,
}

impl RateLimitedWarning {
    fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= WARN_INTERVAL);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}
