//! Tools of the Model Context Protocol (MCP) that answer from the knowledge base.
//!
//! Five tools read and none writes: `history`, `problems`, `models`, `usage` and `search`. They ask
//! an [`EventStore`](observer_core::query::EventStore) within the sources that the caller may read.
//!
//! Everything that a client gets goes into the context of a model, so it is short: the definitions
//! have at most 1,500 tokens together, an answer has 300 by default and 2,000 at most. Everything
//! that producers wrote is data, which a model must not obey: names stand as they are if they can't
//! be read as a sentence; all else is cleaned and stands between `«` and `»`, which it can't
//! contain.
//!
//! ```
//! use observer_core::query::Scope;
//! use observer_mcp::{Endpoint, Reader};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
//! let reader = Reader { store: None, scope: Scope::all() };
//! let response = Endpoint::default().respond(Default::default(), list.into(), reader).await;
//! assert_eq!(response.status(), 200);
//! assert!(String::from_utf8_lossy(response.body()).contains(r#""name":"history""#));
//! # }
//! ```
//!
//! # Modules
//!
//! - `endpoint`: messages over HTTP; [`stdio`]: a process that forwards calls to an observer
//! - `handler`: handshake, list of tools, calls
//! - `definition`, `arguments`: parameters of tools, and their values in a call
//! - `tools`: a module for each tool
//! - `answer`, `cells`, `tokens`: form and size of answers

mod answer;
mod arguments;
mod cells;
mod definition;
mod endpoint;
mod handler;
mod reader;
pub mod stdio;
#[cfg(test)]
mod tests;
mod tokens;
mod tools;

pub use endpoint::Endpoint;
pub use reader::Reader;
