//! Settings of telemetry, from the configuration and the environment.
//!
//! A key of `[telemetry]` takes precedence over its environment variable, and the variable of a
//! signal over the general one (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>). All
//! settings are resolved here and passed to the exporters explicitly, since the OpenTelemetry
//! crates read the same variables themselves. An invalid variable is ignored with a warning,
//! because it may be meant for another program.

mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use observer_http_client::{Secret, Tls, origin};
use observer_sink_otlp::{Compression, Protocol};
use opentelemetry_sdk::trace::Sampler;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use self::variables::{Variables, pairs};
use crate::config::parse::substitute::Environment;
use crate::config::{Signal, TelemetryConfig, parse_endpoint};

/// Default timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Default interval of the export of metrics.
const INTERVAL: Duration = Duration::from_secs(60);
/// Default capacity of the queues of spans and of log events.
const QUEUE_CAPACITY: usize = 2048;
/// Default port of OTLP over gRPC.
const GRPC_PORT: u16 = 4317;

/// Resolved settings of telemetry.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Target of each exported signal; empty if telemetry is off.
    pub(crate) targets: BTreeMap<Signal, Target>,
    pub(crate) interval: Duration,
    pub(crate) sampler: Sampler,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) max_spans: usize,
    pub(crate) max_logs: usize,
    /// Warnings about ignored settings.
    pub(crate) warnings: Vec<String>,
}

/// Target of one signal.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) signal: Signal,
    /// URL of the collector, over HTTP with the path of the signal.
    pub(crate) url: Url,
    pub(crate) protocol: Protocol,
    pub(crate) headers: HeaderMap,
    pub(crate) compression: Compression,
    pub(crate) tls: Tls,
    pub(crate) timeout: Duration,
}

impl Settings {
    /// Resolves the settings.
    pub(crate) fn resolve(config: &TelemetryConfig, environment: Environment<'_>) -> Self {
        let mut variables = Variables::new(environment);
        let disabled = variables
            .get("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let enabled = Signal::ALL.into_iter().filter(|_| !disabled);
        let enabled: Vec<_> =
            enabled.filter(|signal| is_enabled(*signal, config, &mut variables)).collect();
        let targets = enabled
            .into_iter()
            .filter_map(|signal| Target::resolve(signal, config, &mut variables));
        let mut settings = Self {
            targets: targets.map(|target| (target.signal, target)).collect(),
            interval: config
                .interval
                .or_else(|| variables.milliseconds("OTEL_METRIC_EXPORT_INTERVAL"))
                .unwrap_or(INTERVAL),
            sampler: sampler(config.sample, &mut variables),
            resource: resource(config, &mut variables),
            max_spans: variables.count("OTEL_BSP_MAX_QUEUE_SIZE").unwrap_or(QUEUE_CAPACITY),
            max_logs: variables.count("OTEL_BLRP_MAX_QUEUE_SIZE").unwrap_or(QUEUE_CAPACITY),
            warnings: variables.warnings,
        };
        if settings.targets.is_empty() {
            // Without an endpoint only that variable is relevant to the observer.
            settings.warnings.retain(|warning| warning.contains("_ENDPOINT "));
        }
        settings
    }
}

/// Describes the targets in one line.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut destinations = Vec::<(String, Vec<&str>)>::new();
        for target in self.targets.values() {
            let destination = target.describe();
            match destinations.iter_mut().find(|(known, _)| *known == destination) {
                Some((_, signals)) => signals.push(target.signal.as_str()),
                None => destinations.push((destination, vec![target.signal.as_str()])),
            }
        }
        for (index, (destination, signals)) in destinations.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{} to {destination}", signals.join(", "))?;
        }
        Ok(())
    }
}

fn is_enabled(signal: Signal, config: &TelemetryConfig, variables: &mut Variables<'_>) -> bool {
    match &config.signals {
        Some(signals) => signals.contains(&signal),
        None => {
            let name = format!("OTEL_{}_EXPORTER", signal.as_str().to_uppercase());
            variables.get(&name).is_none_or(|value| !value.eq_ignore_ascii_case("none"))
        }
    }
}

impl Target {
    /// Resolves the target of a signal, or returns `None` without an endpoint.
    fn resolve(
        signal: Signal,
        config: &TelemetryConfig,
        variables: &mut Variables<'_>,
    ) -> Option<Self> {
        let configured = config.protocol.or_else(|| protocol(signal, variables));
        let protocol = configured.unwrap_or_else(|| default_protocol(config.endpoint.as_ref()));
        let compression = compression(signal, protocol, config.compression, variables);
        let url = match &config.endpoint {
            Some(endpoint) => with_path(parse_endpoint(endpoint.reveal()).ok()?, protocol, signal),
            None => endpoint(signal, protocol, variables)?,
        };
        let mut tls = config.tls.clone().unwrap_or_default();
        if config.tls.is_none() && url.scheme() == "https" {
            let file =
                |suffix: &str| variables.of_signal(signal, suffix).map(|(_, path)| path.into());
            tls.ca = file("CERTIFICATE");
            tls.cert = file("CLIENT_CERTIFICATE");
            tls.key = file("CLIENT_KEY");
        }
        let timeout = variables
            .of_signal(signal, "TIMEOUT")
            .and_then(|(name, _)| variables.milliseconds(&name));
        let headers = match &config.headers {
            Some(headers) => {
                headers.iter().filter_map(|(name, value)| header(name, value.reveal())).collect()
            }
            None => headers(signal, variables),
        };
        Some(Self {
            signal,
            url,
            protocol,
            headers,
            compression,
            tls,
            timeout: timeout.unwrap_or(TIMEOUT),
        })
    }

    /// Describes the target by scheme, host, port and protocol. The rest of the URL may be secret.
    pub(crate) fn describe(&self) -> String {
        format!("{} ({})", origin(&self.url), self.protocol)
    }
}

/// Returns HTTP, the default of the specification, unless the configured endpoint has the port of
/// gRPC.
fn default_protocol(endpoint: Option<&Secret>) -> Protocol {
    let url = endpoint.and_then(|endpoint| parse_endpoint(endpoint.reveal()).ok());
    if url.is_some_and(|url| url.port() == Some(GRPC_PORT)) {
        Protocol::Grpc
    } else {
        Protocol::Http
    }
}

fn protocol(signal: Signal, variables: &mut Variables<'_>) -> Option<Protocol> {
    let (name, value) = variables.of_signal(signal, "PROTOCOL")?;
    let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == value);
    if protocol.is_none() {
        variables.ignore(&name, "must be \"http/protobuf\" or \"grpc\"");
    }
    protocol
}

fn compression(
    signal: Signal,
    protocol: Protocol,
    configured: Option<Compression>,
    variables: &mut Variables<'_>,
) -> Compression {
    let default = configured.unwrap_or(Compression::None);
    let Some((name, value)) = variables.of_signal(signal, "COMPRESSION") else { return default };
    let mut known = Compression::ALL.into_iter();
    let Some(from_variable) = known.find(|known| value.eq_ignore_ascii_case(known.as_str())) else {
        variables.ignore(&name, "must be \"gzip\" or \"none\"");
        return default;
    };
    if (configured, from_variable, protocol)
        == (Some(Compression::None), Compression::Gzip, Protocol::Grpc)
    {
        // The exporter reads the variable itself, and no setter overrides it.
        variables.warn(format!(
            "the key telemetry.compression is ignored: over gRPC the environment variable {name} \
             takes precedence"
        ));
        return from_variable;
    }
    configured.unwrap_or(from_variable)
}

fn endpoint(signal: Signal, protocol: Protocol, variables: &mut Variables<'_>) -> Option<Url> {
    let (name, text) = variables.of_signal(signal, "ENDPOINT")?;
    let is_insecure = |(_, value): (String, String)| value.eq_ignore_ascii_case("true");
    let text = match protocol {
        Protocol::Grpc if !text.contains("://") => {
            let scheme = if variables.of_signal(signal, "INSECURE").is_some_and(is_insecure) {
                "http"
            } else {
                "https"
            };
            format!("{scheme}://{text}")
        }
        _ => text,
    };
    match parse_endpoint(&text) {
        Ok(url) if name == "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(with_path(url, protocol, signal)),
        Ok(url) => Some(url),
        Err(problem) => {
            variables.ignore(&name, problem);
            None
        }
    }
}

fn with_path(mut url: Url, protocol: Protocol, signal: Signal) -> Url {
    if protocol == Protocol::Http {
        let path = format!("{}/v1/{}", url.path().trim_end_matches('/'), signal.as_str());
        url.set_path(&path);
    }
    url
}

fn headers(signal: Signal, variables: &mut Variables<'_>) -> HeaderMap {
    let Some((variable, text)) = variables.of_signal(signal, "HEADERS") else {
        return HeaderMap::new();
    };
    let mut headers = HeaderMap::new();
    for pair in pairs(&text) {
        match pair.and_then(|(name, value)| header(&name, &value)) {
            Some((name, value)) => drop(headers.insert(name, value)),
            None => variables.ignore(
                &variable,
                "must be a comma-separated list of NAME=VALUE with percent-encoded special \
                 characters",
            ),
        }
    }
    headers
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::try_from(name).ok()?, value))
}

fn sampler(configured: Option<f64>, variables: &mut Variables<'_>) -> Sampler {
    let ratio = |fraction: f64| Sampler::TraceIdRatioBased(fraction);
    let parent_based = |root: Sampler| Sampler::ParentBased(Box::new(root));
    if let Some(configured) = configured {
        return parent_based(ratio(configured));
    }
    let argument =
        variables.get("OTEL_TRACES_SAMPLER_ARG").map_or(Some(1.0), |text| text.parse().ok());
    let argument =
        argument.filter(|fraction| (0.0..=1.0).contains(fraction)).unwrap_or_else(|| {
            variables.ignore("OTEL_TRACES_SAMPLER_ARG", "must be between 0.0 and 1.0");
            1.0
        });
    match variables.get("OTEL_TRACES_SAMPLER").as_deref() {
        None | Some("parentbased_always_on") => parent_based(Sampler::AlwaysOn),
        Some("parentbased_always_off") => parent_based(Sampler::AlwaysOff),
        Some("parentbased_traceidratio") => parent_based(ratio(argument)),
        Some("always_on") => Sampler::AlwaysOn,
        Some("always_off") => Sampler::AlwaysOff,
        Some("traceidratio") => ratio(argument),
        Some(_) => {
            variables.ignore(
                "OTEL_TRACES_SAMPLER",
                "must be \"always_on\", \"always_off\" or \"traceidratio\", optionally with the \
                 prefix \"parentbased_\"",
            );
            parent_based(Sampler::AlwaysOn)
        }
    }
}

fn resource(config: &TelemetryConfig, variables: &mut Variables<'_>) -> BTreeMap<String, String> {
    let defaults = [
        ("service.name", "observer".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        // Distinguishes several observers with the same name.
        ("service.instance.id", observer_core::Uuid::now_v7().to_string()),
    ];
    let mut resource: BTreeMap<_, _> =
        defaults.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    if let Some(text) = variables.get("OTEL_RESOURCE_ATTRIBUTES") {
        for pair in pairs(&text) {
            match pair {
                Some((key, value)) => drop(resource.insert(key, value)),
                None => variables.ignore(
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "must be a comma-separated list of KEY=VALUE",
                ),
            }
        }
    }
    if let Some(name) = variables.get("OTEL_SERVICE_NAME") {
        resource.insert("service.name".to_owned(), name);
    }
    resource.extend(config.resource.clone());
    resource
}

#[cfg(test)]
mod tests;
