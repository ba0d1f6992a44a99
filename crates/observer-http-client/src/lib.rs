//! What those who speak to a far side over HTTP have in common: who they are, whom they trust, what
//! is shown of it, and why there is no answer.
//!
//! ```
//! use std::time::Duration;
//!
//! use observer_http_client::{Auth, Secret, Shown, Tls, client, finish, url};
//! use reqwest::header::{AUTHORIZATION, HeaderMap};
//!
//! let (url, auth) = (url("url", &Secret::from("https://hooks.example.com/agents"))?, Auth::bearer("t0ken"));
//! let headers = HeaderMap::from_iter(auth.header()?.map(|value| (AUTHORIZATION, value)));
//! let shown = Shown::new("url", &url, &headers, auth.secrets());
//! let client = finish(client(Some(&Tls::default()), Duration::from_secs(10))?)?;
//! # let _ = (client, shown);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It knows nothing of what is sent, or of what an answer means.

mod auth;
mod client;
mod retry_after;
mod secret;
mod shown;
mod tls;
mod unanswered;
mod url;

pub use auth::Auth;
pub use client::{blocking, client, finish};
pub use retry_after::{MAX_RETRY_AFTER, retry_after};
pub use secret::Secret;
pub use shown::{Shown, origin};
pub use tls::Tls;
pub use unanswered::{explain, is_another_protocol, tls_error};
pub use url::url;
