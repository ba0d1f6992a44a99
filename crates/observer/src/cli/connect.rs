//! How to get at a running observer: where it is, who asks, and whom to trust.

pub(super) mod tls;

use std::error::Error;

use anyhow::Context;
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, ClientBuilder, Url, redirect};

use self::tls::TlsArgs;

#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// The observer
    #[arg(
        long,
        env = "LH_OBSERVER_URL",
        hide_env_values = true,
        default_value = "http://localhost:3800",
        value_parser = endpoint
    )]
    pub(super) url: Url,

    /// The token, where the observer asks for one
    #[arg(long, env = "OBSERVER_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,

    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

impl ConnectArgs {
    /// A client for this observer; the token goes with every request.
    pub(super) fn client(&self) -> anyhow::Result<ClientBuilder> {
        let Self { url, token, tls } = self;
        let authorization = token.as_deref().map(authorization).transpose()?;
        let http = Client::builder()
            .user_agent(concat!("observer/", env!("CARGO_PKG_VERSION")))
            // Following a redirect would turn a POST into a GET.
            .redirect(redirect::Policy::none())
            .default_headers(
                authorization.map(|value| (AUTHORIZATION, value)).into_iter().collect(),
            );
        let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let http = if is_local { http.no_proxy() } else { http };
        tls.configure(http, url)
    }
}

/// Where an event goes, given the observer's address.
pub(super) fn endpoint(base: &str) -> Result<Url, String> {
    let url: Url = format!("{}/event", base.trim_end_matches('/'))
        .parse()
        .map_err(|error| format!("{error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err("not a URL that starts with http:// or https://".to_owned())
    }
}

/// The token is not repeated, since it is a secret.
fn authorization(token: &str) -> anyhow::Result<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.trim())).ok();
    let mut value = value
        .context("the token has characters that can't be sent; it is made of visible ASCII")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The cause of all causes: what is above it says no more.
pub(super) fn why(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
