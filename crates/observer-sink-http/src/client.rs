//! The HTTP client, and its policy for redirects.

use observer_core::SinkError;
use observer_http_client::{build_client, client_builder};
use reqwest::Client;
use reqwest::redirect::{Action, Attempt, Policy};

use crate::settings::Settings;

/// Builds the client. Reads the files of `tls`, and therefore blocks.
pub(crate) fn build(settings: &Settings) -> Result<Client, SinkError> {
    let max_redirects = settings.redirects;
    // A redirect may lead from http to https.
    let tls = (settings.is_https() || max_redirects > 0).then_some(&settings.tls);
    let client = client_builder(tls, settings.connect_timeout)?;
    build_client(client.redirect(Policy::custom(move |attempt| follow(attempt, max_redirects))))
}

/// Follows redirects that keep method and body, stay on the host, and don't lead from https to
/// http: credentials and events go to no other host.
fn follow(attempt: Attempt<'_>, max_redirects: usize) -> Action {
    let first = attempt.previous().first();
    let is_same_host = first.is_some_and(|first| {
        let is_no_weaker =
            first.scheme() == attempt.url().scheme() || attempt.url().scheme() == "https";
        first.host() == attempt.url().host() && is_no_weaker
    });
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    if is_same_host && keeps_body && attempt.previous().len() <= max_redirects {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
