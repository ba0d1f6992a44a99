//! Sink for one signal: batches become requests, and responses become receipts or errors.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use observer_core::{Batch, BuildError, ErrorKind, EventSink, Receipt, Refused, SinkError};
use observer_http_client::{SizeLimit, run_blocking};

use crate::body::encode_body;
use crate::config::OtlpConfig;
use crate::encode::Encoder;
use crate::exporter::Exporter;
use crate::protocol::{Compression, Protocol};
use crate::response::{Accepted, ExportResponse, after_colon};
use crate::settings::Settings;
use crate::signal::Signal;

/// Size of the events up to which a batch is encoded on the calling thread, in bytes.
///
/// Encoding and compressing larger batches takes milliseconds, and moves to the blocking pool.
const MAX_INLINE_BYTES: usize = 16 << 10;

/// Sink that exports events as one signal of OTLP.
pub struct OtlpSink {
    signal: Signal,
    encoder: Encoder,
    exporter: Exporter,
    size_limit: SizeLimit,
    /// Last warning that came with a success.
    last_warning: Mutex<String>,
}

/// Request for one batch.
struct Request {
    body: Bytes,
    /// Number of log records or spans.
    items: usize,
    /// Size before compression, to which the limits of destinations apply.
    bytes: usize,
}

impl OtlpSink {
    /// Creates a sink from a configuration.
    ///
    /// The sink reads files and connects on the first call that needs it, not here.
    ///
    /// # Errors
    /// If a value of the configuration is invalid; the error names its key.
    pub fn new(config: &OtlpConfig, signal: Signal) -> Result<Self, BuildError> {
        let resource = config.resource.iter().map(|(key, text)| (key.as_str(), text.as_str()));
        let encoder = Encoder::new(resource);
        let encoder = if config.traces.llm_span { encoder.with_llm_spans() } else { encoder };
        Ok(Self {
            signal,
            encoder,
            exporter: Exporter::new(Settings::new(config, signal)?, signal),
            size_limit: SizeLimit::default(),
            last_warning: Mutex::default(),
        })
    }

    async fn request(&self, batch: &Batch) -> Result<Request, SinkError> {
        let Settings { protocol, compression, .. } = *self.exporter.settings();
        let raw: usize = batch.events().iter().map(|envelope| envelope.event.raw().len()).sum();
        let request = if raw <= MAX_INLINE_BYTES {
            encode_request(&self.encoder, self.signal, batch, protocol, compression)
        } else {
            let (encoder, signal, batch) = (self.encoder.clone(), self.signal, batch.clone());
            run_blocking(move || encode_request(&encoder, signal, &batch, protocol, compression))
                .await?
        };
        request.map_err(SinkError::transient)
    }

    fn receipt(&self, accepted: Accepted, items: usize, events: usize) -> Receipt {
        let Accepted { rejected, message } = accepted;
        let destination = &self.exporter.settings().destination;
        let message = destination.excerpt(&message);
        if rejected == 0 {
            if self.is_new_warning(&message) {
                tracing::warn!(
                    origin = destination.origin(),
                    signal = self.signal.as_str(),
                    warning = message,
                    "the destination accepted a request with a warning"
                );
            }
            return Receipt::accepted();
        }
        let kind = match self.signal {
            Signal::Logs => "log records",
            Signal::Traces => "spans",
        };
        let reason = format!(
            "{} rejected {rejected} of {items} {kind}{}",
            destination.origin(),
            after_colon(message)
        );
        Receipt {
            rejected: Vec::new(),
            refused: Some(Refused { count: rejected.min(events as u64), reason }),
        }
    }

    /// Returns whether a warning differs from the last one, so that each is logged once.
    fn is_new_warning(&self, warning: &str) -> bool {
        let mut last = self.last_warning.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !warning.is_empty() && *last != warning;
        if is_new {
            warning.clone_into(&mut last);
        }
        is_new
    }
}

#[async_trait]
impl EventSink for OtlpSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let Request { body, items, bytes } = self.request(batch).await?;
        if items == 0 {
            return Ok(Receipt::accepted());
        }
        let destination = &self.exporter.settings().destination;
        if self.size_limit.must_split(bytes, items) {
            return Err(SinkError::too_large(format!(
                "a request of {bytes} bytes is larger than {} accepts; see `batch`",
                destination.origin()
            )));
        }
        match self.exporter.export(body).await? {
            ExportResponse::Accepted(accepted) => {
                self.size_limit.accepted(bytes);
                Ok(self.receipt(accepted, items, batch.len()))
            }
            ExportResponse::Failed(failure) => {
                let is_too_large = failure
                    .refusal()
                    .is_some_and(|refusal| self.size_limit.refused(bytes, items, refusal));
                let failure = if is_too_large { failure.too_large() } else { failure };
                Err(failure.into_error(destination))
            }
        }
    }

    /// Does nothing: the response to an export is the only acknowledgement of OTLP.
    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Exports a request without items over a new connection.
    async fn check(&self) -> Result<(), SinkError> {
        self.exporter.connections().renew().await?;
        let Settings { protocol, compression, destination, .. } = self.exporter.settings();
        let body = encode_body(*protocol, *compression, &[]).map_err(SinkError::transient)?;
        match self.exporter.export(body.into()).await? {
            ExportResponse::Failed(failure)
                if !matches!(failure.kind, ErrorKind::Permanent | ErrorKind::TooLarge) =>
            {
                Err(failure.into_error(destination))
            }
            // A destination that rejects an empty request is reachable, too.
            ExportResponse::Accepted(_) | ExportResponse::Failed(_) => {
                self.size_limit.reset();
                Ok(())
            }
        }
    }

    fn renew_connections(&self) {
        self.exporter.connections().close();
    }

    /// Closes the connections.
    async fn close(&self) -> Result<(), SinkError> {
        self.exporter.connections().close();
        Ok(())
    }
}

fn encode_request(
    encoder: &Encoder,
    signal: Signal,
    batch: &Batch,
    protocol: Protocol,
    compression: Compression,
) -> io::Result<Request> {
    let encoded = encoder.encode(signal, batch);
    let body = encode_body(protocol, compression, &encoded.bytes)?.into();
    Ok(Request { body, items: encoded.items, bytes: encoded.bytes.len() })
}

impl fmt::Debug for OtlpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.exporter.settings().destination.origin();
        f.debug_struct("OtlpSink")
            .field("signal", &self.signal)
            .field("origin", &origin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_warning_is_not_new() {
        let sink = OtlpSink::new(&OtlpConfig::new("http://h"), Signal::Logs).unwrap();
        let is_new = ["", "a", "a", "", "b", "a"].map(|warning| sink.is_new_warning(warning));
        assert_eq!(is_new, [false, true, false, false, true, true]);
    }
}
