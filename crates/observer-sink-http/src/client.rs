//! The HTTP client, and its policy for redirects.

use observer_core::SinkError;
use observer_http_client::{ProxyUse, build_client, check_proxy, client_builder};
use reqwest::Client;
use reqwest::redirect::{Action, Attempt, Policy};

use crate::settings::Settings;

/// Builds the client. Reads the files of `tls`, and therefore blocks.
pub(crate) fn build(settings: &Settings) -> Result<Client, SinkError> {
    check_proxy(&settings.url, "url", ProxyUse::Http)?;
    let max_redirects = settings.redirects;
    let tls = settings.is_https().then_some(&settings.tls);
    let client = client_builder(tls, settings.connect_timeout)?;
    build_client(client.redirect(Policy::custom(move |attempt| follow(attempt, max_redirects))))
}

/// Follows redirects that keep method and body and stay on the origin: headers with secrets and
/// events go to no other host, port or scheme.
fn follow(attempt: Attempt<'_>, max_redirects: usize) -> Action {
    let first = attempt.previous().first();
    let is_same_origin = first.is_some_and(|first| first.origin() == attempt.url().origin());
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    if is_same_origin && keeps_body && attempt.previous().len() <= max_redirects {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
