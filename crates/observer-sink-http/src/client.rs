//! The client that makes the connections.

use observer_core::SinkError;
use reqwest::Client;
use reqwest::redirect::{Action, Attempt, Policy};

use crate::settings::Settings;

/// Reads the files of `tls`, so not for the threads of a runtime.
pub(crate) fn build(settings: &Settings) -> Result<Client, SinkError> {
    let redirects = settings.redirects;
    // A redirect may lead from http to https.
    let tls = (settings.is_https() || redirects > 0).then_some(&settings.tls);
    let client = observer_http_client::client_builder(tls, settings.connect_timeout)?;
    observer_http_client::build_client(
        client.redirect(Policy::custom(move |attempt| follow(attempt, redirects))),
    )
}

/// Only where method and body stay what they are, and what was meant for one host goes to no other.
fn follow(attempt: Attempt<'_>, most: usize) -> Action {
    let first = attempt.previous().first();
    let is_same_host = first.is_some_and(|first| {
        let is_no_weaker =
            first.scheme() == attempt.url().scheme() || attempt.url().scheme() == "https";
        first.host() == attempt.url().host() && is_no_weaker
    });
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    if is_same_host && keeps_body && attempt.previous().len() <= most {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
