//! The program as operators use it: commands, configuration, messages, secrets and TLS.

mod admin_socket;
mod cli;
mod messages;
mod reload;
mod secrets;
mod tls;
