//! The program as operators use it: commands, configuration, messages, secrets and TLS.

mod cli;
mod messages;
mod reload;
mod secrets;
mod tls;
