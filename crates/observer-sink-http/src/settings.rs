//! Validated configuration.

use std::time::Duration;

use observer_core::BuildError;
use observer_http_client::{Destination, Tls, parse_url};
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use reqwest::{Method, Url};

use crate::body::BodyTemplate;
use crate::config::{Body, Check, Compression, HttpConfig};
use crate::sign::Key;
use crate::template::Template;

/// Headers that the sink or the HTTP client sets.
const RESERVED: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Validated configuration of a sink.
pub(crate) struct Settings {
    pub(crate) url: Url,
    pub(crate) method: Method,
    pub(crate) body: Body,
    /// Template of the body, if a template makes it.
    pub(crate) template: Option<BodyTemplate>,
    /// Headers with constant values.
    pub(crate) headers: HeaderMap,
    /// Headers whose values depend on the event.
    pub(crate) templates: Vec<(HeaderName, Template)>,
    pub(crate) compression: Compression,
    pub(crate) signing_keys: Vec<Key>,
    pub(crate) has_idempotency_key: bool,
    pub(crate) tls: Tls,
    pub(crate) redirects: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) check: Check,
    pub(crate) destination: Destination,
}

impl Settings {
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, BuildError> {
        let url = parse_url("url", &config.url)?;
        let mut headers = HeaderMap::new();
        let content_type =
            if config.body == Body::Ndjson { "application/x-ndjson" } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let encoding = match config.compression {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        };
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Some(value) = config.auth.header()? {
            headers.insert(AUTHORIZATION, value);
        }
        let templates = templates(config, &mut headers)?;
        let template = body_template(config, &headers)?;
        let signing_keys = signing_keys(config)?;
        config.tls.check("url", &url)?;
        if config.connect_timeout.is_zero() {
            return Err(BuildError::new("connect_timeout", "must be longer than 0s"));
        }
        Ok(Self {
            destination: Destination::new(
                "url",
                &url,
                &headers,
                config.auth.secrets().chain(&config.signing.secrets).chain(config.vars.values()),
            ),
            url,
            method: match config.method {
                crate::Method::Post => Method::POST,
                crate::Method::Put => Method::PUT,
                crate::Method::Patch => Method::PATCH,
            },
            body: config.body.clone(),
            template,
            headers,
            templates,
            compression: config.compression,
            signing_keys,
            has_idempotency_key: config.idempotency_key,
            tls: config.tls.clone(),
            redirects: config.redirects,
            connect_timeout: config.connect_timeout,
            check: config.check,
        })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }
}

/// Adds the configured headers with constant values, and returns the others.
fn templates(
    config: &HttpConfig,
    headers: &mut HeaderMap,
) -> Result<Vec<(HeaderName, Template)>, BuildError> {
    let (mut templates, mut seen) = (Vec::new(), Vec::new());
    for (name, value) in &config.headers {
        let invalid = |problem: String| BuildError::new(format!("headers.{name}"), problem);
        let header = HeaderName::try_from(name)
            .map_err(|_| invalid("is not a valid header name".to_owned()))?;
        let is_taken = RESERVED.contains(&header.as_str())
            || (header == AUTHORIZATION && headers.contains_key(AUTHORIZATION))
            || (header == "idempotency-key" && config.idempotency_key);
        if is_taken {
            return Err(invalid("is set by the sink itself".to_owned()));
        }
        if seen.contains(&header) {
            return Err(invalid("is there twice".to_owned()));
        }
        seen.push(header.clone());
        let template = Template::parse(value.reveal()).map_err(invalid)?;
        match template.constant() {
            Some(text) => {
                let mut value = HeaderValue::from_str(text).expect("the template was checked");
                value.set_sensitive(true);
                headers.insert(header, value);
            }
            None if config.body.is_single() => {
                headers.remove(&header);
                templates.push((header, template));
            }
            None => {
                let problem = "has a placeholder for a field of one event, but a request carries \
                               many; set body = \"envelope\" or \"event\"";
                return Err(invalid(problem.to_owned()));
            }
        }
    }
    Ok(templates)
}

/// Compiles the template of the body. JSON is required unless the configured `Content-Type` is
/// another.
fn body_template(
    config: &HttpConfig,
    headers: &HeaderMap,
) -> Result<Option<BodyTemplate>, BuildError> {
    let Some(source) = config.body.template() else {
        return match config.vars.keys().next() {
            Some(name) => Err(BuildError::new(
                format!("vars.{name}"),
                "is for templates; set body = { template = \"…\" } or \"pagerduty\"",
            )),
            None => Ok(None),
        };
    };
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = media_type == "application/json" || media_type.ends_with("+json");
    if config.body == Body::Pagerduty && !config.vars.contains_key("routing_key") {
        return Err(BuildError::new("vars.routing_key", "is missing; PagerDuty needs it"));
    }
    let template = BodyTemplate::parse(source, &config.vars, is_json);
    template.map(Some).map_err(|problem| BuildError::new("body.template", problem))
}

fn signing_keys(config: &HttpConfig) -> Result<Vec<Key>, BuildError> {
    let keys = config
        .signing
        .secrets
        .iter()
        .map(|secret| Key::parse(secret.reveal()))
        .collect::<Option<Vec<_>>>();
    keys.ok_or_else(|| {
        BuildError::new(
            "signing.secrets",
            "must each be base64, with or without the prefix `whsec_`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Auth;

    #[track_caller]
    fn rejects(config: HttpConfig, expected: &str) {
        let error =
            Settings::new(&config).err().expect("the configuration is rejected").to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }

    fn config() -> HttpConfig {
        HttpConfig::new("https://hooks.example.com/agents")
    }

    #[test]
    fn invalid_value_is_rejected_with_its_key() {
        rejects(
            HttpConfig::new("hooks.example.com/hidden"),
            "`url` is not a URL: relative URL without a base",
        );
        rejects(HttpConfig::new("ftp://x/hidden"), "`url` must begin with http://");
        rejects(HttpConfig::new("https://me:hidden@x"), "`url` must not hold a user");
        rejects(config().auth(Auth::bearer("hidden\n")), "`auth.bearer` holds a character");
        rejects(config().auth(Auth::basic("a:b", "hidden")), "`auth.user` must not hold a colon");
        let mut both = Auth::basic("a", "hidden");
        both.bearer = Some("hidden".into());
        rejects(config().auth(both), "`auth` is either `bearer`");
        rejects(config().header("X Y", "1"), "`headers.X Y` is not a valid header name");
        rejects(
            config().header("Webhook-Id", "1"),
            "`headers.Webhook-Id` is set by the sink itself",
        );
        rejects(
            config().header("Authorization", "1").auth(Auth::bearer("t")),
            "`headers.Authorization` is set by",
        );
        rejects(config().header("X-A", "1").header("x-a", "2"), "`headers.x-a` is there twice");
        rejects(config().header("X-A", "hidden\r\nX-B: 1"), "`headers.X-A` holds a character");
        rejects(config().header("X-A", "{hidden}"), "`headers.X-A` has an unknown placeholder");
        rejects(
            config().header("X-A", "{source}"),
            "`headers.X-A` has a placeholder for a field of one event",
        );
        rejects(config().sign_with("hidden!"), "`signing.secrets` must each be base64");
        rejects(
            HttpConfig::new("http://x").tls(Tls::default().with_ca("ca.pem")),
            "`tls` is for https",
        );
        let mut half = Tls::default().with_client_cert("cert.pem", "key.pem");
        half.key = None;
        rejects(config().tls(half), "`tls.cert` needs its private key");
        rejects(config().connect_timeout(Duration::ZERO), "`connect_timeout` must be longer");
    }

    #[test]
    fn template_is_checked_with_the_configuration() {
        let template = |text: &str| config().body(Body::Template(text.to_owned()));
        rejects(
            template("{\n\"text\": \"{{ event.source }}\"}"),
            "`body.template` fails with a sample event: the body is not JSON",
        );
        rejects(
            template("{{ event.nope }}"),
            "`body.template` fails with a sample event: undefined",
        );
        rejects(config().body(Body::Pagerduty), "`vars.routing_key` is missing");
        rejects(config().var("key", "hidden"), "`vars.key` is for templates");
        let text = template("{{ event.source }}").header("Content-Type", "text/plain");
        assert!(Settings::new(&text).is_ok(), "a text need not be JSON");
        let json = template("{{ event.source }} x").header("Content-Type", "application/ld+json");
        rejects(json, "`body.template` fails with a sample event: the body is not JSON");
    }

    #[test]
    fn configured_content_type_replaces_the_default() {
        let settings =
            Settings::new(&config().header("Content-Type", "application/cloudevents+json"))
                .unwrap();
        assert_eq!(settings.headers[CONTENT_TYPE], "application/cloudevents+json");
        assert_eq!(settings.headers.len(), 1);
    }
}
