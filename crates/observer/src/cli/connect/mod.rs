//! Connection to a running observer: token and TLS.

pub(super) mod error;
pub(super) mod tls;

use anyhow::Context;
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, ClientBuilder, Url, redirect};

use self::tls::TlsArgs;

/// Environment variable with the URL of the observer.
pub(super) const URL_VARIABLE: &str = "LH_OBSERVER_URL";
/// URL of an observer with the default configuration.
pub(super) const DEFAULT_URL: &str = "http://localhost:3800";

#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// Token to authenticate with
    #[arg(long, env = "OBSERVER_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,

    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

impl ConnectArgs {
    /// Returns a builder of a client for this URL that sends the token with every request.
    ///
    /// # Errors
    /// If the token can't be a header value, or a TLS file can't be used.
    pub(super) fn client(&self, url: &Url) -> anyhow::Result<ClientBuilder> {
        let Self { token, tls } = self;
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

/// Returns the URL of `POST /event`, given the base URL of the observer.
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

/// The error doesn't repeat the token, which is a secret.
fn authorization(token: &str) -> anyhow::Result<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.trim())).ok();
    let mut value =
        value.context("the token holds a character other than visible ASCII; check its source")?;
    value.set_sensitive(true);
    Ok(value)
}
