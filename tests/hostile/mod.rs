//! Hostile clients: invalid requests, oversized input, misused connections, and crafted names.
//!
//! After each attack the response names the mistake, the next valid event is accepted, and memory
//! stays within its limit. At the end the archive has every accepted event once.

mod bodies;
mod connections;
mod labels;
mod lenient;
mod monitored;
mod overload;
mod raw;
mod requests;
mod sizes;
