//! What file and environment say together.
//!
//! A key of `[telemetry]` stands before the variable for it; of the variables, a signal's own
//! stands before the general one. All of it is read here, so that the libraries, which read
//! variables of their own accord, have nothing left to decide. A variable that can't be is ignored,
//! and that is told: it may have been meant for another program.
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>)

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use observer_http_client::{Secret, Tls, origin};
use observer_sink_otlp::{Compression, Protocol};
use opentelemetry_sdk::trace::Sampler;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::variables::{Variables, pairs};
use crate::config::fill::Environment;
use crate::config::{Signal, TelemetryConfig, parse_endpoint};

/// How long a request may take, where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often metrics go out, where nothing is said.
const INTERVAL: Duration = Duration::from_secs(60);
/// How many spans, and how many lines of the log, may wait, where nothing is said.
const QUEUE: usize = 2048;
/// Where OTLP over gRPC is at home.
const GRPC_PORT: u16 = 4317;

/// Where which signal goes, and how.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Empty where telemetry is off.
    pub(crate) targets: BTreeMap<Signal, Target>,
    pub(crate) interval: Duration,
    pub(crate) sampler: Sampler,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) max_spans: usize,
    pub(crate) max_logs: usize,
    /// Variables that can't be, each with what is wrong.
    pub(crate) ignored: Vec<String>,
}

/// Where one signal goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) signal: Signal,
    /// Over HTTP with its path.
    pub(crate) url: Url,
    pub(crate) protocol: Protocol,
    pub(crate) headers: HeaderMap,
    pub(crate) compression: Compression,
    pub(crate) tls: Tls,
    pub(crate) timeout: Duration,
}

impl Settings {
    pub(crate) fn resolve(config: &TelemetryConfig, environment: Environment<'_>) -> Self {
        let mut variables = Variables::new(environment);
        let disabled = variables
            .get("OTEL_SDK_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let wanted = Signal::ALL.into_iter().filter(|_| !disabled);
        let wanted: Vec<_> =
            wanted.filter(|signal| is_wanted(*signal, config, &mut variables)).collect();
        let targets =
            wanted.into_iter().filter_map(|signal| Target::resolve(signal, config, &mut variables));
        let mut settings = Self {
            targets: targets.map(|target| (target.signal, target)).collect(),
            interval: config
                .interval
                .or_else(|| variables.milliseconds("OTEL_METRIC_EXPORT_INTERVAL"))
                .unwrap_or(INTERVAL),
            sampler: sampler(config.sample, &mut variables),
            resource: resource(config, &mut variables),
            max_spans: variables.count("OTEL_BSP_MAX_QUEUE_SIZE").unwrap_or(QUEUE),
            max_logs: variables.count("OTEL_BLRP_MAX_QUEUE_SIZE").unwrap_or(QUEUE),
            ignored: variables.ignored,
        };
        if settings.targets.is_empty() {
            // Variables alone turn nothing on but by an endpoint: the others are for whoever has
            // one.
            settings.ignored.retain(|told| told.contains("_ENDPOINT "));
        }
        settings
    }
}

/// What goes where, in a line for people.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut places = Vec::<(String, Vec<&str>)>::new();
        for target in self.targets.values() {
            let place = target.shown();
            match places.iter_mut().find(|(known, _)| *known == place) {
                Some((_, signals)) => signals.push(target.signal.name()),
                None => places.push((place, vec![target.signal.name()])),
            }
        }
        for (index, (place, signals)) in places.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{} to {place}", signals.join(", "))?;
        }
        Ok(())
    }
}

fn is_wanted(signal: Signal, config: &TelemetryConfig, variables: &mut Variables<'_>) -> bool {
    match &config.signals {
        Some(signals) => signals.contains(&signal),
        None => {
            let name = format!("OTEL_{}_EXPORTER", signal.name().to_uppercase());
            variables.get(&name).is_none_or(|value| !value.eq_ignore_ascii_case("none"))
        }
    }
}

impl Target {
    /// `None` where nothing says where to.
    fn resolve(
        signal: Signal,
        config: &TelemetryConfig,
        variables: &mut Variables<'_>,
    ) -> Option<Self> {
        let said = config.protocol.or_else(|| protocol(signal, variables));
        let protocol = said.unwrap_or_else(|| at_home(config.endpoint.as_ref()));
        let compression = compression(signal, protocol, config.compression, variables);
        let url = match &config.endpoint {
            Some(endpoint) => with_path(parse_endpoint(endpoint.reveal()).ok()?, protocol, signal),
            None => endpoint(signal, protocol, variables)?,
        };
        let mut tls = config.tls.clone().unwrap_or_default();
        if config.tls.is_none() && url.scheme() == "https" {
            let file = |what: &str| variables.of(signal, what).map(|(_, path)| path.into());
            tls.ca = file("CERTIFICATE");
            tls.cert = file("CLIENT_CERTIFICATE");
            tls.key = file("CLIENT_KEY");
        }
        let timeout =
            variables.of(signal, "TIMEOUT").and_then(|(name, _)| variables.milliseconds(&name));
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

    /// Scheme, host, port and protocol: the rest of a URL may be secret.
    pub(crate) fn shown(&self) -> String {
        format!("{} ({})", origin(&self.url), self.protocol)
    }
}

/// What is spoken where nothing says so: HTTP, as the specification has it, unless the file names
/// gRPC's own port.
fn at_home(endpoint: Option<&Secret>) -> Protocol {
    let url = endpoint.and_then(|endpoint| parse_endpoint(endpoint.reveal()).ok());
    if url.is_some_and(|url| url.port() == Some(GRPC_PORT)) {
        Protocol::Grpc
    } else {
        Protocol::Http
    }
}

fn protocol(signal: Signal, variables: &mut Variables<'_>) -> Option<Protocol> {
    let (name, value) = variables.of(signal, "PROTOCOL")?;
    match value.as_str() {
        "grpc" => Some(Protocol::Grpc),
        "http/protobuf" => Some(Protocol::Http),
        _ => {
            variables.ignore(&name, "can be \"http/protobuf\" or \"grpc\" here");
            None
        }
    }
}

fn compression(
    signal: Signal,
    protocol: Protocol,
    configured: Option<Compression>,
    variables: &mut Variables<'_>,
) -> Compression {
    let (name, said) = match variables.of(signal, "COMPRESSION") {
        None => return configured.unwrap_or(Compression::None),
        Some((name, value)) if value.eq_ignore_ascii_case("gzip") => (name, Compression::Gzip),
        Some((name, value)) if value.eq_ignore_ascii_case("none") => (name, Compression::None),
        Some((name, _)) => {
            variables.ignore(&name, "can be \"gzip\" or \"none\" here");
            return configured.unwrap_or(Compression::None);
        }
    };
    if (configured, said, protocol) == (Some(Compression::None), Compression::Gzip, Protocol::Grpc)
    {
        // The exporter reads the variable itself, and can't be told otherwise.
        let told =
            format!("the key telemetry.compression is ignored: over gRPC it can't overrule {name}");
        if !variables.ignored.contains(&told) {
            variables.ignored.push(told);
        }
        return said;
    }
    configured.unwrap_or(said)
}

fn endpoint(signal: Signal, protocol: Protocol, variables: &mut Variables<'_>) -> Option<Url> {
    let (name, text) = variables.of(signal, "ENDPOINT")?;
    let is_insecure = |(_, value): (String, String)| value.eq_ignore_ascii_case("true");
    let text = match protocol {
        Protocol::Grpc if !text.contains("://") => {
            let scheme = if variables.of(signal, "INSECURE").is_some_and(is_insecure) {
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
        let path = format!("{}/v1/{}", url.path().trim_end_matches('/'), signal.name());
        url.set_path(&path);
    }
    url
}

fn headers(signal: Signal, variables: &mut Variables<'_>) -> HeaderMap {
    let Some((variable, text)) = variables.of(signal, "HEADERS") else { return HeaderMap::new() };
    let mut headers = HeaderMap::new();
    for pair in pairs(&text) {
        match pair.and_then(|(name, value)| header(&name, &value)) {
            Some((name, value)) => drop(headers.insert(name, value)),
            None => variables.ignore(
                &variable,
                "must be NAME=VALUE, with commas between several, and percent signs for all that is special",
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
    let share = |share: f64| Sampler::TraceIdRatioBased(share);
    let following = |root: Sampler| Sampler::ParentBased(Box::new(root));
    if let Some(configured) = configured {
        return following(share(configured));
    }
    let argument =
        variables.get("OTEL_TRACES_SAMPLER_ARG").map_or(Some(1.0), |text| text.parse().ok());
    let argument = argument.filter(|share| (0.0..=1.0).contains(share)).unwrap_or_else(|| {
        variables.ignore("OTEL_TRACES_SAMPLER_ARG", "must be between 0.0 and 1.0");
        1.0
    });
    match variables.get("OTEL_TRACES_SAMPLER").as_deref() {
        None | Some("parentbased_always_on") => following(Sampler::AlwaysOn),
        Some("parentbased_always_off") => following(Sampler::AlwaysOff),
        Some("parentbased_traceidratio") => following(share(argument)),
        Some("always_on") => Sampler::AlwaysOn,
        Some("always_off") => Sampler::AlwaysOff,
        Some("traceidratio") => share(argument),
        Some(_) => {
            let known = "can be \"always_on\", \"always_off\" or \"traceidratio\" here, each also after \"parentbased_\"";
            variables.ignore("OTEL_TRACES_SAMPLER", known);
            following(Sampler::AlwaysOn)
        }
    }
}

fn resource(config: &TelemetryConfig, variables: &mut Variables<'_>) -> BTreeMap<String, String> {
    let own = [
        ("service.name", "observer".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        // So that two of them behind one name can be told apart.
        ("service.instance.id", observer_core::Uuid::now_v7().to_string()),
    ];
    let mut resource: BTreeMap<_, _> =
        own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    if let Some(text) = variables.get("OTEL_RESOURCE_ATTRIBUTES") {
        for pair in pairs(&text) {
            match pair {
                Some((key, value)) => drop(resource.insert(key, value)),
                None => variables.ignore(
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "must be KEY=VALUE, with commas between several",
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
