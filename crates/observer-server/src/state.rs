//! State that the routes share.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use observer_mcp::Endpoint;
use observer_pipeline::Pipeline;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::event_store::EventStoreHandle;
use crate::metrics::Registration;
use crate::metrics::server::ServerMetrics;
use crate::options::ServerOptions;
use crate::reload::ReloadHandler;
use crate::request::blocking::BlockingPool;
use crate::request::cors::Origins;
use crate::request::limits::budget::MemoryBudget;
use crate::request::limits::in_flight::{InFlight, QueriesInFlight};
use crate::request::refusals::RefusalLog;
use crate::routes::stream::Streams;
use crate::settings::{Settings, SettingsHandle};

/// State that the routes share.
pub(crate) struct ServerState {
    pub(crate) pipeline: Pipeline,
    pub(crate) registry: Registry,
    pub(crate) metrics: ServerMetrics,
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    pub(crate) in_flight: InFlight,
    /// Memory of the bodies of the requests in flight.
    pub(crate) bodies: MemoryBudget,
    /// Memory of the responses that are being sent.
    pub(crate) responses: Arc<MemoryBudget>,
    pub(crate) queries_in_flight: QueriesInFlight,
    pub(crate) streams: Streams,
    /// Cancelled when no further request may begin, and streams have to end.
    pub(crate) drain: CancellationToken,
    pub(crate) refusals: RefusalLog,
    /// Pool that decompresses and parses large bodies.
    pub(crate) large_bodies: BlockingPool,
    /// Pool that gathers and encodes metrics.
    pub(crate) scrapes: BlockingPool,
    /// Tools of MCP.
    pub(crate) mcp: Endpoint,
    /// OpenAPI document, as JSON.
    pub(crate) openapi: Bytes,
    /// Origins that may send cross-origin requests, if any.
    pub(crate) cors_origins: Option<Origins>,
    pub(crate) event_store: EventStoreHandle,
    /// Folder with a folder of state for each sink.
    pub(crate) sink_state: Option<PathBuf>,
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
        event_store: EventStoreHandle,
        openapi: Bytes,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let metrics = ServerMetrics::new();
        let registration = Registration::new(&registry, pipeline.clone(), metrics.clone())?;
        Ok(Arc::new(Self {
            settings: SettingsHandle::new(options, pipeline.clone()).settings,
            pipeline,
            registry,
            metrics,
            in_flight: InFlight::default(),
            bodies: MemoryBudget::default(),
            responses: Arc::default(),
            queries_in_flight: QueriesInFlight::default(),
            streams: Streams::default(),
            drain: CancellationToken::new(),
            refusals: RefusalLog::default(),
            large_bodies: BlockingPool::default(),
            scrapes: BlockingPool::default(),
            mcp: Endpoint::default(),
            openapi,
            cors_origins: Origins::new(&options.cors_origins),
            event_store,
            sink_state: options.sink_state.clone(),
            reload: OnceLock::new(),
            _registration: registration,
        }))
    }
}
