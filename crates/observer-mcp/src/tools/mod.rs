//! The tools: each a module with its definition and its answer.

mod event;
mod history;
mod models;
mod problems;
mod search;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use observer_core::Timestamp;
use observer_core::query::{EventStore, QueryError, Scope};
use observer_figures::clean;
use serde_json::{Map, Value};

use crate::arguments::Arguments;
use crate::definition::Definition;
use crate::reader::Reader;

/// Limit of the duration of a call. Clients that wait for 30 seconds still get the answer.
const MAX_DURATION: Duration = Duration::from_secs(25);
/// Longest error in characters.
const MAX_ERROR: usize = 600;

/// Tool that answers from the knowledge base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    History,
    Problems,
    Models,
    Usage,
    Search,
}

/// Source of the answers of a call.
struct Call<'a> {
    store: Arc<dyn EventStore>,
    /// Sources that the caller may read.
    scope: Scope,
    arguments: Arguments<'a>,
}

impl Tool {
    /// All tools.
    pub(crate) const ALL: [Self; 5] =
        [Self::History, Self::Problems, Self::Models, Self::Usage, Self::Search];

    /// Returns the tool with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.definition().name == name)
    }

    /// Returns the definition of the tool.
    pub(crate) fn definition(self) -> &'static Definition {
        match self {
            Self::History => &history::DEFINITION,
            Self::Problems => &problems::DEFINITION,
            Self::Models => &models::DEFINITION,
            Self::Usage => &usage::DEFINITION,
            Self::Search => &search::DEFINITION,
        }
    }

    /// Returns the answer to a call.
    ///
    /// # Errors
    /// A text for the model: what is wrong with which parameter, or why there is no answer.
    pub(crate) async fn call(
        self,
        arguments: Map<String, Value>,
        reader: &Reader,
        now: Timestamp,
    ) -> Result<String, String> {
        let Some(store) = reader.store.clone() else {
            return Err(
                "there is no knowledge base; add `[sinks.kb]` with `type = \"kb\"` to the \
                        configuration of the observer"
                    .to_owned(),
            );
        };
        let answer = async {
            let arguments = Arguments::read(self.definition(), arguments, now)?;
            let call = Call { store, scope: reader.scope.clone(), arguments };
            match self {
                Self::History => history::answer(&call).await,
                Self::Problems => problems::answer(&call).await,
                Self::Models => models::answer(&call).await,
                Self::Usage => usage::answer(&call).await,
                Self::Search => search::answer(&call).await,
            }
        };
        match tokio::time::timeout(MAX_DURATION, answer).await {
            Ok(answer) => answer.map_err(explain),
            Err(_) => Err(format!(
                "the query took longer than {} s; narrow it, as with `since` or `source`",
                MAX_DURATION.as_secs()
            )),
        }
    }
}

/// Returns the text of an error for the model, and logs its cause if the operator has to act.
fn explain(error: QueryError) -> String {
    let text = match &error {
        QueryError::Unavailable { reason, source } => {
            let cause = observer_core::report(source.as_ref());
            tracing::warn!(error = cause, "the knowledge base could not be read");
            format!("{error}: {reason}")
        }
        QueryError::Internal(_) => {
            let cause = observer_core::report(&error);
            tracing::error!(error = cause, "a query failed");
            "the query failed; the log has the reason".to_owned()
        }
        _ => error.to_string(),
    };
    clean::line(&text, MAX_ERROR)
}
