//! Check of the host that a request names, against DNS rebinding.
//!
//! A page in a browser can send requests to any server that its machine reaches, once the page's
//! own host name resolves to that server. Such a request still names the page's host. Therefore a
//! name has to be configured; addresses can't be rebound and are always accepted.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, Version};
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// Configured host names, accepted in addition to addresses and `localhost`.
#[derive(Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// Creates the set from names without a port; `*` accepts any name.
    pub(crate) fn new(names: &[String]) -> Self {
        Self {
            names: names
                .iter()
                .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
                .collect(),
        }
    }

    /// Checks the host of a request.
    ///
    /// # Errors
    /// If the host is missing or malformed (400; RFC 9112, section 3.2), or unknown (421; RFC 9110,
    /// section 15.5.20).
    pub(crate) fn check(
        &self,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let mut values = headers.get_all(HOST).iter();
        let host = match (uri.authority(), values.next(), values.next()) {
            (_, _, Some(_)) => return Err(malformed("the header Host occurs more than once")),
            (Some(authority), _, None) => authority.host().to_owned(),
            (None, Some(value), None) => value
                .to_str()
                .ok()
                .and_then(|value| value.parse::<Authority>().ok())
                .filter(is_host_and_port)
                .ok_or_else(|| malformed("the header Host is not a host with an optional port"))?
                .host()
                .to_owned(),
            (None, None, None) if version == Version::HTTP_11 => {
                return Err(malformed("the header Host is missing"));
            }
            (None, None, None) => return Ok(()),
        };
        if self.accepts(&host) {
            return Ok(());
        }
        let detail =
            format!("unknown host {host:?}; use the address, or add the name to `server.hosts`");
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).reason(RejectReason::UnknownHost))
    }

    fn accepts(&self, host: &str) -> bool {
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        if host.parse::<Ipv4Addr>().is_ok() {
            return true;
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        // Names under localhost resolve to the loopback address (RFC 6761, section 6.3).
        name == "localhost"
            || name.ends_with(".localhost")
            || self.names.iter().any(|known| known == "*" || *known == name)
    }
}

/// Returns whether the authority is a host with an optional port, without user information.
fn is_host_and_port(authority: &Authority) -> bool {
    let rest = authority.as_str().strip_prefix(authority.host());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

fn malformed(detail: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail).reason(RejectReason::Malformed)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(names: &[&str], uri: &'static str, hosts: &[&str], expected: u16) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        let checked = Hosts::new(&names).check(Version::HTTP_11, &Uri::from_static(uri), &headers);
        assert_eq!(
            checked.map_or_else(|problem| problem.status().as_u16(), |()| 200),
            expected,
            "{uri} {hosts:?}"
        );
    }

    #[test]
    fn addresses_and_localhost_are_always_accepted() {
        for host in [
            "127.0.0.1",
            "10.0.0.7:3800",
            "[::1]:3800",
            "[2001:db8::1]",
            "localhost",
            "LOCALHOST:3800",
            "a.localhost.",
        ] {
            check(&[], "/event", &[host], 200);
        }
    }

    #[test]
    fn other_names_must_be_configured() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:3800",
            "0x7f.1",
            "[::1].evil",
        ] {
            let expected = if host == "[::1].evil" { 400 } else { 421 };
            check(&["observer.example"], "/event", &[host], expected);
        }
        check(&["Observer.example."], "/event", &["observer.EXAMPLE:3800"], 200);
        check(&["*"], "/event", &["evil.example"], 200);
    }

    #[test]
    fn host_must_occur_once() {
        check(&[], "/event", &[], 400);
        check(&[], "/event", &["localhost", "localhost"], 400);
        check(&[], "/event", &[""], 400);
        check(&[], "/event", &["user@localhost"], 400);
        check(&[], "/event", &["local\u{e9}"], 400);
        let old =
            Hosts::new(&[]).check(Version::HTTP_10, &Uri::from_static("/event"), &HeaderMap::new());
        assert!(old.is_ok(), "HTTP/1.0 has no Host header");
    }

    #[test]
    fn absolute_request_target_overrides_the_header() {
        check(&[], "http://evil.example/event", &["localhost"], 421);
        check(&[], "http://localhost/event", &["evil.example"], 200);
    }
}
