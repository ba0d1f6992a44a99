//! The observer as its users meet it: as a process, over HTTP, by its files and by its messages.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

mod cli;
mod compatibility;
mod dead_letters;
mod failures;
mod full_disk;
mod hostile;
mod http;
mod journal;
mod kill;
mod messages;
mod otlp;
mod peers;
mod proxies;
mod readme;
mod reload;
mod replays;
mod runs;
mod secrets;
mod slow_sinks;
mod small_disks;
mod sums;
mod support;
mod telemetry;
mod tls;
