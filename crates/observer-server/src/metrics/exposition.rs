//! Metrics that are read from the pipeline's status: definitions and samples.

use observer_metrics::Definition;
use observer_pipeline::{
    Account, DurationsSnapshot, Outcome, PrincipalStatus, RejectReason, SinkState, SinkStatus,
    Status,
};
use prometheus::proto::{Metric, MetricFamily};

/// Metric that is read from the status of the pipeline.
pub(crate) struct StatusMetric {
    pub(crate) definition: Definition,
    samples: Samples,
}

/// Status of the pipeline at the time of a scrape.
struct Snapshot<'a> {
    status: &'a Status,
    /// The configured sinks. A removed sink would stay in the metrics as a flat line.
    sinks: Vec<(&'a str, &'a SinkStatus)>,
}

type Samples = fn(&Definition, &Snapshot<'_>) -> Vec<Metric>;

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    samples: Samples,
) -> StatusMetric {
    StatusMetric { definition: Definition::counter(name, labels, help), samples }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    samples: Samples,
) -> StatusMetric {
    StatusMetric { definition: Definition::gauge(name, labels, help), samples }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    samples: Samples,
) -> StatusMetric {
    StatusMetric { definition: Definition::histogram(name, labels, help), samples }
}

/// All metrics that are read from the pipeline.
pub(crate) static METRICS: [StatusMetric; 23] = [
    counter(
        "observer_accepted_events_total",
        &[],
        "New events that were written to the journal.",
        |metric, at| vec![metric.sample(&[], at.status.ingest.accepted as f64)],
    ),
    counter(
        "observer_duplicate_events_total",
        &["principal"],
        "Events that were received before and not stored again, by token.",
        |metric, at| per_principal(metric, at, |counts| counts.duplicates),
    ),
    counter(
        "observer_changed_events_total",
        &["principal"],
        "Events with a known identity and other content than the first one, which is kept, by \
         token.",
        |metric, at| per_principal(metric, at, |counts| counts.changed),
    ),
    counter(
        "observer_rejected_events_total",
        &["reason"],
        "Events that were rejected, by reason.",
        |metric, at| {
            let count = |reason| at.status.ingest.rejected.get(&reason).copied().unwrap_or(0);
            let sample =
                |reason: RejectReason| metric.sample(&[reason.as_str()], count(reason) as f64);
            RejectReason::ALL.into_iter().map(sample).collect()
        },
    ),
    counter(
        "observer_sink_accepted_events_total",
        &["sink"],
        "Accepted events that are due to a sink: the sum of its observer_sink_events_total and \
         observer_sink_pending_events.",
        |metric, at| per_sink(metric, at, |sink| sink.accepted as f64),
    ),
    counter(
        "observer_sink_events_total",
        &["sink", "result"],
        "Events that a sink has finished with, by result.",
        |metric, at| {
            let samples = |&(name, sink): &(&str, &SinkStatus)| {
                results(sink.account)
                    .map(|(result, count)| metric.sample(&[name, result], count as f64))
            };
            at.sinks.iter().flat_map(samples).collect()
        },
    ),
    gauge(
        "observer_sink_pending_events",
        &["sink"],
        "Events that a sink has not finished with.",
        |metric, at| per_sink(metric, at, |sink| sink.pending as f64),
    ),
    gauge(
        "observer_sink_undecided_events",
        &["sink"],
        "Pending events that a sink refused, and that it may accept yet.",
        |metric, at| per_sink(metric, at, |sink| sink.undecided as f64),
    ),
    gauge(
        "observer_sink_oldest_pending_seconds",
        &["sink"],
        "Age of the oldest event that a sink has not finished with.",
        |metric, at| {
            per_sink(metric, at, |sink| sink.oldest_pending.unwrap_or_default().as_secs_f64())
        },
    ),
    counter(
        "observer_sink_retries_total",
        &["sink"],
        "Deliveries that failed and were retried.",
        |metric, at| per_sink(metric, at, |sink| sink.retried as f64),
    ),
    counter(
        "observer_sink_replayed_events_total",
        &["sink"],
        "Dead letters that were sent again and accepted by their sink.",
        |metric, at| per_sink(metric, at, |sink| sink.redelivered as f64),
    ),
    gauge(
        "observer_sink_dead_letters",
        &["sink"],
        "Dead letters that are stored.",
        |metric, at| per_sink(metric, at, |sink| sink.dead_letters as f64),
    ),
    counter(
        "observer_sink_delivered_bytes_total",
        &["sink"],
        "Size of the events that a sink accepted, as their producers sent them.",
        |metric, at| per_sink(metric, at, |sink| sink.delivered_bytes as f64),
    ),
    gauge(
        "observer_sink_last_success_timestamp_seconds",
        &["sink"],
        "Time at which a sink last accepted an event, in seconds since 1970; 0 before the first \
         one since the start.",
        |metric, at| {
            per_sink(metric, at, |sink| {
                sink.last_success.map_or(0.0, |time| time.as_microsecond() as f64 / 1e6)
            })
        },
    ),
    gauge(
        "observer_sink_replay_events",
        &["sink", "result"],
        "Events of the last replay to a sink, by result or pending; the sum is the size of the \
         replay.",
        |metric, at| {
            let samples = |&(name, sink): &(&str, &SinkStatus)| {
                let (account, pending) = sink
                    .replay
                    .as_ref()
                    .map_or_else(Default::default, |replay| (replay.account, replay.pending));
                results(account)
                    .into_iter()
                    .chain([("pending", pending)])
                    .map(|(result, count)| metric.sample(&[name, result], count as f64))
                    .collect::<Vec<_>>()
            };
            at.sinks.iter().flat_map(samples).collect()
        },
    ),
    gauge(
        "observer_sink_parked",
        &["sink"],
        "1 while a sink is parked and needs an operator, else 0.",
        |metric, at| {
            per_sink(metric, at, |sink| {
                f64::from(u8::from(matches!(sink.state, SinkState::Parked(_))))
            })
        },
    ),
    histogram(
        "observer_sink_delivery_seconds",
        &["sink", "outcome"],
        "Duration of the deliveries of batches to a sink, by their outcome.",
        |metric, at| {
            let samples = |&(name, sink): &(&str, &SinkStatus)| {
                let sample = |(outcome, snapshot): (&Outcome, &DurationsSnapshot)| {
                    durations(metric, &[name, outcome.as_str()], snapshot)
                };
                sink.deliveries.iter().map(sample).collect::<Vec<_>>()
            };
            at.sinks.iter().flat_map(samples).collect()
        },
    ),
    gauge("observer_journal_bytes", &[], "Size of the journal.", |metric, at| {
        vec![metric.sample(&[], at.status.journal.bytes as f64)]
    }),
    gauge(
        "observer_journal_limit_bytes",
        &[],
        "Size at which the journal removes its oldest events, or rejects new ones.",
        |metric, at| vec![metric.sample(&[], at.status.journal.max_bytes as f64)],
    ),
    gauge(
        "observer_journal_reserve_bytes",
        &[],
        "Space that the journal has reserved on the disk. It is used up while the disk is full.",
        |metric, at| vec![metric.sample(&[], at.status.journal.reserve_bytes as f64)],
    ),
    histogram(
        "observer_journal_sync_seconds",
        &[],
        "Duration of the syncs that make commits durable.",
        |metric, at| vec![durations(metric, &[], &at.status.journal.syncs)],
    ),
    gauge(
        "observer_journal_failing",
        &[],
        "1 while the journal rejects events, else 0.",
        |metric, at| {
            let failing = at.status.journal.failure.is_some();
            vec![metric.sample(&[], f64::from(u8::from(failing)))]
        },
    ),
    gauge(
        "observer_build_info",
        &["version"],
        "1, with the running version as a label.",
        |metric, _| vec![metric.sample(&[env!("CARGO_PKG_VERSION")], 1.0)],
    ),
];

/// Returns all metrics of one status, so that the account of each sink adds up within a scrape.
pub(crate) fn families(status: &Status) -> Vec<MetricFamily> {
    let configured = status.sinks.iter().filter(|(_, sink)| sink.state != SinkState::Detached);
    let sinks = configured.map(|(name, sink)| (name.as_str(), sink)).collect();
    let snapshot = Snapshot { status, sinks };
    let family = |StatusMetric { definition, samples }: &StatusMetric| {
        definition.family(samples(definition, &snapshot))
    };
    METRICS.iter().map(family).collect()
}

fn results(account: Account) -> [(&'static str, u64); 6] {
    [
        ("delivered", account.delivered),
        ("dead", account.dead),
        ("refused", account.refused),
        ("expired", account.expired),
        ("lost", account.lost),
        ("filtered", account.filtered),
    ]
}

fn per_principal(
    metric: &Definition,
    snapshot: &Snapshot<'_>,
    value: fn(&PrincipalStatus) -> u64,
) -> Vec<Metric> {
    let principals = &snapshot.status.ingest.principals;
    let sample = |(name, counts): (&String, _)| metric.sample(&[name], value(counts) as f64);
    principals.iter().map(sample).collect()
}

fn per_sink(
    metric: &Definition,
    snapshot: &Snapshot<'_>,
    value: fn(&SinkStatus) -> f64,
) -> Vec<Metric> {
    snapshot.sinks.iter().map(|(name, sink)| metric.sample(&[name], value(sink))).collect()
}

fn durations(metric: &Definition, labels: &[&str], durations: &DurationsSnapshot) -> Metric {
    let buckets = durations.buckets.iter().copied();
    metric.histogram_sample(labels, buckets, durations.count, durations.sum)
}
