//! Tests over real sockets, with a pipeline in memory.

mod access;
mod admin_socket;
mod batches;
mod connections;
mod dead_letters;
mod events;
mod health;
mod limits;
mod mcp;
mod metrics;
mod oversize;
mod queries;
mod replays;
mod streams;
mod support;
mod tls;
mod tls_files;
mod warnings;
