//! Queries: events, problems, models, usage, changes and hints, as an [`EventStore`] answers them.
//!
//! A route is a type with a table of [`parameters`] and a list of media types ([`Route`]). Its
//! handler takes a [`Query`], which has checked both and knows which sources the caller may read,
//! asks the store, and [responds](respond) in the chosen type. [`error`] maps errors of the store.
//! The handlers need no server: [`local`] serves them over a store alone.
//!
//! A query ends when its handler is dropped, as when the server closes the connection, one second
//! after its client did, and after 30 seconds.

mod csv;
mod diff;
mod error;
mod event;
mod events;
mod hints;
pub(crate) mod local;
mod models;
pub(in crate::routes) mod parameters;
mod problem;
mod problems;
mod respond;
mod usage;

use std::future::pending;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use observer_core::Timestamp;
use observer_core::query::{EventStore, QueryError, Scope};
use observer_pipeline::Pipeline;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

pub(in crate::routes) use self::events::StoredEventSchema;
use self::parameters::{Declared, Values};
use crate::connection::stream::client_watch::ClientWatch;
use crate::event_store::EventStoreHandle;
use crate::problem::Problem;
use crate::request::access::{self, Caller};
use crate::request::headers::accept::{self, Media};
use crate::request::limits::in_flight::{QueriesInFlight, QueryPermit};
use crate::state::ServerState;

/// Largest number of rows of a page, if the request has none.
const DEFAULT_LIMIT: usize = 100;

/// Limit of the duration of a query.
const MAX_DURATION: Duration = Duration::from_secs(30);

/// Time for which a query runs before its connection is watched.
const UNWATCHED: Duration = Duration::from_millis(100);
/// Time for which a query goes on after its client has closed the sending side.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// What the query routes need of the server.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    store: EventStoreHandle,
    /// Pipeline whose sinks have the events, if there is one.
    pipeline: Option<Pipeline>,
    in_flight: QueriesInFlight,
    /// Limit of queries in flight.
    max_in_flight: usize,
}

/// Query route.
trait Route: Declared + Send + 'static {
    /// Media types of the response, the default first.
    const MEDIA: &'static [Media];
}

/// Request of a query route whose parameters and media type are valid.
struct Query<R> {
    store: Arc<dyn EventStore>,
    pipeline: Option<Pipeline>,
    caller: Caller,
    /// Sources that the caller may read.
    scope: Scope,
    values: Values,
    media: Media,
    _permit: QueryPermit,
    client: Option<ClientWatch>,
    route: PhantomData<R>,
}

/// Returns the query routes.
pub(super) fn table<S>() -> Vec<UtoipaMethodRouter<S>>
where
    S: Clone + Send + Sync + 'static,
    Queries: FromRef<S>,
{
    vec![
        routes!(events::get_events),
        routes!(event::get_event),
        routes!(problems::get_signatures),
        routes!(problem::get_signature),
        routes!(models::get_models),
        routes!(usage::get_usage),
        routes!(diff::get_diff),
        routes!(hints::get_hints),
    ]
}

impl FromRef<Arc<ServerState>> for Queries {
    fn from_ref(state: &Arc<ServerState>) -> Self {
        Self {
            store: state.event_store.clone(),
            pipeline: Some(state.pipeline.clone()),
            in_flight: state.queries_in_flight.clone(),
            max_in_flight: state.settings.load().max_queries_in_flight,
        }
    }
}

impl<R: Route, S> FromRequestParts<S> for Query<R>
where
    S: Send + Sync,
    Queries: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Queries { store, pipeline, in_flight, max_in_flight } = Queries::from_ref(state);
        let store = store.get().ok_or_else(no_store)?;
        let caller = parts.extensions.get::<Caller>().cloned().unwrap_or_default();
        let values = Values::read(parts.uri.query(), R::PARAMETERS, Timestamp::now())?;
        let media = accept::choose(&parts.headers, R::MEDIA)?;
        let scope = Scope { sources: caller.sources().map(<[String]>::to_vec) };
        let permit = in_flight.acquire(max_in_flight)?;
        let (client, route) = (parts.extensions.get().cloned(), PhantomData);
        Ok(Self { store, pipeline, caller, scope, values, media, _permit: permit, client, route })
    }
}

impl<R: Route> Query<R> {
    /// Awaits the result of the store.
    ///
    /// # Errors
    /// If the query fails, takes longer than [`MAX_DURATION`], or its client is gone.
    async fn ask<T>(
        &self,
        result: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, Problem> {
        let result = tokio::select! {
            biased;
            result = tokio::time::timeout(MAX_DURATION, result) => result,
            gone = client_gone(self.client.as_ref()) => return Err(gone),
        };
        match result {
            Ok(result) => {
                let is_operator = self.caller.scopes().contains(access::Scope::Admin);
                result.map_err(|error| error::of_query(error, is_operator))
            }
            Err(_) => {
                let detail = format!(
                    "the query took longer than {} s; narrow it, as with `since`, `until` or \
                     `source`",
                    MAX_DURATION.as_secs()
                );
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
            }
        }
    }
}

/// Waits until the client has closed the connection, and returns the problem that nobody reads.
///
/// A connection does not show whether its client is gone or has only closed its sending side, so a
/// client that waits for the response has it if the query is quick.
pub(super) async fn client_gone(client: Option<&ClientWatch>) -> Problem {
    let Some(client) = client else { return pending().await };
    tokio::time::sleep(UNWATCHED).await;
    client.closed().await;
    tokio::time::sleep(HALF_CLOSED).await;
    let detail = "the client closed the connection before the query ended";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

fn no_store() -> Problem {
    let detail = "there is no knowledge base; add `[sinks.kb]` with `type = \"kb\"` to the \
                  configuration";
    Problem::new(StatusCode::NOT_FOUND, detail).field(Some("sinks.kb"))
}
