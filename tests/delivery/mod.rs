//! Events on their way to the sinks: deliveries, failures, dead letters and replays.

mod dead_letters;
mod failures;
mod faults;
mod hanging_sinks;
mod http;
mod messages;
mod otlp;
mod proxies;
mod replays;
mod runs;
