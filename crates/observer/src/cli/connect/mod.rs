//! Connection to a running observer: token and TLS.

pub(super) mod error;
pub(super) mod tls;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
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
    /// Token to authenticate with; other users of the machine see it in the list of processes
    #[arg(long, env = "OBSERVER_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,

    /// File with the token, in place of `--token` and `OBSERVER_TOKEN`
    #[arg(long, value_name = "FILE", env = "OBSERVER_TOKEN_FILE", hide_env_values = true)]
    pub(super) token_file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

impl ConnectArgs {
    /// Returns a builder of a client for this URL that sends the token with every request.
    ///
    /// # Errors
    /// If the token can't be a header value, or its file or one of TLS can't be used.
    pub(super) fn client(&self, url: &Url) -> anyhow::Result<ClientBuilder> {
        let Self { token, token_file, tls } = self;
        let from_file = token_file.as_deref().map(read_token).transpose()?;
        let token = from_file.as_deref().or(token.as_deref());
        let authorization = token.map(authorization).transpose()?;
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

/// Returns the token in a file.
///
/// # Errors
/// If the file can't be read or is empty.
fn read_token(path: &Path) -> anyhow::Result<String> {
    let token = fs::read_to_string(path);
    let token = token.with_context(|| format!("can't read the token file {}", path.display()))?;
    ensure!(
        !token.trim().is_empty(),
        "the token file {} is empty; write the token into it",
        path.display()
    );
    Ok(token)
}

/// The error doesn't repeat the token, which is a secret.
fn authorization(token: &str) -> anyhow::Result<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.trim())).ok();
    let mut value =
        value.context("the token holds a character other than visible ASCII; check its source")?;
    value.set_sensitive(true);
    Ok(value)
}
