//! Validated settings of one sink.

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

/// Default port of OTLP/HTTP.
const HTTP_PORT: u16 = 4318;
/// Headers that the sink or the HTTP client sets.
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

/// Settings for one signal, from a valid configuration.
pub(crate) struct Settings {
    /// URL of the requests, with the path of the signal.
    pub(crate) url: Url,
    pub(crate) protocol: Protocol,
    /// Headers of each request.
    pub(crate) headers: HeaderMap,
    pub(crate) compression: Compression,
    pub(crate) tls: Tls,
    pub(crate) connect_timeout: Duration,
    /// Description of the destination for messages, without secrets.
    pub(crate) destination: Destination,
}

impl Settings {
    pub(crate) fn new(config: &OtlpConfig, signal: Signal) -> Result<Self, BuildError> {
        let mut url = parse_url("endpoint", &config.endpoint)?;
        let default_protocol =
            if url.port() == Some(HTTP_PORT) { Protocol::Http } else { Protocol::Grpc };
        let protocol = config.protocol.unwrap_or(default_protocol);
        let path = path(&url, protocol, signal)?;
        url.set_path(&path);
        config.tls.check("endpoint", &url)?;
        if config.connect_timeout.is_zero() {
            return Err(BuildError::new("connect_timeout", "must be longer than 0s"));
        }
        let mut headers = protocol_headers(protocol, config.compression);
        if let Some(value) = config.auth.header()? {
            headers.insert(AUTHORIZATION, value);
        }
        add_headers(config, &mut headers)?;
        Ok(Self {
            destination: Destination::new("endpoint", &url, &headers, config.auth.secrets()),
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
            let problem = "ends with the path of a signal; remove it, \
                           the sink adds /v1/logs and /v1/traces";
            Err(BuildError::new("endpoint", problem))
        }
        Protocol::Http => Ok(format!("{base}/v1/{}", signal.as_str())),
        Protocol::Grpc if !base.is_empty() => {
            let problem = "has a path, which gRPC does not support; \
                           for OTLP over HTTP set protocol = \"http/protobuf\"";
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

fn protocol_headers(protocol: Protocol, compression: Compression) -> HeaderMap {
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
        let invalid = |problem| Err(BuildError::new(format!("headers.{name}"), problem));
        let Ok(header) = HeaderName::try_from(name) else {
            return invalid("is not a valid header name");
        };
        let has_auth = header == AUTHORIZATION && config.auth != Default::default();
        if RESERVED.contains(&header.as_str()) || has_auth {
            return invalid("is set by the sink itself");
        }
        if seen.contains(&header) {
            return invalid("is set twice");
        }
        let Ok(mut value) = HeaderValue::from_str(value.reveal()) else {
            return invalid("contains a character that a header can't have, such as a line feed");
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

    #[test]
    fn url_follows_from_endpoint_protocol_and_signal() {
        let check = |config: OtlpConfig, logs: &str, traces: &str| {
            let url = |signal| Settings::new(&config, signal).unwrap().url.to_string();
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
    fn invalid_value_is_rejected_with_its_key() {
        let rejects = |config: OtlpConfig, expected: &str| {
            let error = Settings::new(&config, Signal::Logs).err().expect("an error").to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        };
        let config = OtlpConfig::new;
        rejects(config("127.0.0.1:4317"), "`endpoint` is not a URL: relative URL without a base");
        rejects(config("localhost:4317"), "`endpoint` must begin with http:// or https://");
        rejects(config("https://me:hidden@h"), "`endpoint` must not hold a user");
        rejects(config("http://h:4318/v1/logs"), "`endpoint` ends with the path of a signal");
        rejects(config("http://h/otlp"), "`endpoint` has a path, which gRPC does not support");
        rejects(
            config("http://h").tls(Tls::default().with_ca("ca.pem")),
            "`tls` is for https, and `endpoint` begins with http://",
        );
        rejects(
            config("http://h").connect_timeout(Duration::ZERO),
            "`connect_timeout` must be longer",
        );
        rejects(config("http://h").header("x y", "1"), "`headers.x y` is not a valid header name");
        rejects(config("http://h").header("TE", "1"), "`headers.TE` is set by the sink itself");
        rejects(
            config("http://h").header("X-A", "1").header("x-a", "2"),
            "`headers.x-a` is set twice",
        );
        rejects(config("http://h").header("x-a", "hidden\n"), "`headers.x-a` contains a character");
        let both = config("http://h").header("authorization", "hidden").auth(Auth::bearer("t"));
        rejects(both, "`headers.authorization` is set by the sink itself");
        rejects(
            config("http://h").auth(Auth::bearer("hidden\n")),
            "`auth.bearer` holds a character",
        );
    }
}
