//! HTTP client building blocks that sinks and the program share: credentials, TLS, redaction,
//! `Retry-After`, and the classification of transport errors.
//!
//! ```
//! use std::time::Duration;
//!
//! use observer_http_client::{
//!     Auth, Destination, Secret, Tls, build_client, client_builder, parse_url,
//! };
//! use reqwest::header::{AUTHORIZATION, HeaderMap};
//!
//! let url = parse_url("url", &Secret::from("https://hooks.example.com/agents"))?;
//! let auth = Auth::bearer("t0ken");
//! let headers = HeaderMap::from_iter(auth.header()?.map(|value| (AUTHORIZATION, value)));
//! let destination = Destination::new("url", &url, &headers, auth.secrets());
//! let client = build_client(client_builder(Some(&Tls::default()), Duration::from_secs(10))?)?;
//! # let _ = (client, destination);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | content |
//! |---|---|
//! | `auth`, `secret` | credentials, and secrets that messages redact |
//! | `tls` | certificate authorities and the client certificate |
//! | `url` | validation of a configured URL |
//! | `client` | `reqwest` client with the settings that all destinations share |
//! | `connections` | the client of one destination, and the replacement of its connections |
//! | `response_body` | bodies of responses, within a limit of bytes and of time |
//! | `destination` | origin of a destination, excerpts of its responses |
//! | `transport_error` | classification of failed requests |
//! | `retry_after` | delay requested by a response |
//! | `size_limit` | size limit of a destination, learnt from its responses |
//! | `proxy` | proxies of the environment that a client can't use |
//!
//! The crate does not depend on the body of a request or the meaning of a response.

mod auth;
mod client;
mod connections;
mod destination;
mod proxy;
mod response_body;
mod retry_after;
mod secret;
mod size_limit;
mod tls;
mod transport_error;
mod url;

pub use auth::Auth;
pub use client::{build_client, client_builder, default_connect_timeout, run_blocking};
pub use connections::Connections;
pub use destination::{Destination, origin};
pub use proxy::{ProxyUse, check_proxy};
pub use response_body::{BodyEnd, RESPONSE_PATIENCE, ResponseBody};
pub use retry_after::{MAX_RETRY_AFTER, bounded_delay, retry_after};
pub use secret::Secret;
pub use size_limit::{Refusal, SizeLimit};
pub use tls::Tls;
pub use transport_error::{is_protocol_mismatch, tls_error, transport_error};
pub use url::parse_url;
