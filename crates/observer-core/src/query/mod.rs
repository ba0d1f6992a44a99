//! Queries: the interface between a store of events and those who ask it.
//!
//! [`EventStore`] is implemented by the knowledge base. The server, the command line and other
//! callers know this trait alone. Requests are plain structs; results serialize to the JSON of the
//! HTTP API, and deserialize from it.
//!
//! # Terms
//!
//! - A *problem* is a `sig_hash`.
//! - An *attempt* is an outcome event, never a phase. The last received correction of an attempt
//!   (`replaces`) takes its place in time, and its values count instead.
//! - An attempt is *solved* if its `ok` is true.
//! - *Cost* is in US dollars: reported, or else priced by the tokens and the price of the model. An
//!   attempt with tokens and without a price is *unpriced* and adds nothing to a cost.
//! - Figures go by the time of the event, [`EventsRequest`] by the time of receipt. Ranges include
//!   `since` and exclude `until`.
//!
//! | module | requests and results |
//! |---|---|
//! | `event` | events by filter; one event |
//! | `problem` | problems by state; one problem |
//! | `model` | models; two models head to head |
//! | `usage` | tokens, cost and time by model, source, day or label |
//! | `diff` | what changed since a moment |
//! | `hint` | attempts with a hint against those without |
//! | [`moment`] | moments as parameters have them |
//! | `figures` | parts that several results share |
//! | `error` | [`QueryError`] |

mod diff;
mod error;
mod event;
mod figures;
mod hint;
mod model;
pub mod moment;
mod problem;
mod scope;
mod usage;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::diff::{Change, Diff, DiffEntry, DiffRequest, DiffSide};
pub use self::error::QueryError;
pub use self::event::{EventPage, EventRequest, EventsRequest, StoredEvent};
pub use self::figures::{Interval, Tokens};
pub use self::hint::{HintFigures, Hints, HintsRequest};
pub use self::model::{Comparison, ModelFigures, Models, ModelsRequest, Verdict};
pub use self::problem::{
    Attempt, FailureGroup, NextModel, Problem, ProblemModel, ProblemPage, ProblemRequest,
    ProblemRow, ProblemSort, ProblemState, ProblemsRequest, SolvedBy, Summary, SummaryRequest,
    SummaryStyle, Transition,
};
pub use self::scope::Scope;
pub use self::usage::{UsageBy, UsageFigures, UsageReport, UsageRequest};
use crate::Position;

/// Largest `limit` of a request.
pub const MAX_LIMIT: usize = 1_000;
/// Size of the events of a page in bytes, after which it ends whatever the limit.
pub const MAX_PAGE_BYTES: usize = 8 << 20;

/// Store of events that can be queried.
///
/// Results are consistent: each is computed from one state of the store. A future that is dropped
/// stops its query.
///
/// # Errors
/// Each method returns [`QueryError::BadRequest`] for an invalid parameter, and
/// [`QueryError::Unavailable`] while the store can't be read.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Returns a page of events, newest first.
    async fn events(&self, request: EventsRequest) -> Result<EventPage, QueryError>;

    /// Returns one event.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] if the store doesn't hold it, or its source is out of scope.
    async fn event(&self, request: EventRequest) -> Result<StoredEvent, QueryError>;

    /// Returns a page of problems.
    async fn problems(&self, request: ProblemsRequest) -> Result<ProblemPage, QueryError>;

    /// Returns what happened before on one problem.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] if there is no attempt at the problem in scope.
    async fn problem(&self, request: ProblemRequest) -> Result<Problem, QueryError>;

    /// Returns what happened before on one problem as a short text for a prompt. A problem without
    /// attempts is no error.
    async fn summary(&self, request: SummaryRequest) -> Result<Summary, QueryError>;

    /// Returns known signatures that resemble an unknown one, the most similar first.
    async fn similar_signatures(
        &self,
        scope: Scope,
        sig_hash: String,
        limit: usize,
    ) -> Result<Vec<String>, QueryError>;

    /// Returns figures of models, and the comparison of two of them on request.
    async fn models(&self, request: ModelsRequest) -> Result<Models, QueryError>;

    /// Returns tokens, cost and time by model, source, day or label.
    async fn usage(&self, request: UsageRequest) -> Result<UsageReport, QueryError>;

    /// Returns what changed since a moment, by problem.
    async fn diff(&self, request: DiffRequest) -> Result<Diff, QueryError>;

    /// Returns figures of attempts with a hint and of those without.
    async fn hints(&self, request: HintsRequest) -> Result<Hints, QueryError>;

    /// Returns how much the store holds.
    async fn status(&self) -> Result<StoreStatus, QueryError>;
}

/// Keeps [`EventStore`] usable as a trait object.
const _: fn(&dyn EventStore) = |_| {};

/// Extent of a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Number of events.
    pub events: u64,
    /// Number of problems.
    pub problems: u64,
    /// Time of receipt of the oldest event.
    pub oldest: Option<Timestamp>,
    /// Position up to which the store holds the events of the journal.
    pub position: Option<Position>,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// Largest size on disk in bytes, past which the oldest events are deleted.
    pub max_bytes: u64,
}
