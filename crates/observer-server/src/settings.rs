//! What can be told anew while the server runs.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::options::ServerOptions;
use crate::request::access::Gate;
use crate::request::body::{BatchLimits, BodyLimits};
use crate::request::host::Hosts;

/// What each request is held against.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) gate: Gate,
    pub(crate) hosts: Hosts,
    pub(crate) body: BodyLimits,
    pub(crate) batch: BatchLimits,
    pub(crate) max_requests_in_flight: usize,
    pub(crate) max_bytes_in_flight: usize,
}

/// The settings of a running server, as they can be changed.
///
/// Access, host names, limits of bodies and of requests in flight follow; addresses, CORS, the time
/// for heads and the number of connections stay as they were when the server began.
#[derive(Debug, Clone)]
pub struct SettingsHandle(pub(crate) Arc<ArcSwap<Settings>>);

impl Settings {
    pub(crate) fn new(options: &ServerOptions) -> Self {
        Self {
            gate: Gate::new(&options.access),
            hosts: Hosts::new(&options.hosts),
            body: BodyLimits { max_bytes: options.max_body, timeout: options.body_timeout },
            batch: BatchLimits {
                body: BodyLimits {
                    max_bytes: options.max_batch_body,
                    timeout: options.body_timeout,
                },
                max_items: options.max_batch_events,
                max_item_bytes: options.max_body,
            },
            max_requests_in_flight: options.max_requests_in_flight,
            max_bytes_in_flight: options.max_bytes_in_flight,
        }
    }
}

impl SettingsHandle {
    pub(crate) fn new(options: &ServerOptions) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Settings::new(options))))
    }

    /// From the next request on. What tokens have used up of their rates is forgotten.
    pub fn set(&self, options: &ServerOptions) {
        self.0.store(Arc::new(Settings::new(options)));
    }
}
