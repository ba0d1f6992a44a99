//! Interface between the reload route and the program that owns the configuration.

use async_trait::async_trait;
use serde::Serialize;
use utoipa::ToSchema;

/// Handler of `POST /-/reload`, which reloads the configuration and applies it.
#[async_trait]
pub trait ReloadHandler: Send + Sync + 'static {
    /// Reloads the configuration and applies it. Calls may overlap; the server does not serialize
    /// them, and runs each to its end even if its client disconnects.
    ///
    /// # Errors
    /// If the configuration is not, or only in part, in effect.
    async fn reload(&self) -> Result<ReloadReport, ReloadError>;
}

/// Changes of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReloadReport {
    /// Added sinks.
    pub added: Vec<String>,
    /// Sinks whose configuration changed, and `prices` if a price changed.
    pub changed: Vec<String>,
    /// Removed sinks. Their positions are kept.
    pub removed: Vec<String>,
    /// Keys whose new values take effect only after a restart.
    pub restart_needed: Vec<String>,
}

/// Error type for [`ReloadHandler::reload`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The configuration is invalid.
    #[error("nothing has changed: {0}")]
    Invalid(String),
    /// A step failed after others had taken effect.
    #[error("the configuration is in effect only in part: {0}")]
    Partial(String),
}
