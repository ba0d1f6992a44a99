//! HTTP on a connection.
//!
//! [`serve`] serves the requests of a connection until it ends, each by the [`service`].
//!
//! - Input: [`unread_body`] reads the short rest of a refused request.
//! - Output: [`response_memory`] counts what responses hold, and [`lasting`] responses keep their
//!   connections busy. [`error_body`] adds a body to hyper's own errors, and [`http2`] responds to
//!   clients that speak HTTP/2.

mod error_body;
mod http2;
mod lasting;
pub(crate) mod response_memory;
mod serve;
mod service;
mod unread_body;

pub(super) use self::serve::{Accepted, serve_admin, serve_tcp};
pub(super) use self::service::Admission;
