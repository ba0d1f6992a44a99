//! Settings that can change while the server runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use observer_pipeline::Pipeline;
use tokio_util::sync::CancellationToken;

use crate::options::ServerOptions;
use crate::request::access::Gate;
use crate::request::body::event::EventOptions;
use crate::request::body::partial_status::PartialStatus;
use crate::request::body::{BatchLimits, BodyLimits};
use crate::request::headers::host::Hosts;
use crate::request::limits::budget::BudgetLimits;

/// Settings that apply to each request.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) gate: Gate,
    pub(crate) hosts: Hosts,
    /// Limits of the body of a single event.
    pub(crate) body: BodyLimits,
    pub(crate) batch: BatchLimits,
    pub(crate) events: EventOptions,
    pub(crate) partial: PartialStatus,
    pub(crate) max_requests_in_flight: usize,
    pub(crate) max_queries_in_flight: usize,
    pub(crate) max_streams: usize,
    /// Limits of the memory of bodies, and of that of responses.
    pub(crate) budget: BudgetLimits,
    /// Cancelled when other settings apply.
    pub(crate) superseded: CancellationToken,
}

/// Handle to the settings of a running server. Clones share them.
///
/// Access, hosts, the options of the parser, and the limits of events, bodies and requests in flight
/// can change. Addresses, CORS, the timeouts of heads and of responses, and the limit of connections
/// stay.
#[derive(Debug, Clone)]
pub struct SettingsHandle {
    pub(crate) settings: Arc<ArcSwap<Settings>>,
    pub(crate) pipeline: Pipeline,
}

impl Settings {
    pub(crate) fn new(options: &ServerOptions) -> Self {
        Self {
            gate: Gate::new(&options.access),
            hosts: Hosts::new(&options.hosts),
            body: BodyLimits {
                max_bytes: options.max_batch_body.max(options.max_body),
                timeout: options.body_timeout,
                min_rate: options.min_body_rate,
            },
            batch: BatchLimits {
                body: BodyLimits {
                    max_bytes: options.max_batch_body,
                    timeout: options.body_timeout,
                    min_rate: options.min_body_rate,
                },
                max_items: options.max_batch_events,
            },
            events: EventOptions {
                parse: options.parse.clone(),
                max_bytes: options.max_body,
                oversize: options.oversize,
            },
            partial: options.partial_status,
            max_requests_in_flight: options.max_requests_in_flight,
            max_queries_in_flight: options.max_queries_in_flight,
            max_streams: options.max_streams,
            budget: BudgetLimits {
                max_bytes: options.max_bytes_in_flight,
                min_share: options.max_batch_body.max(options.max_body),
            },
            superseded: CancellationToken::new(),
        }
    }
}

impl SettingsHandle {
    pub(crate) fn new(options: &ServerOptions, pipeline: Pipeline) -> Self {
        let settings = Arc::new(ArcSwap::from_pointee(Settings::new(options)));
        let handle = Self { settings, pipeline };
        handle.add_principals(options);
        handle
    }

    /// Makes the events of each token count under its name.
    fn add_principals(&self, options: &ServerOptions) {
        let names = options.access.tokens.iter().map(|token| token.name.as_str());
        self.pipeline.add_principals(names);
    }

    /// Applies the options from the next request on. The rate limits of tokens are reset. A stream
    /// whose token may no longer read ends.
    pub fn set(&self, options: &ServerOptions) {
        self.add_principals(options);
        let before = self.settings.swap(Arc::new(Settings::new(options)));
        before.superseded.cancel();
    }
}
