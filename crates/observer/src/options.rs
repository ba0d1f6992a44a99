//! Conversion of a configuration to the options of the pipeline and the server.

use std::sync::Arc;

use observer_core::redact::Redactor;
use observer_pipeline::{DedupWindow, IngestOptions, JournalOptions, Requirements, SinkSpec};
use observer_server::ServerOptions;

use crate::config::TlsConfig;
use crate::registry::WallClock;
use crate::{BuiltSink, Config};

pub(crate) fn sink(built: BuiltSink) -> SinkSpec {
    for warning in &built.warnings {
        tracing::warn!(sink = built.name, warning, "a setting of the sink needs attention");
    }
    SinkSpec::new(built.name, built.sink)
        .kind(built.type_name)
        .settings(built.settings)
        .fingerprint(built.fingerprint)
}

/// Sets the clock of the journal unless it is that of the system.
pub(crate) fn with_clock(options: JournalOptions, clock: Option<&WallClock>) -> JournalOptions {
    let Some(clock) = clock.cloned() else { return options };
    options
        .wall_clock(Arc::new(move || u64::try_from(clock().as_microsecond()).unwrap_or_default()))
}

pub(crate) fn journal(config: &Config) -> JournalOptions {
    let journal = &config.journal;
    JournalOptions::new(&journal.path)
        .durability(journal.durability)
        .max_size(journal.max_size)
        .segment_size(journal.segment_size)
        .retain(journal.retain)
}

pub(crate) fn ingest(config: &Config) -> IngestOptions {
    let dedup = &config.ingest.dedup;
    let require = config.ingest.require.iter();
    IngestOptions {
        dedup: DedupWindow::new(dedup.window, dedup.max_keys),
        require: require.fold(Requirements::none(), |all, (source, fields)| {
            all.with(source, fields.iter().copied())
        }),
        timeout: config.server.ingest_timeout,
    }
}

pub(crate) fn server(config: &Config, redactor: Option<Redactor>) -> ServerOptions {
    let server = &config.server;
    ServerOptions {
        listen: server.listen.iter().map(ToString::to_string).collect(),
        tls: server.tls.as_ref().map(TlsConfig::resolve),
        parse: config.ingest.parse_options(redactor),
        oversize: config.ingest.oversize,
        partial_status: config.ingest.partial_status,
        max_body: usize::try_from(server.max_body).unwrap_or(usize::MAX),
        max_batch_body: usize::try_from(server.max_batch_body).unwrap_or(usize::MAX),
        max_batch_events: server.max_batch_events.get(),
        header_timeout: server.header_timeout,
        body_timeout: server.body_timeout,
        min_body_rate: server.min_body_rate,
        write_timeout: server.write_timeout,
        max_connections: server.max_connections.get(),
        max_requests_in_flight: server.max_requests_in_flight.get(),
        max_queries_in_flight: server.max_queries_in_flight.get(),
        max_streams: server.max_streams.get(),
        max_bytes_in_flight: usize::try_from(server.max_bytes_in_flight).unwrap_or(usize::MAX),
        access: config.access.resolve(),
        admin_socket: config.access.admin_socket.clone(),
        hosts: server.hosts.clone(),
        cors_origins: server.cors_origins.clone(),
        sink_state: Some(config.sinks_dir()),
    }
}
