//! Connections, from their acceptance to their end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONNECTION;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::api::{Api, routes};
use crate::crowd;
use crate::event::post_event;
use crate::explained::Explained;
use crate::guard::guarded;
use crate::handshake::{HandshakeError, shake_hands};
use crate::linger::{Lingering, Wanted};
use crate::options::ServerOptions;
use crate::places::{Place, Places};
use crate::problem::Problem;
use crate::requests::Requests;
use crate::tls::LiveTls;
use crate::unread;

/// What a connection may hold in buffers; so a head of a request is smaller.
const MAX_BUFFER: usize = 64 << 10;
/// How many connections may be told at once that there are too many.
const MAX_REFUSALS: usize = 64;
/// How long an idle connection may take to make room.
const ROOM_WITHIN: Duration = Duration::from_millis(50);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How often the same warning is given.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Serves connections from those listeners until it is dropped or drained.
pub(crate) struct Connections {
    accepting: JoinSet<()>,
    shared: Arc<Shared>,
}

/// Where clients come in.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    /// None for plain HTTP.
    pub(crate) tls: Option<LiveTls>,
}

struct Shared {
    api: Arc<Api>,
    router: Router,
    http: http1::Builder,
    header_timeout: Duration,
    requests: Requests,
    room: Arc<Semaphore>,
    places: Arc<Places>,
    max_connections: usize,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
    /// No more requests.
    drain: CancellationToken,
    /// Not a moment longer. What is being served looks at this one only once it drains.
    cut: CancellationToken,
}

impl Connections {
    pub(crate) fn serve(
        doors: impl Iterator<Item = Door>,
        api: Arc<Api>,
        options: &ServerOptions,
    ) -> Self {
        let max_connections = options.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let mut http = http1::Builder::new();
        // Between two requests the time for the next head is running too.
        http.timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(MAX_BUFFER);
        // A request that came whole is served, also when its sender has nothing more to say, or is
        // gone.
        http.half_close(true);
        let shared = Arc::new(Shared {
            router: routes(api.clone()),
            requests: api.requests.clone(),
            api,
            http,
            header_timeout: options.header_timeout,
            room: Arc::new(Semaphore::new(max_connections)),
            places: Places::new(),
            max_connections,
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        });
        let mut accepting = JoinSet::new();
        for door in doors {
            accepting.spawn(accept(door, shared.clone()));
        }
        Self { accepting, shared }
    }

    /// Accept nothing more, let requests in flight be answered, and close what is idle; after the
    /// deadline, close everything.
    pub(crate) async fn drain(mut self, deadline: Duration) {
        self.accepting.shutdown().await;
        let tasks = &self.shared.tasks;
        self.shared.drain.cancel();
        tasks.close();
        if timeout(deadline, tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "requests took too long to end; their connections are cut"
            );
            self.shared.cut.cancel();
            tasks.wait().await;
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.shared.cut.cancel();
        self.shared.drain.cancel();
    }
}

async fn accept(Door { listener, tls }: Door, shared: Arc<Shared>) {
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

async fn plain(stream: TcpStream, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    let _open = Open::new(&shared.requests.connections);
    let _ = stream.set_nodelay(true);
    let (linger, place) = (Wanted::default(), shared.places.take());
    tokio::select! {
        biased;
        () = converse(Lingering::new(stream, linger.clone()), linger, &place, &shared) => {}
        () = place.needed() => {}
    }
}

async fn encrypted(
    stream: TcpStream,
    tls: LiveTls,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
) {
    let _open = Open::new(&shared.requests.connections);
    let _ = stream.set_nodelay(true);
    let client = stream.peer_addr();
    let (linger, place) = (Wanted::default(), shared.places.take());
    let agreed = tokio::select! {
        biased;
        agreed = shake_hands(stream, linger.clone(), &tls, shared.header_timeout) => agreed,
        () = shared.drain.cancelled() => return,
        () = place.needed() => return,
    };
    match agreed {
        Ok(stream) => tokio::select! {
            biased;
            () = converse(stream, linger, &place, &shared) => {}
            () = place.needed() => {}
        },
        Err(HandshakeError::Gone) => {}
        Err(error) => {
            shared.requests.tls_handshake_failures.inc();
            let client =
                client.map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
            tracing::debug!(
                client,
                error = observer_core::report(&error),
                "a TLS handshake failed"
            );
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    linger: Wanted,
    place: &Arc<Place>,
    shared: &Shared,
) {
    let router = shared.router.clone();
    let wanted = linger.clone();
    let api = shared.api.clone();
    let place = place.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (mut router, api, wanted, place) =
            (router.clone(), api.clone(), wanted.clone(), place.clone());
        // In a box that is there for the request alone: hyper keeps room for a future on every
        // connection, also on thousands that are idle.
        Box::pin(async move {
            let _working = place.work().await;
            // Nearly all requests are this one, and to the router it costs as much as reading the
            // event does.
            let is_event = request.uri().path() == "/event" && request.method() == Method::POST;
            let answer = if is_event && api.cors.is_none() {
                Ok(guarded(&api, request.map(Body::new), |request| {
                    post_event(State(api.clone()), request)
                })
                .await)
            } else {
                router.call(request).await
            };
            if answer.as_ref().is_ok_and(leaves_the_body_unread) {
                wanted.set();
            }
            answer
        })
    });
    let stream = TokioIo::new(Explained::new(stream, linger.clone(), MAX_BUFFER));
    let mut connection = shared.http.serve_connection(stream, service);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = shared.drain.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                biased;
                ended = &mut connection => ended,
                () = shared.cut.cancelled() => return,
            }
        }
    };
    let Err(error) = ended else { return };
    tracing::debug!(error = observer_core::report(&error), "a connection ended early");
    let Parts { io, read_buf, .. } = connection.into_parts();
    // Between two requests there is no one to tell.
    if error.is_timeout() && !read_buf.is_empty() {
        linger.set();
        unread::tell(io.into_inner(), slow_head(shared.header_timeout)).await;
    }
}

fn slow_head(limit: Duration) -> Problem {
    let detail = format!(
        "the head of the request did not arrive within {} s (`header_timeout`)",
        limit.as_secs_f64()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail).reason("timeout")
}

fn leaves_the_body_unread(response: &Response) -> bool {
    response.headers().get(CONNECTION).is_some_and(|value| value == "close")
}

async fn refuse(stream: TcpStream, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    tokio::select! {
        () = crowd::refuse(stream, shared.max_connections) => {}
        () = shared.cut.cancelled() => {}
    }
}

/// Counts a connection while it is open.
struct Open<'a>(&'a IntGauge);

impl<'a> Open<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
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
