//! Names, help texts and samples.

use std::collections::{BTreeMap, HashMap};

use observer_pipeline::{Account, DurationsSnapshot, RejectReason, SinkState, SinkStatus, Status};
use prometheus::core::Desc;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// One metric, as it is announced.
#[derive(Debug)]
pub(crate) struct Definition {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    kind: MetricType,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Definition {
    Definition { name, help, labels, kind: MetricType::COUNTER }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Definition {
    Definition { name, help, labels, kind: MetricType::GAUGE }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Definition {
    Definition { name, help, labels, kind: MetricType::HISTOGRAM }
}

const ACCEPTED: Definition =
    counter("observer_accepted_events_total", &[], "Events that were new and are in the journal.");
const DUPLICATE: Definition = counter(
    "observer_duplicate_events_total",
    &[],
    "Events that were known already, and were not stored again.",
);
const CHANGED: Definition = counter(
    "observer_changed_events_total",
    &[],
    "Of the duplicates, those with another body than the first one; the first one is kept.",
);
const REJECTED: Definition = counter(
    "observer_rejected_events_total",
    &["reason"],
    "Events that were not taken, by reason.",
);
const SINK_ACCEPTED: Definition = counter(
    "observer_sink_accepted_events_total",
    &["sink"],
    "Events that a sink was to get: the sum of its observer_sink_events_total and observer_sink_pending_events.",
);
const SINK_EVENTS: Definition = counter(
    "observer_sink_events_total",
    &["sink", "result"],
    "Events that a sink is past, by what became of them.",
);
const SINK_PENDING: Definition =
    gauge("observer_sink_pending_events", &["sink"], "Events that a sink is not past yet.");
const SINK_OLDEST: Definition = gauge(
    "observer_sink_oldest_pending_seconds",
    &["sink"],
    "How long the oldest event has waited that a sink is not past yet.",
);
const SINK_RETRIES: Definition = counter(
    "observer_sink_retries_total",
    &["sink"],
    "Deliveries that failed and were tried again.",
);
const SINK_REPLAYED: Definition = counter(
    "observer_sink_replayed_events_total",
    &["sink"],
    "Dead letters that a sink took when they were sent again.",
);
const SINK_REPLAY: Definition = gauge(
    "observer_sink_replay_events",
    &["sink", "result"],
    "Events of the last replay to a sink, by what became of them, pending ones too; their sum is what it goes through.",
);
const SINK_PARKED: Definition = gauge(
    "observer_sink_parked",
    &["sink"],
    "1 while a sink waits for someone to mend something, else 0.",
);
const SINK_DELIVERY: Definition = histogram(
    "observer_sink_delivery_seconds",
    &["sink"],
    "How long deliveries of batches to a sink took.",
);
const JOURNAL_BYTES: Definition = gauge("observer_journal_bytes", &[], "The size of the journal.");
const JOURNAL_SYNC: Definition =
    histogram("observer_journal_sync_seconds", &[], "How long it took to make commits durable.");
const JOURNAL_FAILING: Definition =
    gauge("observer_journal_failing", &[], "1 while the journal can't take events, else 0.");
const BUILD_INFO: Definition =
    gauge("observer_build_info", &["version"], "1, labelled with the version that runs.");

/// All that is read from the pipeline.
pub(crate) const METRICS: [&Definition; 17] = [
    &ACCEPTED,
    &DUPLICATE,
    &CHANGED,
    &REJECTED,
    &SINK_ACCEPTED,
    &SINK_EVENTS,
    &SINK_PENDING,
    &SINK_OLDEST,
    &SINK_RETRIES,
    &SINK_REPLAYED,
    &SINK_REPLAY,
    &SINK_PARKED,
    &SINK_DELIVERY,
    &JOURNAL_BYTES,
    &JOURNAL_SYNC,
    &JOURNAL_FAILING,
    &BUILD_INFO,
];

/// One status as metrics, so that the account of each sink adds up within a scrape.
pub(crate) fn families(status: &Status) -> Vec<MetricFamily> {
    let (ingest, journal) = (&status.ingest, &status.journal);
    // A sink that is configured no more would stay as a flat line.
    let sinks: Vec<_> =
        status.sinks.iter().filter(|(_, sink)| sink.state != SinkState::Detached).collect();
    let per_sink = |definition: &Definition, value: fn(&SinkStatus) -> f64| {
        definition.family(sinks.iter().map(|(name, sink)| definition.value(&[name], value(sink))))
    };
    vec![
        ACCEPTED.family([ACCEPTED.value(&[], ingest.accepted as f64)]),
        DUPLICATE.family([DUPLICATE.value(&[], ingest.duplicates as f64)]),
        CHANGED.family([CHANGED.value(&[], ingest.changed as f64)]),
        REJECTED.family(rejected(&ingest.rejected)),
        per_sink(&SINK_ACCEPTED, |sink| sink.accepted as f64),
        SINK_EVENTS.family(sinks.iter().flat_map(|(name, sink)| account(name, sink))),
        per_sink(&SINK_PENDING, |sink| sink.pending as f64),
        per_sink(&SINK_OLDEST, |sink| sink.oldest_pending.unwrap_or_default().as_secs_f64()),
        per_sink(&SINK_RETRIES, |sink| sink.retried as f64),
        per_sink(&SINK_REPLAYED, |sink| sink.redelivered as f64),
        SINK_REPLAY.family(sinks.iter().flat_map(|(name, sink)| replay(name, sink))),
        per_sink(&SINK_PARKED, |sink| {
            f64::from(u8::from(matches!(sink.state, SinkState::Parked(_))))
        }),
        SINK_DELIVERY.family(
            sinks.iter().map(|(name, sink)| SINK_DELIVERY.durations(&[name], &sink.deliveries)),
        ),
        JOURNAL_BYTES.family([JOURNAL_BYTES.value(&[], journal.bytes as f64)]),
        JOURNAL_SYNC.family([JOURNAL_SYNC.durations(&[], &journal.syncs)]),
        JOURNAL_FAILING
            .family([JOURNAL_FAILING.value(&[], f64::from(u8::from(journal.failure.is_some())))]),
        BUILD_INFO.family([BUILD_INFO.value(&[env!("CARGO_PKG_VERSION")], 1.0)]),
    ]
}

fn rejected(counts: &BTreeMap<RejectReason, u64>) -> impl Iterator<Item = Metric> {
    RejectReason::ALL.into_iter().map(|reason| {
        let count = counts.get(&reason).copied().unwrap_or_default();
        REJECTED.value(&[reason.as_str()], count as f64)
    })
}

fn account(name: &str, sink: &SinkStatus) -> impl Iterator<Item = Metric> {
    results(sink.account)
        .map(move |(result, count)| SINK_EVENTS.value(&[name, result], count as f64))
}

fn replay(name: &str, sink: &SinkStatus) -> impl Iterator<Item = Metric> {
    let (account, pending) = sink
        .replay
        .as_ref()
        .map_or_else(Default::default, |replay| (replay.account, replay.pending));
    let results = results(account).chain([("pending", pending)]);
    results.map(move |(result, count)| SINK_REPLAY.value(&[name, result], count as f64))
}

fn results(account: Account) -> impl Iterator<Item = (&'static str, u64)> {
    let results = [
        ("delivered", account.delivered),
        ("dead", account.dead),
        ("refused", account.refused),
        ("expired", account.expired),
        ("filtered", account.filtered),
    ];
    results.into_iter()
}

impl Definition {
    pub(crate) fn desc(&self) -> Desc {
        let labels = self.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
            .expect("names and labels are valid, and none is there twice")
    }

    fn family(&self, metrics: impl IntoIterator<Item = Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics.into_iter().collect());
        family
    }

    fn metric(&self, values: &[&str]) -> Metric {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        Metric::from_label(self.labels.iter().zip(values).map(pair).collect())
    }

    /// A counter or a gauge.
    fn value(&self, values: &[&str], value: f64) -> Metric {
        let mut metric = self.metric(values);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }

    fn durations(&self, values: &[&str], durations: &DurationsSnapshot) -> Metric {
        let bucket = |&(bound, count): &(f64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(durations.buckets.iter().map(bucket).collect());
        histogram.set_sample_count(durations.count);
        histogram.set_sample_sum(durations.sum);
        let mut metric = self.metric(values);
        metric.set_histogram(histogram);
        metric
    }
}
