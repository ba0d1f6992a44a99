//! Over real sockets, with a pipeline in memory.

mod access;
mod batches;
mod certificates;
mod client;
mod connections;
mod events;
mod health;
mod letters;
mod limits;
mod metrics;
mod replays;
mod setup;
mod shutdown;
mod tls;
mod tls_files;
