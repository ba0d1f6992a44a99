//! Reading the configuration again.

use async_trait::async_trait;
use serde::Serialize;
use utoipa::ToSchema;

/// Reads the configuration again and does as it says now.
#[async_trait]
pub trait ReloadHandler: Send + Sync + 'static {
    /// Called again only after it has ended.
    ///
    /// # Errors
    /// When it is not in effect.
    async fn reload(&self) -> Result<ReloadReport, ReloadError>;
}

/// What came of reading the configuration again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReloadReport {
    /// Sinks that are new.
    pub added: Vec<String>,
    /// Sinks that have another configuration.
    pub changed: Vec<String>,
    /// Sinks that are not there any more; their positions stay.
    pub removed: Vec<String>,
    /// Keys with values that take effect only after a restart.
    pub restart_needed: Vec<String>,
}

/// Why the configuration is not in effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// There is something wrong with it.
    #[error("nothing has changed: {0}")]
    Invalid(String),
    /// Something went wrong on the way.
    #[error("the configuration is in effect only in part: {0}")]
    Partial(String),
}
