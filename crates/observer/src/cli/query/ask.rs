//! Asking a running observer.

use std::path::Path;

use anyhow::anyhow;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::request::{Media, Request};
use crate::cli::connect::error::detail;
use crate::cli::failure::Failure;
use crate::cli::remote::{ObserverArgs, Remote};

/// Field of problem details that say that there is no knowledge base.
const STORE_KEY: &str = "sinks.kb";

/// Observer that answers queries.
pub(super) struct Store {
    remote: Remote,
}

impl Store {
    pub(super) fn open(observer: ObserverArgs, config: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self { remote: Remote::new(observer, config)? })
    }

    /// Returns the body of the response in this media type.
    ///
    /// # Errors
    /// With exit status 1 if there is no such event or problem; else with 2.
    pub(super) async fn get(&self, request: &Request, media: Media) -> Result<Vec<u8>, Failure> {
        let segments: Vec<_> = request.path.iter().map(String::as_str).collect();
        let mut url = self.remote.at(&segments);
        if !request.parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.parameters);
        }
        let response = self.remote.get_as(url, media.accept()).await?;
        body(response.status, response.body)
    }

    /// Returns the result of a query.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and if the response is not that of an observer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failure> {
        parse(&self.get(request, Media::Json).await?)
    }
}

/// Deserializes a response.
///
/// # Errors
/// If it is not that of an observer.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::usage(anyhow!("unexpected response of the observer: {error}")))
}

fn body(status: StatusCode, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
    #[derive(Default, Deserialize)]
    struct Problem {
        field: Option<String>,
    }
    if status.is_success() {
        return Ok(body);
    }
    let Problem { field } = serde_json::from_slice(&body).unwrap_or_default();
    let error = anyhow!("{} {}", status.as_u16(), detail(status, &body));
    if status == StatusCode::NOT_FOUND && field.as_deref() != Some(STORE_KEY) {
        return Err(Failure::from(error));
    }
    Err(Failure::usage(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_tells_nothing_found_from_other_failures() {
        for (status, problem, expected) in [
            (404, r#"{"detail":"no attempts"}"#, 1),
            (404, r#"{"detail":"no knowledge base","field":"sinks.kb"}"#, 2),
            (400, r#"{"detail":"bad","field":"since"}"#, 2),
            (503, r#"{"detail":"busy"}"#, 2),
            (500, "", 2),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = body(status, problem.into()).unwrap_err();
            assert_eq!(failure.status, expected, "{status} {problem}");
        }
        assert_eq!(body(StatusCode::OK, b"{}".to_vec()).unwrap(), b"{}");
        assert_eq!(parse::<u8>(b"<html>").unwrap_err().status, 2);
    }
}
