//! HTTP requests to a running observer, over its admin socket or its URL.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, anyhow};
use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::connect::error::{detail, root_cause};
use super::connect::{ConnectArgs, DEFAULT_URL, URL_VARIABLE, endpoint, tls};
use super::failure::Failure;
use crate::Config;
use crate::config::ServerConfig;

/// Characters that are encoded in a segment of a path: all but the unreserved ones (RFC 3986,
/// section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Timeout of connecting, and of requests with [`Timeout::Default`].
const TIMEOUT: Duration = Duration::from_secs(30);

/// Options for reaching a running observer.
#[derive(Debug, Args)]
pub(super) struct ObserverArgs {
    /// URL of the observer; by default its admin socket if there is one, else the address of its
    /// configuration, else http://localhost:3800
    #[arg(long, env = URL_VARIABLE, hide_env_values = true, value_parser = endpoint)]
    url: Option<Url>,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Options of commands that address a running observer and print text or JSON.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    #[command(flatten)]
    observer: ObserverArgs,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl From<RemoteArgs> for ObserverArgs {
    fn from(arguments: RemoteArgs) -> Self {
        arguments.observer
    }
}

/// Client of a running observer.
pub(super) struct Remote {
    http: Client,
    url: Url,
    target: Target,
    /// File that was named as the configuration.
    config: Option<PathBuf>,
}

/// Choice of the address to connect to.
enum Target {
    /// Admin socket of the configuration.
    Socket(PathBuf),
    /// URL of the command line or the environment.
    GivenUrl,
    /// URL of the configuration, since there is no admin socket.
    ConfiguredUrl,
}

/// Response of a running observer.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    /// Address of the observer, for messages.
    address: String,
}

/// Failure to get a response.
pub(super) struct Unreachable {
    pub(super) error: anyhow::Error,
    /// True if no observer seems to run on this machine: no URL is given, and nothing accepts a
    /// connection.
    pub(super) nobody_listens: bool,
}

/// Limit of the duration of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timeout {
    /// 30 seconds.
    Default,
    /// No limit, for a replay of dead letters, which takes as long as the sink does.
    None,
}

impl Remote {
    /// Creates a client. Without a URL it connects to the admin socket of the configuration, if
    /// that exists.
    pub(super) fn new(
        arguments: impl Into<ObserverArgs>,
        config: Option<&Path>,
    ) -> Result<Self, Failure> {
        let ObserverArgs { url, connect } = arguments.into();
        let (url, target) = match url {
            Some(url) => (url, Target::GivenUrl),
            None => {
                let (socket, url) = configured(config);
                (url, socket.map_or(Target::ConfiguredUrl, Target::Socket))
            }
        };
        let config = config.map(Path::to_owned);
        let http = connect.client(&url).and_then(|client| {
            let client = client.connect_timeout(TIMEOUT);
            Ok(match &target {
                Target::Socket(path) => client.unix_socket(path.as_path()),
                Target::GivenUrl | Target::ConfiguredUrl => client,
            }
            .build()?)
        });
        Ok(Self { http: http.map_err(Failure::usage)?, url, target, config })
    }

    /// Returns the base URL of the observer or its admin socket, for messages.
    pub(super) fn address(&self) -> String {
        match &self.target {
            Target::Socket(path) => path.display().to_string(),
            Target::GivenUrl | Target::ConfiguredUrl => self.at(&[]).to_string(),
        }
    }

    /// Returns the URL of a path. A segment may hold any characters, but not be `.` or `..`.
    pub(super) fn at(&self, path: &[&str]) -> Url {
        beside(&self.url, path)
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// If there is no response, or its status is 401 or 403.
    pub(super) async fn get(&self, url: Url) -> Result<Response, Failure> {
        self.authorized(Method::GET, url, None, Timeout::Default).await
    }

    /// Sends a GET request for a media type, and returns the response whatever its status.
    ///
    /// # Errors
    /// If there is no response.
    pub(super) async fn get_as(&self, url: Url, accept: &str) -> Result<Response, Unreachable> {
        let request = self.http.get(url).header(ACCEPT, accept).timeout(TIMEOUT);
        self.execute(request).await
    }

    /// Sends a request that needs authorization.
    ///
    /// # Errors
    /// If there is no response, or its status is 401 or 403.
    pub(super) async fn authorized(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
        timeout: Timeout,
    ) -> Result<Response, Failure> {
        self.send(method, url, body, timeout).await.map_err(Failure::usage)?.authorized()
    }

    /// Sends a request and returns the response, whatever its status.
    ///
    /// # Errors
    /// If there is no response.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
        timeout: Timeout,
    ) -> anyhow::Result<Response> {
        let mut request = self.http.request(method, url);
        if timeout == Timeout::Default {
            request = request.timeout(TIMEOUT);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        self.execute(request).await.map_err(|Unreachable { error, .. }| error)
    }

    /// Begins a stream of events after the event of an id, and returns the head of the response,
    /// whatever its status.
    ///
    /// # Errors
    /// If there is no response.
    pub(super) async fn stream(
        &self,
        url: Url,
        last_event_id: Option<&str>,
    ) -> anyhow::Result<reqwest::Response> {
        let mut request = self.http.get(url).header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = tokio::time::timeout(TIMEOUT, request.send()).await;
        let response = response.with_context(|| {
            format!("{} did not respond within {} s", self.address(), TIMEOUT.as_secs())
        })?;
        response.map_err(|error| self.unreachable(&error).error)
    }

    async fn execute(&self, request: RequestBuilder) -> Result<Response, Unreachable> {
        let unreachable = |error: reqwest::Error| self.unreachable(&error);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?.to_vec();
        Ok(Response { status, body, address: self.address() })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Unreachable {
        let hint = if error.is_connect() { self.hint(error) } else { Cow::Borrowed("") };
        let reason = tls::explain(error).unwrap_or_else(|| format!("{}{hint}", root_cause(error)));
        Unreachable {
            error: anyhow!("{} is unreachable: {reason}", self.address()),
            nobody_listens: error.is_connect() && !matches!(self.target, Target::GivenUrl),
        }
    }

    /// Returns a remedy for a failed connection. An observer can't be started with an invalid
    /// configuration.
    fn hint(&self, error: &reqwest::Error) -> Cow<'static, str> {
        let remedy = match &self.target {
            Target::Socket(_) if is_denied(error) => {
                "; run the command as the user of the observer, or use --url"
            }
            Target::Socket(_) => "; start the observer, or name another one with --url",
            Target::GivenUrl => "; start the observer, or correct --url",
            Target::ConfiguredUrl => {
                "; start the observer, or name its URL with --url or its configuration with \
                 --config"
            }
        };
        if !matches!(self.target, Target::GivenUrl)
            && let Err(error) =
                Config::load(self.config.as_deref()).and_then(|config| config.validate())
        {
            let error = observer_core::report(&error);
            return Cow::Owned(format!("{remedy}; the configuration is invalid: {error}"));
        }
        Cow::Borrowed(remedy)
    }
}

/// Returns the path of the admin socket of the configuration, if a socket exists there, and the URL
/// of the configuration.
fn configured(config: Option<&Path>) -> (Option<PathBuf>, Url) {
    let addresses = Config::load_addresses(config).map_err(|error| {
        tracing::warn!(
            error = observer_core::report(&error),
            "the configuration, which names the addresses, can't be read; using the default URL"
        );
    });
    let (socket, listen) = addresses.map_or_else(
        |()| (None, ServerConfig::default().listen),
        |addresses| (addresses.admin_socket, addresses.plain),
    );
    let is_socket = |file: fs::Metadata| file.file_type().is_socket();
    let socket = socket.filter(|path| fs::metadata(path).is_ok_and(is_socket));
    let url = endpoint(&url_of(&listen)).expect("the URL of an address is valid");
    (socket, url)
}

/// Returns the URL by which the first of these addresses is reached from this machine.
fn url_of(listen: &[SocketAddr]) -> String {
    if *listen == ServerConfig::default().listen {
        return DEFAULT_URL.to_owned();
    }
    let Some(address) = listen.first().copied() else { return DEFAULT_URL.to_owned() };
    format!("http://{}", from_this_machine(address))
}

/// Returns the address by which a listener is reached from this machine.
pub(super) fn from_this_machine(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn is_denied(error: &reqwest::Error) -> bool {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    causes.any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

impl Response {
    /// Returns the response unless it denies access.
    ///
    /// # Errors
    /// If the status is 401 or 403.
    pub(super) fn authorized(self) -> Result<Self, Failure> {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::usage(self.error())),
            _ => Ok(self),
        }
    }

    /// Returns the response if it is a success.
    ///
    /// # Errors
    /// If the status is not 2xx.
    pub(super) fn success(self) -> Result<Self, Failure> {
        if self.status.is_success() { Ok(self) } else { Err(self.error().into()) }
    }

    /// Deserializes the body.
    ///
    /// # Errors
    /// If the body is not that of an observer.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let parsed = serde_json::from_slice(&self.body);
        parsed
            .with_context(|| format!("{} is not an observer: unexpected response", self.address))
            .map_err(Failure::usage)
    }

    /// Returns the body as one line of text.
    pub(super) fn text(&self) -> String {
        format!("{}\n", String::from_utf8_lossy(&self.body).trim_end())
    }

    fn error(&self) -> anyhow::Error {
        anyhow!("{} {}", self.status.as_u16(), detail(self.status, &self.body))
    }
}

/// Returns the URL of a path beside the last segment of another URL.
pub(super) fn beside(url: &Url, path: &[&str]) -> Url {
    let mut url = url.clone();
    url.path_segments_mut().expect("the scheme is http or https").pop();
    if !path.is_empty() {
        // `PathSegmentsMut` leaves out tabs and line breaks.
        let mut full = url.path().trim_end_matches('/').to_owned();
        for segment in path {
            full.push('/');
            full.extend(utf8_percent_encode(segment, SEGMENT));
        }
        url.set_path(&full);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_a_path_may_hold_any_characters() {
        let base = Url::parse("http://h:1/prefix/event").unwrap();
        for (segment, encoded) in [
            ("a\tb", "a%09b"),
            ("a\nb", "a%0Ab"),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("50%", "50%25"),
            ("%2e", "%252e"),
            ("é", "%C3%A9"),
            ("a-b._~", "a-b._~"),
        ] {
            let url = beside(&base, &["v1", segment]);
            assert_eq!(url.as_str(), format!("http://h:1/prefix/v1/{encoded}"));
        }
        assert_eq!(beside(&base, &[]).as_str(), "http://h:1/prefix");
        let top = Url::parse("http://h:1/event").unwrap();
        assert_eq!(beside(&top, &["livez"]).as_str(), "http://h:1/livez");
        assert_eq!(beside(&top, &[]).as_str(), "http://h:1/");
    }

    #[test]
    fn url_of_a_configuration_reaches_its_first_address_from_this_machine() {
        for (listen, expected) in [
            (&["127.0.0.1:3901"][..], "http://127.0.0.1:3901"),
            (&["0.0.0.0:3901", "127.0.0.1:1"], "http://127.0.0.1:3901"),
            (&["[::]:3901"], "http://[::1]:3901"),
            (&["10.0.0.7:80"], "http://10.0.0.7:80"),
            (&["127.0.0.1:3800", "[::1]:3800"], DEFAULT_URL),
            (&[], DEFAULT_URL),
        ] {
            let listen: Vec<SocketAddr> =
                listen.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(url_of(&listen), expected, "{listen:?}");
        }
    }
}
