//! State that the routes share.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use observer_pipeline::Pipeline;
use prometheus::Registry;
use tower_http::cors::CorsLayer;

use crate::metrics::Registration;
use crate::metrics::requests::RequestMetrics;
use crate::options::ServerOptions;
use crate::reload::ReloadHandler;
use crate::request::blocking::BlockingPool;
use crate::request::cors;
use crate::request::in_flight::InFlight;
use crate::settings::{Settings, SettingsHandle};

/// State that the routes share.
pub(crate) struct ServerState {
    pub(crate) pipeline: Pipeline,
    pub(crate) registry: Registry,
    pub(crate) requests: RequestMetrics,
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    pub(crate) in_flight: InFlight,
    /// Pool that decompresses and parses large batches.
    pub(crate) large_batches: BlockingPool,
    /// Pool that gathers and encodes metrics.
    pub(crate) scrapes: BlockingPool,
    /// OpenAPI document, as JSON.
    pub(crate) openapi: Bytes,
    pub(crate) cors: Option<CorsLayer>,
    pub(crate) reload: OnceLock<Arc<dyn ReloadHandler>>,
    _registration: Registration,
}

impl ServerState {
    /// Creates the state and registers the server's metrics.
    ///
    /// # Errors
    /// If the registry has the metrics of another server.
    pub(crate) fn new(
        options: &ServerOptions,
        pipeline: Pipeline,
        registry: Registry,
        openapi: Bytes,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let requests = RequestMetrics::new();
        let registration = Registration::new(&registry, pipeline.clone(), requests.clone())?;
        Ok(Arc::new(Self {
            pipeline,
            registry,
            requests,
            settings: SettingsHandle::new(options).0,
            in_flight: InFlight::default(),
            large_batches: BlockingPool::default(),
            scrapes: BlockingPool::default(),
            openapi,
            cors: cors::layer(&options.cors_origins),
            reload: OnceLock::new(),
            _registration: registration,
        }))
    }
}
