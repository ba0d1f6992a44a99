//! Asking a running observer, or the file of one that does not run.

use std::cell::OnceCell;
use std::sync::Arc;

use anyhow::anyhow;
use observer_core::query::EventStore;
use observer_server::{LocalQueries, LocalResponse};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Context;
use super::request::{Media, Request};
use crate::ConfigError;
use crate::cli::connect::error::detail;
use crate::cli::failure::Failure;
use crate::cli::remote::{ObserverArgs, Remote, Unreachable};

/// Field of problem details that say that there is no knowledge base.
const STORE_KEY: &str = "sinks.kb";

/// Opens the store of the configuration; `None` if no sink of it has one.
pub(in crate::cli) type OpenFile<'a> =
    &'a dyn Fn() -> Result<Option<Arc<dyn EventStore>>, ConfigError>;

/// Destination of queries: a running observer, or the file of the configuration if none runs.
pub(super) struct Store<'a> {
    remote: Remote,
    open_file: OpenFile<'a>,
    local: OnceCell<LocalQueries>,
}

impl<'a> Store<'a> {
    pub(super) fn open(observer: ObserverArgs, context: Context<'a>) -> Result<Self, Failure> {
        let remote = Remote::new(observer, context.config)?;
        Ok(Self { remote, open_file: context.open_file, local: OnceCell::new() })
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
        if self.local.get().is_none() {
            match self.remote.get_as(url.clone(), media.accept()).await {
                Ok(response) => return body(response.status, response.body),
                Err(Unreachable { error, nobody_listens: false }) => {
                    return Err(Failure::usage(error));
                }
                Err(Unreachable { error, nobody_listens: true }) => {
                    let queries = self.open_local(error).await?;
                    self.local.get_or_init(|| queries);
                }
            }
        }
        let local = self.local.get().expect("it was opened if no observer runs");
        let path = path_and_query(&url);
        let LocalResponse { status, body: bytes } = local.get(&path, media.accept()).await;
        body(StatusCode::from_u16(status).unwrap_or_default(), bytes.to_vec())
    }

    /// Opens the file of the configuration.
    ///
    /// # Errors
    /// `unreachable` if the configuration has no file, or the reason for which the file can't be
    /// read.
    async fn open_local(&self, unreachable: anyhow::Error) -> Result<LocalQueries, Failure> {
        let store = match (self.open_file)() {
            Ok(Some(store)) => store,
            Ok(None) => return Err(Failure::usage(unreachable)),
            Err(error) => {
                let error = observer_core::report(&error);
                if unreachable.to_string().contains(&error) {
                    return Err(Failure::usage(unreachable));
                }
                let error = anyhow!("{unreachable}; the configuration can't be read: {error}");
                return Err(Failure::usage(error));
            }
        };
        if let Err(error) = store.status().await {
            let error = observer_core::report(&error);
            return Err(Failure::usage(anyhow!("{unreachable}; {error}")));
        }
        tracing::info!("no observer is running; the file of its knowledge base is read");
        Ok(LocalQueries::new(store))
    }

    /// Returns the result of a query.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and if the response is not that of an observer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failure> {
        parse(&self.get(request, Media::Json).await?)
    }
}

fn path_and_query(url: &Url) -> String {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", url.path())
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
