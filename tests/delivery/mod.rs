//! Events on their way to the sinks: deliveries, failures, dead letters and replays.

mod dead_letters;
mod failures;
mod http;
mod otlp;
mod proxies;
mod replays;
mod runs;
pub(crate) mod slow_sinks;
