//! Accepting connections.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::http::{encrypted, plain};
use super::refuse::too_many_connections;
use super::shared::Shared;
use super::tls::TlsHandle;

/// How long an idle connection may take to make room.
const ROOM_WITHIN: Duration = Duration::from_millis(50);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How often the same warning is given.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Where clients come in.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    /// None for plain HTTP.
    pub(crate) tls: Option<TlsHandle>,
}

pub(crate) async fn accept(Door { listener, tls }: Door, shared: Arc<Shared>) {
    let mut failures = 0_u64;
    let mut crowded = Warnings::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_of_the_connection(&error) => continue,
            Err(error) => {
                if failures == 0 {
                    tracing::error!(%error, "connections can't be accepted; this is tried again until it works");
                }
                failures += 1;
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                continue;
            }
        };
        if failures > 0 {
            tracing::info!(failures, "connections are accepted again");
            failures = 0;
        }
        if let Some(permit) = room(&shared).await {
            match tls.clone() {
                None => shared.tasks.spawn(plain(stream, shared.clone(), permit)),
                Some(tls) => shared.tasks.spawn(encrypted(stream, tls, shared.clone(), permit)),
            };
        } else {
            shared.requests.refused_connections.inc();
            if crowded.is_due() {
                tracing::warn!(
                    max_connections = shared.max_connections,
                    "there are as many connections as there may be; more are refused"
                );
            }
            // Whom there is no room to tell is just closed, and so is who would have to agree on
            // keys first.
            if tls.is_none()
                && let Ok(permit) = shared.refusals.clone().try_acquire_owned()
            {
                shared.tasks.spawn(refuse(stream, shared.clone(), permit));
            }
        }
    }
}

/// A place for one more connection, if need be that of one that is idle.
async fn room(shared: &Shared) -> Option<OwnedSemaphorePermit> {
    let room = || shared.room.clone();
    match room().try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_) if shared.places.make_room() => {
            timeout(ROOM_WITHIN, room().acquire_owned()).await.ok()?.ok()
        }
        Err(_) => None,
    }
}

/// The client was gone again before it was its turn.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn refuse(stream: TcpStream, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    tokio::select! {
        () = too_many_connections(stream, shared.max_connections) => {}
        () = shared.cut.cancelled() => {}
    }
}

/// Not every time.
#[derive(Default)]
struct Warnings {
    last: Option<Instant>,
}

impl Warnings {
    fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= WARN_EVERY);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}
