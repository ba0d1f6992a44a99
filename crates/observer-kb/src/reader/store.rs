//! The store, as others query it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use observer_core::query::{
    Diff, DiffRequest, EventPage, EventRequest, EventStore, EventsRequest, Hints, HintsRequest,
    Models, ModelsRequest, Problem, ProblemPage, ProblemRequest, ProblemsRequest, QueryError,
    Scope, StoreStatus, StoredEvent, Summary, SummaryRequest, UsageReport, UsageRequest,
};
use observer_core::{BuildError, Position, SinkContext};
use rusqlite::{Connection, OptionalExtension};

use super::pool::{Pool, Size};
use super::rivals::Tables;
use super::scope::Sources;
use super::{diff, events, models, problem, problems, similar, usage};
use crate::attempts::time;
use crate::config::KbConfig;
use crate::error::KbError;
use crate::schema::{Meta, dictionary};
use crate::settings::Settings;
use crate::writer::used;

/// Queries on the file of a knowledge base.
///
/// [`KbSink::store`](crate::KbSink::store) returns the one beside a sink. [`open`](Self::open) is
/// for programs that read a file while no sink writes it, or another process does. It never changes
/// a row.
pub struct KbStore {
    /// Queries on one problem, which an agent waits for before it begins.
    small: Pool,
    pool: Pool,
    settings: Arc<Settings>,
    tables: Arc<Tables>,
}

impl KbStore {
    /// Returns a store over the file of a configuration. The file is opened by the first query.
    ///
    /// # Errors
    /// If a value of the configuration is invalid.
    pub fn open(config: KbConfig, context: &SinkContext) -> Result<Self, BuildError> {
        Ok(Self::new(Arc::new(config.settings(context)?)))
    }

    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        let copy = Arc::default();
        let pool = |size| Pool::new(size, Arc::clone(&settings), Arc::clone(&copy));
        let (small, pool) = (pool(Size::Small), pool(Size::Large));
        Self { small, pool, settings, tables: Arc::default() }
    }

    /// Has the comparison of models computed anew, if a query found it stale.
    fn renew(&self, stale: Option<Sources>) {
        if let Some(sources) = stale {
            let tables = Arc::clone(&self.tables);
            let renewed = self.pool.spawn(move |conn, _| {
                tables.renew(conn, &sources)?;
                Ok(())
            });
            if let Err(error) = renewed {
                let error = observer_core::report(&error);
                tracing::warn!(error, "comparison of models can't be computed");
            }
        }
    }
}

#[async_trait]
impl EventStore for KbStore {
    async fn events(&self, request: EventsRequest) -> Result<EventPage, QueryError> {
        self.pool.query(move |conn, settings| events::events(conn, settings, request)).await
    }

    async fn event(&self, request: EventRequest) -> Result<StoredEvent, QueryError> {
        self.pool.query(move |conn, _| events::event(conn, &request)).await
    }

    async fn problems(&self, request: ProblemsRequest) -> Result<ProblemPage, QueryError> {
        self.pool.query(move |conn, settings| problems::problems(conn, settings, &request)).await
    }

    async fn problem(&self, request: ProblemRequest) -> Result<Problem, QueryError> {
        let tables = Arc::clone(&self.tables);
        let work = move |conn: &Connection, settings: &Settings| {
            problem::problem(conn, settings, &tables, &request)
        };
        let (problem, stale) = self.small.query(work).await?;
        self.renew(stale);
        Ok(problem)
    }

    async fn summary(&self, request: SummaryRequest) -> Result<Summary, QueryError> {
        let tables = Arc::clone(&self.tables);
        let work = move |conn: &Connection, settings: &Settings| {
            problem::summary(conn, settings, &tables, &request)
        };
        let (summary, stale) = self.small.query(work).await?;
        self.renew(stale);
        Ok(summary)
    }

    async fn similar_signatures(
        &self,
        scope: Scope,
        sig_hash: String,
        limit: usize,
    ) -> Result<Vec<String>, QueryError> {
        let work = move |conn: &Connection, settings: &Settings| {
            similar::similar(conn, settings, &scope, &sig_hash, limit)
        };
        self.pool.query(work).await
    }

    async fn models(&self, request: ModelsRequest) -> Result<Models, QueryError> {
        self.pool.query(move |conn, settings| models::models(conn, settings, &request)).await
    }

    async fn usage(&self, request: UsageRequest) -> Result<UsageReport, QueryError> {
        self.pool.query(move |conn, settings| usage::usage(conn, settings, &request)).await
    }

    async fn diff(&self, request: DiffRequest) -> Result<Diff, QueryError> {
        self.pool.query(move |conn, settings| diff::diff(conn, settings, &request)).await
    }

    async fn hints(&self, request: HintsRequest) -> Result<Hints, QueryError> {
        self.pool.query(move |conn, settings| usage::hints(conn, settings, &request)).await
    }

    async fn status(&self) -> Result<StoreStatus, QueryError> {
        self.pool.query(|conn, settings| Ok(status(conn, settings)?)).await
    }
}

fn status(conn: &Connection, settings: &Settings) -> Result<StoreStatus, KbError> {
    let end = |order: &str| -> Result<Option<(i64, i64)>, KbError> {
        let sql = format!("SELECT n, received_at FROM event ORDER BY n {order} LIMIT 1");
        let mut statement = conn.prepare_cached(&sql)?;
        Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    };
    let (first, last) = (end("ASC")?, end("DESC")?);
    let floor = Meta::Floor.get(conn)?.unwrap_or(0);
    let problems: i64 = conn
        .prepare_cached("SELECT count(*) FROM problem WHERE last_n >= ?1")?
        .query_row([floor], |row| row.get(0))?;
    let epoch = match Meta::PositionEpoch.get(conn)? {
        Some(id) => dictionary::name(conn, "epoch", id)?.and_then(|name| name.parse().ok()),
        None => None,
    };
    let seq = Meta::PositionSeq.get(conn)?.unwrap_or(0) as u64;
    Ok(StoreStatus {
        // Numbers have no gaps.
        events: first.zip(last).map_or(0, |(first, last)| (last.0 - first.0 + 1).max(0) as u64),
        problems: problems.max(0) as u64,
        oldest: first.map(|(_, received)| time(received)),
        position: epoch.map(|epoch| Position { epoch, seq }),
        bytes: used(conn)?,
        max_bytes: settings.max_size,
    })
}

impl fmt::Debug for KbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KbStore").field("folder", &self.settings.folder).finish_non_exhaustive()
    }
}
