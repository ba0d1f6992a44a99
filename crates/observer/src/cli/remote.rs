//! Questions to a running observer, over HTTP.

use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::Failed;
use super::connect::{ConnectArgs, tls, why};
use super::emit::send::detail;

/// For a question; a replay takes as long as the sink does.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which observer, and who asks.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    #[command(flatten)]
    to: ConnectArgs,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A running observer.
pub(super) struct Remote {
    http: Client,
    url: Url,
}

/// What it said.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    url: Url,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Question,
    Unbounded,
}

impl Remote {
    pub(super) fn new(arguments: RemoteArgs) -> Result<Self, Failed> {
        let RemoteArgs { to, json: _ } = arguments;
        let http = to.client().and_then(|client| Ok(client.connect_timeout(TIMEOUT).build()?));
        Ok(Self { http: http.map_err(Failed::usage)?, url: to.url })
    }

    /// Where it is, as people say it.
    pub(super) fn address(&self) -> String {
        self.at(&[]).to_string()
    }

    /// The URL of this path, each part of which may have any characters.
    pub(super) fn at(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        // The URL is that of `/event`.
        url.path_segments_mut().expect("the scheme is http or https").pop().extend(path);
        url
    }

    pub(super) async fn get(&self, url: Url) -> Result<Answer, Failed> {
        self.ask(Method::GET, url, None, Patience::Question).await
    }

    /// # Errors
    /// When there is no answer, or one of who may not ask.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
        patience: Patience,
    ) -> Result<Answer, Failed> {
        self.request(method, url, body, patience).await.map_err(Failed::usage)?.allowed()
    }

    /// # Errors
    /// When there is no answer.
    pub(super) async fn request(
        &self,
        method: Method,
        url: Url,
        body: Option<String>,
        patience: Patience,
    ) -> anyhow::Result<Answer> {
        let mut request = self.http.request(method, url.clone());
        if patience == Patience::Question {
            request = request.timeout(TIMEOUT);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let unreachable = |error: reqwest::Error| {
            let hint = if error.is_connect() {
                "; does it run there? --url says where to look"
            } else {
                ""
            };
            let reason = tls::explain(&error).unwrap_or_else(|| format!("{}{hint}", why(&error)));
            anyhow!("{} can't be reached: {reason}", self.address())
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(unreachable)?.to_vec();
        Ok(Answer { status, body, url })
    }
}

impl Answer {
    /// # Errors
    /// When the observer doesn't let this one ask.
    pub(super) fn allowed(self) -> Result<Self, Failed> {
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failed::usage(self.refusal())),
            _ => Ok(self),
        }
    }

    /// # Errors
    /// When it says no.
    pub(super) fn good(self) -> Result<Self, Failed> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal().into()) }
    }

    /// # Errors
    /// When it is not what an observer answers.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failed> {
        let read = serde_json::from_slice(&self.body);
        read.with_context(|| format!("{} does not answer like an observer", self.url))
            .map_err(Failed::usage)
    }

    /// As it came, in a line.
    pub(super) fn text(&self) -> String {
        format!("{}\n", String::from_utf8_lossy(&self.body).trim_end())
    }

    fn refusal(&self) -> anyhow::Error {
        anyhow!("{} {}", self.status.as_u16(), detail(self.status, &self.body))
    }
}
