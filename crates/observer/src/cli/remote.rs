//! HTTP requests to a running observer.

use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::connect::error::{detail, root_cause};
use super::connect::{ConnectArgs, tls};
use super::failure::Failure;

/// Timeout of connecting, and of requests with [`Timeout::Default`].
const TIMEOUT: Duration = Duration::from_secs(30);

/// Options of every command that addresses a running observer.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Client of a running observer.
pub(super) struct Remote {
    http: Client,
    url: Url,
}

/// Response of a running observer.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    url: Url,
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
    pub(super) fn new(arguments: RemoteArgs) -> Result<Self, Failure> {
        let RemoteArgs { connect, json: _ } = arguments;
        let http =
            connect.client().and_then(|client| Ok(client.connect_timeout(TIMEOUT).build()?));
        Ok(Self { http: http.map_err(Failure::usage)?, url: connect.url })
    }

    /// Returns the base URL of the observer, for messages.
    pub(super) fn address(&self) -> String {
        self.at(&[]).to_string()
    }

    /// Returns the URL of a path. A segment may hold any characters.
    pub(super) fn at(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        // `url` is that of `POST /event`.
        url.path_segments_mut().expect("the scheme is http or https").pop().extend(path);
        url
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// If there is no response, or its status is 401 or 403.
    pub(super) async fn get(&self, url: Url) -> Result<Response, Failure> {
        self.authorized(Method::GET, url, None, Timeout::Default).await
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
        let mut request = self.http.request(method, url.clone());
        if timeout == Timeout::Default {
            request = request.timeout(TIMEOUT);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let unreachable = |error: reqwest::Error| {
            let hint =
                if error.is_connect() { "; start the observer, or correct --url" } else { "" };
            let reason =
                tls::explain(&error).unwrap_or_else(|| format!("{}{hint}", root_cause(&error)));
            anyhow!("{} is unreachable: {reason}", self.address())
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?.to_vec();
        Ok(Response { status, body, url })
    }
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
            .with_context(|| format!("{} is not an observer: unexpected response", self.url))
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
