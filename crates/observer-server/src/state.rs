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
use crate::request::blocking::Aside;
use crate::request::cors;
use crate::request::in_flight::InFlight;
use crate::settings::{Settings, SettingsHandle};

/// What the routes share.
pub(crate) struct ServerState {
    pub(crate) pipeline: Pipeline,
    pub(crate) registry: Registry,
    pub(crate) requests: RequestMetrics,
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    pub(crate) in_flight: InFlight,
    pub(crate) large_batches: Aside,
    pub(crate) scrapes: Aside,
    pub(crate) openapi: Bytes,
    pub(crate) cors: Option<CorsLayer>,
    pub(crate) reload: OnceLock<Arc<dyn ReloadHandler>>,
    _registration: Registration,
}

impl ServerState {
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
            large_batches: Aside::default(),
            scrapes: Aside::default(),
            openapi,
            cors: cors::layer(&options.cors_origins),
            reload: OnceLock::new(),
            _registration: registration,
        }))
    }
}
