//! The program as operators use it: commands, configuration, messages, secrets and TLS; and
//! the example of an agent.

mod admin_socket;
mod cli;
mod example_agent;
mod health;
mod identities;
mod logs;
mod mcp;
mod messages;
mod prices;
mod queries;
mod rebuild;
mod redaction;
mod reload;
mod secrets;
mod sockets;
mod streams;
mod tls;
