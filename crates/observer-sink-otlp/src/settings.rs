//! A configuration that was checked.

use std::time::Duration;

use observer_core::BuildError;
use observer_http_client::{Destination, Tls, parse_url};
use reqwest::Url;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE,
};

use crate::config::OtlpConfig;
use crate::protocol::{Compression, Protocol};
use crate::signal::Signal;

/// Where OTLP over HTTP is at home.
const HTTP_PORT: u16 = 4318;
/// Headers that the sink or HTTP itself has to decide about.
const RESERVED: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "grpc-encoding",
    "grpc-timeout",
    "host",
    "te",
    "transfer-encoding",
];

pub(crate) struct Settings {
    pub(crate) url: Url,
    pub(crate) protocol: Protocol,
    /// Of each request.
    pub(crate) headers: HeaderMap,
    pub(crate) compression: Compression,
    pub(crate) tls: Tls,
    pub(crate) connect_timeout: Duration,
    pub(crate) shown: Destination,
}

impl Settings {
    pub(crate) fn of(config: &OtlpConfig, signal: Signal) -> Result<Self, BuildError> {
        let mut url = parse_url("endpoint", &config.endpoint)?;
        let at_home = if url.port() == Some(HTTP_PORT) { Protocol::Http } else { Protocol::Grpc };
        let protocol = config.protocol.unwrap_or(at_home);
        let path = path(&url, protocol, signal)?;
        url.set_path(&path);
        config.tls.check("endpoint", &url)?;
        if config.connect_timeout.is_zero() {
            return Err(BuildError::new("connect_timeout", "must be longer than 0s"));
        }
        let mut headers = own_headers(protocol, config.compression);
        if let Some(value) = config.auth.header()? {
            headers.insert(AUTHORIZATION, value);
        }
        add_headers(config, &mut headers)?;
        Ok(Self {
            shown: Destination::new("endpoint", &url, &headers, config.auth.secrets()),
            url,
            protocol,
            headers,
            compression: config.compression,
            tls: config.tls.clone(),
            connect_timeout: config.connect_timeout,
        })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }
}

fn path(endpoint: &Url, protocol: Protocol, signal: Signal) -> Result<String, BuildError> {
    let base = endpoint.path().trim_end_matches('/');
    match protocol {
        Protocol::Http if base.ends_with("/v1/logs") || base.ends_with("/v1/traces") => {
            let problem = "names a signal's own path; it ends before that, and /v1/logs and /v1/traces are added to it";
            Err(BuildError::new("endpoint", problem))
        }
        Protocol::Http => Ok(format!("{base}/v1/{}", signal.as_str())),
        Protocol::Grpc if !base.is_empty() => {
            let problem = "has a path, which gRPC doesn't; with OTLP over HTTP set protocol = \"http/protobuf\"";
            Err(BuildError::new("endpoint", problem))
        }
        Protocol::Grpc => Ok(match signal {
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export".to_owned(),
            Signal::Traces => {
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export".to_owned()
            }
        }),
    }
}

fn own_headers(protocol: Protocol, compression: Compression) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set =
        |name: HeaderName, value| drop(headers.insert(name, HeaderValue::from_static(value)));
    let encoding = match protocol {
        Protocol::Http => {
            set(CONTENT_TYPE, "application/x-protobuf");
            CONTENT_ENCODING
        }
        Protocol::Grpc => {
            set(CONTENT_TYPE, "application/grpc");
            set(TE, "trailers");
            HeaderName::from_static("grpc-encoding")
        }
    };
    if compression == Compression::Gzip {
        set(encoding, "gzip");
    }
    headers
}

fn add_headers(config: &OtlpConfig, headers: &mut HeaderMap) -> Result<(), BuildError> {
    let mut seen = Vec::new();
    for (name, value) in &config.headers {
        let refused = |problem| Err(BuildError::new(format!("headers.{name}"), problem));
        let Ok(header) = HeaderName::try_from(name) else {
            return refused("is no name of a header");
        };
        let has_auth = header == AUTHORIZATION && config.auth != Default::default();
        if RESERVED.contains(&header.as_str()) || has_auth {
            return refused("is set by the sink itself");
        }
        if seen.contains(&header) {
            return refused("is there twice");
        }
        let Ok(mut value) = HeaderValue::from_str(value.reveal()) else {
            return refused("holds a character that a header can't have, such as a line feed");
        };
        value.set_sensitive(true);
        headers.insert(header.clone(), value);
        seen.push(header);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use observer_http_client::Auth;

    use super::*;

    fn of(config: &OtlpConfig) -> Result<Settings, BuildError> {
        Settings::of(config, Signal::Logs)
    }

    #[test]
    fn where_requests_go_follows_from_endpoint_protocol_and_signal() {
        let check = |config: OtlpConfig, logs: &str, traces: &str| {
            let url = |signal| Settings::of(&config, signal).unwrap().url.to_string();
            assert_eq!((url(Signal::Logs).as_str(), url(Signal::Traces).as_str()), (logs, traces));
        };
        let config = OtlpConfig::new;
        let (logs, traces) = (
            "http://h:4317/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            "http://h:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        );
        check(config("http://h:4317"), logs, traces);
        check(config("http://h:4317/"), logs, traces);
        check(config("http://h:4318"), "http://h:4318/v1/logs", "http://h:4318/v1/traces");
        let http = |endpoint| config(endpoint).protocol(Protocol::Http);
        check(http("https://h/otlp/"), "https://h/otlp/v1/logs", "https://h/otlp/v1/traces");
        check(http("https://h?key=1"), "https://h/v1/logs?key=1", "https://h/v1/traces?key=1");
        check(
            config("http://h:4318").protocol(Protocol::Grpc),
            &logs.replace("4317", "4318"),
            &traces.replace("4317", "4318"),
        );
    }

    #[test]
    fn what_can_not_be_is_refused_by_its_key() {
        let refuse = |config: OtlpConfig, expected: &str| {
            let error = of(&config).err().expect("it is refused").to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        };
        let config = OtlpConfig::new;
        refuse(config("127.0.0.1:4317"), "`endpoint` is no URL: relative URL without a base");
        refuse(config("localhost:4317"), "`endpoint` must begin with http:// or https://");
        refuse(config("https://me:hidden@h"), "`endpoint` must not hold a user");
        refuse(config("http://h:4318/v1/logs"), "`endpoint` names a signal's own path");
        refuse(config("http://h/otlp"), "`endpoint` has a path, which gRPC doesn't");
        refuse(
            config("http://h").tls(Tls::default().with_ca("ca.pem")),
            "`tls` is for https, and `endpoint` begins with http://",
        );
        refuse(
            config("http://h").connect_timeout(Duration::ZERO),
            "`connect_timeout` must be longer",
        );
        refuse(config("http://h").header("x y", "1"), "`headers.x y` is no name of a header");
        refuse(config("http://h").header("TE", "1"), "`headers.TE` is set by the sink itself");
        refuse(
            config("http://h").header("X-A", "1").header("x-a", "2"),
            "`headers.x-a` is there twice",
        );
        refuse(config("http://h").header("x-a", "hidden\n"), "`headers.x-a` holds a character");
        let both = config("http://h").header("authorization", "hidden").auth(Auth::bearer("t"));
        refuse(both, "`headers.authorization` is set by the sink itself");
        refuse(
            config("http://h").auth(Auth::bearer("hidden\n")),
            "`auth.bearer` holds a character",
        );
    }
}
