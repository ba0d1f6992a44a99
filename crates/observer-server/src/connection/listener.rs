//! Accept loop of a listener.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::http::{serve_plain, serve_tls};
use super::refuse::too_many_connections;
use super::shared::Shared;
use super::tls::TlsHandle;

/// Time within which an idle connection has to close for a new one.
const RECLAIM_TIMEOUT: Duration = Duration::from_millis(50);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Interval between two warnings about the limit of connections.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Listener for plain HTTP or for TLS.
pub(crate) struct Listener {
    pub(crate) tcp: TcpListener,
    /// `None` for plain HTTP.
    pub(crate) tls: Option<TlsHandle>,
}

/// Accepts connections and spawns a task for each. Never returns.
pub(crate) async fn accept(Listener { tcp, tls }: Listener, shared: Arc<Shared>) {
    let mut failures = 0_u64;
    let mut limit_warnings = RateLimitedWarning::default();
    loop {
        let stream = match tcp.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_client_failure(&error) => continue,
            Err(error) => {
                if failures == 0 {
                    tracing::error!(%error, "accepting connections failed; retrying");
                }
                failures += 1;
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                continue;
            }
        };
        if failures > 0 {
            tracing::info!(failures, "accepting connections works again");
            failures = 0;
        }
        if let Some(permit) = acquire_permit(&shared).await {
            match tls.clone() {
                None => shared.tasks.spawn(serve_plain(stream, shared.clone(), permit)),
                Some(tls) => shared.tasks.spawn(serve_tls(stream, tls, shared.clone(), permit)),
            };
        } else {
            shared.requests.refused_connections.inc();
            if limit_warnings.is_due() {
                tracing::warn!(
                    max_connections = shared.max_connections,
                    "the limit of connections is reached; refusing more"
                );
            }
            // A TLS client would need a handshake before it can read an answer, so its connection
            // is closed without one, as are those beyond the limit of refusals.
            if tls.is_none()
                && let Ok(permit) = shared.refusals.clone().try_acquire_owned()
            {
                shared.tasks.spawn(refuse(stream, shared.clone(), permit));
            }
        }
    }
}

/// Returns a permit for one more connection, if need be that of an idle connection.
async fn acquire_permit(shared: &Shared) -> Option<OwnedSemaphorePermit> {
    let permits = || shared.permits.clone();
    match permits().try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_) if shared.slots.reclaim_idle() => {
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

async fn refuse(stream: TcpStream, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    tokio::select! {
        () = too_many_connections(stream, shared.max_connections) => {}
        () = shared.cut.cancelled() => {}
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
