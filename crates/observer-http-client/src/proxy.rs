//! Proxies that the environment names, as far as a client can't use them.

use std::env;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use observer_core::SinkError;
use reqwest::Url;

use crate::origin;

/// Requests of a client, by what a proxy would have to do with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyUse {
    /// HTTP requests, which a proxy forwards, or tunnels to an https URL.
    Http,
    /// gRPC, which is HTTP/2 and can only be tunnelled. Clients tunnel to https URLs alone.
    Grpc,
}

/// Checks that the client can use the proxy that the environment names for requests to `url`, if
/// there is one. `key` is the key of the configuration that holds the URL.
///
/// # Errors
/// If it can't, of kind [`Blocked`](observer_core::ErrorKind::Blocked); the message names the
/// variable.
pub fn check_proxy(url: &Url, key: &str, proxy_use: ProxyUse) -> Result<(), SinkError> {
    match problem(url, key, proxy_use, &Matcher::from_env(), env_variable) {
        Some(problem) => Err(SinkError::blocked(problem)),
        None => Ok(()),
    }
}

/// Returns the environment variable that may name a proxy for this request. `NO_PROXY` is not
/// evaluated.
pub(crate) fn proxy_variable(origin: &str, is_set: impl Fn(&str) -> bool) -> Option<&'static str> {
    let of_scheme = if origin.starts_with("https:") {
        ["HTTPS_PROXY", "https_proxy"]
    } else {
        ["HTTP_PROXY", "http_proxy"]
    };
    of_scheme.into_iter().chain(["ALL_PROXY", "all_proxy"]).find(|name| is_set(name))
}

/// Returns whether an environment variable has a value.
pub(crate) fn env_variable(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn problem(
    url: &Url,
    key: &str,
    proxy_use: ProxyUse,
    proxies: &Matcher,
    is_set: impl Fn(&str) -> bool,
) -> Option<String> {
    let proxy = proxies.intercept(&url.as_str().parse::<Uri>().ok()?)?;
    let origin = origin(url);
    let variable = proxy_variable(&origin, is_set)?;
    let host = url.host_str().unwrap_or_default();
    let scheme = proxy.uri().scheme_str().unwrap_or_default();
    if scheme.starts_with("socks") {
        return Some(format!(
            "`{variable}` names a SOCKS proxy for {origin}, which is not supported; name an HTTP \
             proxy, or add {host} to NO_PROXY"
        ));
    }
    if proxy_use == ProxyUse::Grpc && url.scheme() == "http" {
        return Some(format!(
            "`{variable}` names a proxy for {origin}, which can't forward gRPC without TLS; add \
             {host} to NO_PROXY, begin `{key}` with https://, or set protocol = \"http/protobuf\""
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::ProxyUse::{Grpc, Http};
    use super::*;

    fn found(url: &str, proxy_use: ProxyUse, proxies: Matcher, set: &[&str]) -> Option<String> {
        let is_set = |name: &str| set.contains(&name);
        problem(&url.parse().unwrap(), "endpoint", proxy_use, &proxies, is_set)
    }

    #[test]
    fn grpc_without_tls_behind_a_proxy_is_explained() {
        let proxies = || Matcher::builder().all("http://proxy:3128").no("direct").build();
        let problem = found("http://h:4317", Grpc, proxies(), &["http_proxy"]).unwrap();
        assert!(
            problem.starts_with("`http_proxy` names a proxy for http://h:4317")
                && problem.contains("add h to NO_PROXY, begin `endpoint` with https://"),
            "{problem}"
        );
        let all = &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
        assert_eq!(found("http://direct:4317", Grpc, proxies(), all), None);
        assert_eq!(found("https://h:4317", Grpc, proxies(), all), None, "it is tunnelled");
        assert_eq!(found("http://h:4318", Http, proxies(), all), None, "it is forwarded");
        assert_eq!(found("http://h:4317", Grpc, Matcher::builder().build(), all), None);
    }

    #[test]
    fn socks_proxy_is_named_with_its_variable() {
        for scheme in ["socks5", "socks5h", "socks4"] {
            let proxies = Matcher::builder().all(format!("{scheme}://proxy:1080")).build();
            let problem = found("https://h", Http, proxies, &["ALL_PROXY"]).unwrap();
            assert!(
                problem.starts_with("`ALL_PROXY` names a SOCKS proxy for https://h"),
                "{problem}"
            );
        }
    }

    #[test]
    fn proxy_variable_follows_the_scheme() {
        let check = |origin: &str, set: &[&str], expected| {
            assert_eq!(
                proxy_variable(origin, |name| set.contains(&name)),
                expected,
                "{origin} {set:?}"
            );
        };
        check("http://h", &["HTTPS_PROXY", "http_proxy", "ALL_PROXY"], Some("http_proxy"));
        check("https://h", &["HTTPS_PROXY", "http_proxy"], Some("HTTPS_PROXY"));
        check("https://h", &["HTTP_PROXY", "all_proxy"], Some("all_proxy"));
        check("http://h", &["HTTPS_PROXY", "NO_PROXY"], None);
    }
}
